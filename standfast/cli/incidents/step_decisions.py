"""Decisions on steps: `approve`, `answer`, `accept`, `settle` and `retry`.

A step is one part of a playbook: an action, a question, a manual task or a wait. An effect is one
act of a step on one target, such as the lock of one account.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.approval_prompt import confirm_signature
from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
)
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option, sign_in_options, speaker_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import read_passphrase, signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json, StepState, timestamp

if TYPE_CHECKING:
    from standfast.playbook.run_state import StepView

digest_option = click.option(
    "--digest",
    default="",
    metavar="DIGEST",
    help="The digest of the plan that was shown to you, or its first characters.",
)


@command(
    "approve",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident approve tell_customers --as erin",
)
@incident_argument
@click.argument("step", required=False, help="The step; optional if only one needs approval.")
@sign_in_options("The person that approves; required.")
@click.option("--refuse", is_flag=True, help="Refuse the step instead.")
@digest_option
@click.option(
    "--break-glass",
    metavar="WHY",
    help="Approve containment as the only person; the step starts ten minutes later.",
)
@no_wait_option
@click.pass_obj
def approve(
    call: Call,
    incident: str | None,
    step: str | None,
    refuse: bool,
    digest: str,
    break_glass: str | None,
) -> ExitStatus:
    """Approve a step as planned, or refuse it.

    Your passphrase signs exactly the plan of the step. Without --digest, the plan is shown first
    and must be confirmed. With --break-glass, all other approvers are notified and may still
    refuse, and another person must review the approval before the incident can be closed.
    """
    from standfast.usecases.approvals import break_glass as break_glass_approval
    from standfast.usecases.approvals import step_decisions

    person = call.as_person
    if person is None:
        raise UsageError("approval: no person is named. Add --as PERSON")
    if break_glass is not None and refuse:
        raise UsageError("arguments: --break-glass and --refuse exclude each other. Give one")
    with open_incident(call, incident, step, takes="STEP", least=0) as (
        installation,
        incident_id,
        rest,
    ):
        wanted = rest[0] if rest else None
        if not refuse:
            digest = confirm_signature(call, installation, incident_id, wanted, person, digest)
        signer = (installation, incident_id, wanted, person, read_passphrase(call, person))
        first_lines: list[Line] = []
        if break_glass is None:
            question = step_decisions.decide(*signer, approves=not refuse, as_shown=digest)
        else:
            result = break_glass_approval.break_glass(*signer, because=break_glass, as_shown=digest)
            question = result.question
            first_lines.append(result.message)
        given = f"{question.given} of {counted(question.needed, 'approval')}"
        first_lines.insert(0, f"{question.step}: {'refused' if refuse else given}.")
        if not refuse and question.given >= question.needed and question.hold_seconds:
            first_lines.append(
                f"It starts in {question.hold_seconds} s. Until then you can cancel it: `standfast "
                f"notice stop {incident_id} {question.step}`; or stop the incident: `standfast "
                f"incident stop {incident_id}`."
            )
        approval = "approve" if break_glass is None else "break-glass"
        details: dict[str, Json] = {
            "approval": {
                "step": question.step,
                "person": person,
                "decision": "refuse" if refuse else approval,
                "given": question.given,
                "needed": question.needed,
                "hold_seconds": question.hold_seconds,
                "opens_at": None if question.opens_at is None else timestamp(question.opens_at),
            }
        }
        return run_and_print(call, installation, incident_id, details, first_lines)


@command(
    "answer",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident answer customers_affected yes",
)
@incident_argument
@click.argument("step", required=False, help="The step that asks.")
@click.argument("text", required=False, help="The answer, or the report on manual work.")
@click.option(
    "--again",
    "is_correction",
    is_flag=True,
    help="Correct an earlier answer; nothing that it started is undone.",
)
@speaker_options
@no_wait_option
@click.pass_obj
def answer(
    call: Call, incident: str | None, step: str | None, text: str | None, is_correction: bool
) -> ExitStatus:
    """Answer a question, or report on a step.

    For a step that is done by hand, TEXT is your report on it. With --again, the conditions of
    steps that were skipped after the earlier answer are evaluated again.
    """
    from standfast.usecases.approvals import step_decisions

    with open_incident(call, incident, step, text, takes="STEP and TEXT") as (
        installation,
        incident_id,
        (step_name, answer_text),
    ):
        by = signed_in(call, installation)
        started = step_decisions.answer(
            installation, incident_id, step_name, answer_text, by=by, is_correction=is_correction
        )
        first_lines: list[Line] = [f"{step_name}: {'corrected' if is_correction else 'recorded'}."]
        first_lines += _started_step_lines(incident_id, started)
        details: dict[str, Json] = {}
        if is_correction:
            details["begun_by_the_earlier_answer"] = [view.step for view in started]
        return run_and_print(call, installation, incident_id, details, first_lines)


def _started_step_lines(incident_id: str, views: "Sequence[StepView]") -> list[Line]:
    """Return the lines on steps that the answer started before its correction."""
    asking = [view.step for view in views if view.state is StepState.ASKING]
    others = [view.step for view in views if view.step not in asking]
    lines: list[Line] = [
        f"{step} still asks for approval, because of the earlier answer. To refuse it: "
        f"`standfast incident approve {incident_id} {step} --refuse --as PERSON`."
        for step in asking
    ]
    if others:
        lines.append(
            "The earlier answer started these steps, and they are not undone: "
            f"{', '.join(others)}. Undo or correct them if needed."
        )
    return lines


@command("accept", exits=PROGRESS_EXIT_STATUSES, example="standfast incident accept lock")
@incident_argument
@click.argument("step", required=False, help="The step that is not fully done.")
@speaker_options
@no_wait_option
@click.pass_obj
def accept(call: Call, incident: str | None, step: str | None) -> ExitStatus:
    """Continue although a step is not fully done.

    Steps that depend on it may begin, although some of its targets failed or their outcome is
    unknown. Unknown outcomes are still looked up.
    """
    from standfast.usecases.approvals import step_decisions

    with open_incident(call, incident, step, takes="STEP") as (installation, incident_id, (name,)):
        by = signed_in(call, installation)
        step_decisions.accept(installation, incident_id, name, by=by)
        return run_and_print(call, installation, incident_id, first_lines=[f"{name}: accepted."])


@command("settle", exits=PROGRESS_EXIT_STATUSES, example="standfast incident settle 3f9c yes")
@incident_argument
@click.argument("effect", required=False, help="The name of the effect, or its first characters.")
@click.argument("happened", required=False, metavar="[yes|no]", help="Whether it happened.")
@click.option(
    "--step", metavar="STEP", help="Settle all unknown effects of a step, instead of EFFECT."
)
@speaker_options
@no_wait_option
@click.pass_obj
def settle(
    call: Call, incident: str | None, effect: str | None, happened: str | None, step: str | None
) -> ExitStatus:
    """Record whether a change with an unknown outcome happened.

    Use this if Standfast cannot look the outcome up. `incident status --targets` shows the names of
    the changes (effects).
    """
    from standfast.usecases.approvals import effect_settlement

    words, takes = (1, "yes or no") if step else (2, "EFFECT and yes or no")
    with open_incident(call, incident, effect, happened, takes=takes, most=words) as (
        installation,
        incident_id,
        (*named, answer_word),
    ):
        if answer_word not in ("yes", "no"):
            raise UsageError(
                f"arguments: {answer_word!r} is not yes or no. Write yes if the effect happened"
            )
        has_happened = answer_word == "yes"
        by = signed_in(call, installation)
        if step is None:
            effect_settlement.settle(
                installation, incident_id, named[0], happened=has_happened, by=by
            )
            return run_and_print(call, installation, incident_id, first_lines=["Settled."])
        settled = effect_settlement.settle_step(
            installation, incident_id, step, happened=has_happened, by=by
        )
        first_lines: list[Line] = [f"{step}: {settled.count} settled."]
        if settled.left:
            first_lines.append(
                f"{counted(settled.left, 'effect')} of the step may still happen: Standfast looks "
                "for the outcome again."
            )
        details = {"settled": settled.count, "left": settled.left}
        return run_and_print(call, installation, incident_id, details, first_lines)


@command("retry", exits=PROGRESS_EXIT_STATUSES, example="standfast incident retry lock")
@incident_argument
@click.argument("step", required=False, help="The step; by default every failed one.")
@speaker_options
@no_wait_option
@click.pass_obj
def retry(call: Call, incident: str | None, step: str | None) -> ExitStatus:
    """Retry failed targets of one step or of all steps."""
    from standfast.usecases.approvals.step_retry import retry as retry_targets

    with open_incident(call, incident, step, takes="STEP", least=0) as (
        installation,
        incident_id,
        rest,
    ):
        by = signed_in(call, installation)
        retried = retry_targets(installation, incident_id, rest[0] if rest else None, by=by)
        first_lines: list[Line] = [f"{counted(retried.count, 'target')} to retry."]
        if retried.not_begun:
            resume = f" when the incident is resumed: `standfast incident resume {incident_id}`"
            first_lines.append(
                f"Planned but never started: {', '.join(map(str, retried.not_begun))}. This "
                f"work also runs{resume if retried.is_stopped else ' now'}."
            )
        if retried.left:
            first_lines.append(
                f"Not retried without a sign-in (--as PERSON): {', '.join(retried.left)}."
            )
        if retried.corrected:
            first_lines.append(
                "These notices were corrected in the meantime and are not sent again: "
                f"{', '.join(retried.corrected)}. `standfast notice held {incident_id}` lists who "
                "must be notified individually."
            )
        details: dict[str, Json] = {
            "tried_again": retried.count,
            "not_begun": [work.as_json() for work in retried.not_begun],
            "left": [*retried.left],
            "corrected": [*retried.corrected],
        }
        return run_and_print(call, installation, incident_id, details, first_lines)
