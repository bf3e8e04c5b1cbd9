"""What an approval would sign, shown to whoever is about to give it.

Rules
- What is signed was looked at: on a terminal it is shown and asked about, and elsewhere the command
  has to name it by its digest, as the page to the approver, `incident status` and the hand-over do.
"""

import sys
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.prompts import agrees, tell
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
    """Show what would be signed; give its digest when whoever sits here agrees to exactly that.

    Who gives the `digest` has agreed, and is shown it all the same before they sign. Where nobody
    can be asked, ApprovalRefused names the command that signs it: a signature for what nobody
    looked at is none.
    """
    from standfast.playbook.status.next_step import SHOWN
    from standfast.usecases.approvals.step_decisions import signable_decisions

    is_asked = not call.as_json and sys.stdin.isatty()
    if digest and not is_asked:
        return digest
    shown = signable_decisions(installation, incident_id, step)
    last = ", and cannot be taken back" if shown.is_irreversible else ""
    left_out = f" {counted(shown.left_out, 'target')} left out." if shown.left_out else ""
    words = f"standfast notice read {incident_id} {shown.step}"
    lines = [
        f"{shown.step}: {shown.title}",
        f"It would reach {counted(shown.planned, 'target')}{last}.{left_out}",
        *([f"The notice {shown.tells}; its words: `{words}`."] * bool(shown.tells)),
        f"Read whom it names: `standfast incident status {incident_id} --targets`.",
        f"Digest {shown.digest}.",
    ]
    if not is_asked:
        exactly = f"{incident_id} {shown.step} --digest {shown.digest[:SHOWN]} --as {person}"
        raise ApprovalRefused(
            "\n".join(
                [
                    "nothing was signed, since nobody was shown what.",
                    *lines,
                    f"To approve exactly this: `standfast incident approve {exactly}`.",
                ]
            )
        )
    for line in lines:
        tell(line)
    if digest or agrees("Sign exactly this?"):
        return digest or shown.digest
    raise ApprovalRefused("nothing was signed")
