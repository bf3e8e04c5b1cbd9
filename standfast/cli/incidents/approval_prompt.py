"""Confirmation of an approval: a prompt, or the digest of the plan.

An approval is a person's signature over the digest (SHA-256) of the plan of one step: its exact
targets, settings and messages. On a terminal, the plan is shown and must be confirmed. Without a
terminal, the command must name the digest, which the approver finds in the request for approval, in
`incident status` and in the handover page. Thus nobody approves a plan unseen.
"""

import sys
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.prompts import confirm, print_note
from standfast.errors import ApprovalRefused
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation


def confirm_signature(
    call: Call,
    installation: "Installation",
    incident_id: str,
    step: str | None,
    person: str,
    digest: str,
) -> str:
    """Show what would be signed, ask for confirmation, return the digest.

    On a terminal, the plan is shown; it need not be confirmed if `digest` is given. Without a
    terminal, a `digest` is returned unchanged. Without either, nobody has seen the plan:
    ApprovalRefused then names the command that approves exactly this plan. The caller compares the
    returned digest with the plan.
    """
    from standfast.playbook.status.person_tasks import SHOWN
    from standfast.usecases.approvals.step_decisions import signable_decisions

    is_asked = not call.as_json and sys.stdin.isatty()
    if digest and not is_asked:
        return digest
    shown = signable_decisions(installation, incident_id, step)
    last = ", and cannot be undone" if shown.is_irreversible else ""
    left_out = f" {counted(shown.left_out, 'target')} left out." if shown.left_out else ""
    notice = f"`standfast notice read {incident_id} {shown.step}`"
    lines = [
        f"{shown.step}: {shown.title}",
        f"It acts on {counted(shown.planned, 'target')}{last}.{left_out}",
        *shown.details,
        *([f"It sends the notice {shown.tells}. Read its text: {notice}."] * bool(shown.tells)),
        f"Show the targets by name: `standfast incident status {incident_id} --targets`.",
        f"Digest {shown.digest}.",
    ]
    if not is_asked:
        exactly = f"{incident_id} {shown.step} --digest {shown.digest[:SHOWN]} --as {person}"
        raise ApprovalRefused(
            "\n".join(
                [
                    "approval: nothing was signed. Without a terminal, name the plan's digest.",
                    *lines,
                    f"To approve exactly this plan: `standfast incident approve {exactly}`.",
                ]
            )
        )
    for line in lines:
        print_note(line)
    if digest or confirm("Sign exactly this plan?"):
        return digest or shown.digest
    raise ApprovalRefused("approval: not confirmed. Nothing was signed")
