"""Decisions on steps: `approve`, `answer`, `accept`, `settle` and `retry`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.approval_prompt import confirm_signature
from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import no_wait_option
from standfast.cli.incidents.incident_progress import go_on
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import passphrase, signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json, StepState, timestamp

if TYPE_CHECKING:
    from standfast.playbook.run_state import StepView


speaker_option = click.option(
    "--as",
    "as_person",
    metavar="PERSON",
    help="Who says so, signed in; needed where the step names roles.",
)


@command(
    "approve",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident approve tell_customers --as erin",
)
@incident_argument
@click.argument("step", required=False, help="The one that asks.")
@click.option("--as", "as_person", metavar="PERSON", help="Who approves.")
@click.option("--refuse", is_flag=True, help="Say no.")
@click.option(
    "--digest",
    default="",
    metavar="DIGEST",
    help="Only as it was shown: its digest, or how it begins.",
)
@click.option(
    "--break-glass",
    metavar="WHY",
    help="Alone, where nobody else answers: what contains begins ten minutes later.",
)
@no_wait_option
@passphrase_file_option
@click.pass_obj
def approve(
    call: Call,
    incident: str | None,
    step: str | None,
    as_person: str | None,
    refuse: bool,
    digest: str,
    break_glass: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Approve a step as planned, or refuse it.

    Your passphrase signs exactly this plan. Without --digest, the plan is shown first and must be
    confirmed. With --break-glass all other approvers are notified and may still refuse, and another
    person must review the approval before the incident can be closed.
    """
    from standfast.usecases.approvals.break_glass import break_glass as break_its_glass
    from standfast.usecases.approvals.step_decisions import decide

    if as_person is None:
        raise UsageError("an approval is somebody's: name yourself with --as PERSON")
    if break_glass is not None and refuse:
        raise UsageError("who breaks the glass does not refuse; take one of the two away")
    with call.installation() as installation:
        incident_id, rest = resolve_incident(installation, incident, step, most=1, takes="STEP")
        wanted = rest[0] if rest else None
        if not refuse:
            digest = confirm_signature(call, installation, incident_id, wanted, as_person, digest)
        secret = passphrase(call, passphrase_file, as_person)
        before: list[Line] = []
        if break_glass is None:
            asked = decide(
                installation,
                incident_id,
                wanted,
                as_person,
                secret,
                approves=not refuse,
                as_shown=digest,
            )
        else:
            broken = break_its_glass(
                installation,
                incident_id,
                wanted,
                as_person,
                secret,
                because=break_glass,
                as_shown=digest,
            )
            asked = broken.asked
            before.append(broken.message)
        said = "refused" if refuse else f"{asked.given} of {counted(asked.needed, 'approval')}"
        before.insert(0, f"{asked.step}: {said}.")
        if not refuse and asked.given >= asked.needed and asked.hold_seconds:
            before.append(
                f"It begins in {asked.hold_seconds} s; until then `standfast notice stop "
                f"{incident_id} {asked.step}` gives it up, and `standfast incident stop "
                f"{incident_id}` stops everything."
            )
        asked_for = "approve" if break_glass is None else "break-glass"
        details: dict[str, Json] = {
            "approval": {
                "step": asked.step,
                "person": as_person,
                "decision": "refuse" if refuse else asked_for,
                "given": asked.given,
                "needed": asked.needed,
                "hold_seconds": asked.hold_seconds,
                "opens_at": None if asked.opens_at is None else timestamp(asked.opens_at),
            }
        }
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )


@command(
    "answer",
    exits=PROGRESS_EXIT_STATUSES,
    example="standfast incident answer customers_affected yes",
)
@incident_argument
@click.argument("step", required=False)
@click.argument("text", required=False)
@click.option(
    "--again", is_flag=True, help="Correct an earlier answer; what began by it is not taken back."
)
@speaker_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def answer(
    call: Call,
    incident: str | None,
    step: str | None,
    text: str | None,
    again: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Answer a question, or report on a step.

    For a step that is done by hand, TEXT is your report on it. With --again, the conditions of
    steps that were skipped after the earlier answer are evaluated again.
    """
    from standfast.usecases.approvals.step_decisions import answer as keep_answer

    with call.installation() as installation:
        incident_id, (asked, said) = resolve_incident(
            installation, incident, step, text, least=2, most=2, takes="STEP and TEXT"
        )
        by = signed_in(call, installation, as_person, passphrase_file)
        begun = keep_answer(installation, incident_id, asked, said, by=by, again=again)
        before: list[Line] = [f"{asked}: {'corrected' if again else 'noted'}."]
        before += _begun_before(incident_id, begun)
        details: dict[str, Json] = (
            {"begun_by_the_earlier_answer": [view.step for view in begun]} if again else {}
        )
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )


def _begun_before(incident_id: str, views: "Sequence[StepView]") -> list[Line]:
    """Return the lines on steps that a corrected answer had started."""
    asking = [view.step for view in views if view.state is StepState.ASKING]
    others = [view.step for view in views if view.step not in asking]
    lines: list[Line] = [
        f"{step} still asks for approval, by the earlier answer; if it should not be done: "
        f"`standfast incident approve {incident_id} {step} --refuse --as PERSON`."
        for step in asking
    ]
    if others:
        lines.append(
            f"Begun by the earlier answer, and not taken back: {', '.join(others)}. Undo or "
            "correct what should not be."
        )
    return lines


@command("accept", exits=PROGRESS_EXIT_STATUSES, example="standfast incident accept lock")
@incident_argument
@click.argument("step", required=False)
@speaker_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def accept(
    call: Call,
    incident: str | None,
    step: str | None,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Continue although a step is not fully done.

    Steps that depend on it may begin, although some of its targets failed or their outcome is
    unknown. Unknown outcomes are still looked up.
    """
    from standfast.usecases.approvals.step_decisions import accept as keep_accepted

    with call.installation() as installation:
        incident_id, (wanted,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes="STEP"
        )
        by = signed_in(call, installation, as_person, passphrase_file)
        keep_accepted(installation, incident_id, wanted, by=by)
        return go_on(
            call, installation, incident_id, no_wait=no_wait, before=[f"{wanted}: accepted."]
        )


@command("settle", exits=PROGRESS_EXIT_STATUSES, example="standfast incident settle 3f9c yes")
@incident_argument
@click.argument("effect", required=False)
@click.argument("happened", required=False, metavar="[yes|no]")
@click.option("--step", metavar="STEP", help="All unknown effects of a step, instead of one.")
@speaker_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def settle(
    call: Call,
    incident: str | None,
    effect: str | None,
    happened: str | None,
    step: str | None,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Record whether an unknown effect happened.

    Use this if Standfast cannot look the effect up. EFFECT is its name from `incident status
    --targets`, or the beginning of that name.
    """
    from standfast.usecases.approvals.effect_settlement import settle as keep_settled
    from standfast.usecases.approvals.effect_settlement import settle_step

    words = 1 if step else 2
    with call.installation() as installation:
        incident_id, (*named, said) = resolve_incident(
            *(installation, incident, effect, happened),
            least=words,
            most=words,
            takes="yes or no" if step else "EFFECT and yes or no",
        )
        if said not in ("yes", "no"):
            raise UsageError("say yes when it happened, or no when it did not")
        did = said == "yes"
        by = signed_in(call, installation, as_person, passphrase_file)
        if step is None:
            keep_settled(installation, incident_id, named[0], happened=did, by=by)
            return go_on(call, installation, incident_id, no_wait=no_wait, before=["Settled."])
        settled = settle_step(installation, incident_id, step, happened=did, by=by)
        before: list[Line] = [f"{step}: {settled.count} settled."]
        if settled.left:
            before.append(
                f"{counted(settled.left, 'other')} may still happen, and will be looked up again."
            )
        details: dict[str, Json] = {"settled": settled.count, "left": settled.left}
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )


@command("retry", exits=PROGRESS_EXIT_STATUSES, example="standfast incident retry lock")
@incident_argument
@click.argument("step", required=False, help="All without.")
@speaker_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def retry(
    call: Call,
    incident: str | None,
    step: str | None,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Retry failed targets of one step or of all steps."""
    from standfast.usecases.approvals.step_retry import retry as plan_again

    with call.installation() as installation:
        incident_id, rest = resolve_incident(installation, incident, step, most=1, takes="STEP")
        by = signed_in(call, installation, as_person, passphrase_file)
        again = plan_again(installation, incident_id, rest[0] if rest else None, by=by)
        before: list[Line] = [f"{again.count} to be tried again."]
        if again.not_begun:
            resume = f" when it is resumed: `standfast incident resume {incident_id}`"
            before.append(
                f"Not begun before: {', '.join(map(str, again.not_begun))}; carried out"
                f"{resume if again.is_stopped else ' with it'}."
            )
        if again.left:
            before.append(f"Left to who may say so (--as PERSON): {', '.join(again.left)}.")
        if again.corrected:
            before.append(
                f"Corrected since, and not sent again: {', '.join(again.corrected)}; `standfast "
                f"notice held {incident_id}` lists whom to tell apart."
            )
        return go_on(
            call,
            installation,
            incident_id,
            no_wait=no_wait,
            details={
                "tried_again": again.count,
                "not_begun": [work.as_json() for work in again.not_begun],
                "left": [*again.left],
                "corrected": [*again.corrected],
            },
            before=before,
        )
