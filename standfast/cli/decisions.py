"""What people say about an incident: approve, answer, accept, settle, retry, stop, undo, close."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, cast

from standfast.cli.asking import tell
from standfast.cli.call import Call
from standfast.cli.carrying import go_on, say_outcome
from standfast.cli.closing import close, reopen
from standfast.cli.declared import Argument, Group, Option, command
from standfast.cli.incident_words import CARRIED, IncidentArgument, the_incident
from standfast.cli.opening import NoWait
from standfast.cli.output import Line
from standfast.cli.passphrase import PassphraseFile, passphrase, signed_in
from standfast.cli.signing import shown_and_agreed
from standfast.counted import counted
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json, StepState

if TYPE_CHECKING:
    from standfast.operations.place import Place
    from standfast.operations.undoing import UndoPlan
    from standfast.playbook.state import StepView

_SAID: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is in the ledger",
    ExitStatus.USAGE: "there is no such incident",
}
_OF_A_PLAN: dict[StepState | None, ExitStatus] = {  # as the undo itself would end, but for people
    None: ExitStatus.DONE,
    StepState.PARTIAL: ExitStatus.PARTIAL,
    StepState.FAILED: ExitStatus.FAILED,
}


def add_to(incident: Group) -> None:
    """Add the commands to the group of incidents."""
    for name, function, example in (
        ("approve", approve, "standfast incident approve tell_customers --as erin"),
        ("answer", answer, "standfast incident answer customers_affected yes"),
        ("accept", accept, "standfast incident accept lock"),
        ("settle", settle, "standfast incident settle 3f9c yes"),
        ("retry", retry, "standfast incident retry lock"),
        ("resume", resume, "standfast incident resume"),
        ("undo", undo, "standfast incident undo --target agents:alice"),
    ):
        command(incident, name, exits=CARRIED, example=example)(function)
    command(
        incident,
        "stop",
        exits={**_SAID, ExitStatus.REFUSED: "it is closed"},
        example="standfast incident stop",
    )(stop)
    command(
        incident,
        "close",
        exits={**_SAID, ExitStatus.REFUSED: "something is under way; stop it first"},
        example="standfast incident close inc-2026-0001",
    )(close)
    command(
        incident,
        "reopen",
        exits={
            **_SAID,
            ExitStatus.USAGE: "there is no such incident, or it is open",
            ExitStatus.REFUSED: "it was a plan",
        },
        example="standfast incident reopen inc-2026-0001",
    )(reopen)


Speaker = Annotated[
    str | None,
    Option(
        "--as", metavar="PERSON", help="Who says so, signed in; needed where the step names roles."
    ),
]


def approve(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, Argument(metavar="STEP", help="The one that asks.")] = None,
    as_person: Annotated[str | None, Option("--as", metavar="PERSON", help="Who approves.")] = None,
    refuse: Annotated[bool, Option("--refuse", help="Say no.")] = False,
    digest: Annotated[
        str,
        Option(
            "--digest", metavar="DIGEST", help="Only as it was shown: its digest, or how it begins."
        ),
    ] = "",
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Approve a step as planned, or refuse it.

    Your passphrase makes the signature; it holds for this plan and no other. Without --digest, what
    would be signed is shown first, and asked about.
    """
    from standfast.operations.decisions import decide

    if as_person is None:
        raise UsageError("an approval is somebody's: name yourself with --as PERSON")
    with call.place() as place:
        incident_id, rest = the_incident(place, incident, step, most=1)
        wanted = rest[0] if rest else None
        if not refuse:
            digest = shown_and_agreed(call, place, incident_id, wanted, as_person, digest)
        secret = passphrase(call, passphrase_file, as_person)
        asked = decide(
            place, incident_id, wanted, as_person, secret, approves=not refuse, as_shown=digest
        )
        said = "refused" if refuse else f"{asked.given} of {asked.needed} approvals"
        before: list[Line] = [f"{asked.step}: {said}."]
        if not refuse and asked.given >= asked.needed and asked.hold_seconds:
            before.append(
                f"It begins in {asked.hold_seconds} s; until then "
                f"`standfast incident stop {incident_id}` stops it."
            )
        told: dict[str, Json] = {
            "approval": {
                "step": asked.step,
                "person": as_person,
                "decision": "refuse" if refuse else "approve",
                "given": asked.given,
                "needed": asked.needed,
                "hold_seconds": asked.hold_seconds,
            }
        }
        return go_on(call, place, incident_id, no_wait=no_wait, told=told, before=before)


def answer(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, Argument(metavar="STEP")] = None,
    text: Annotated[str | None, Argument(metavar="TEXT")] = None,
    again: Annotated[
        bool,
        Option("--again", help="Correct an earlier answer; what began by it is not taken back."),
    ] = False,
    as_person: Speaker = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Answer a question, or report on a step.

    A step that is done by hand takes any text: what came of it. With --again, steps that the
    earlier answer had left out are looked at again.
    """
    from standfast.operations.decisions import answer as keep_answer

    with call.place() as place:
        incident_id, (asked, said) = the_incident(place, incident, step, text, least=2, most=2)
        by = signed_in(call, place, as_person, passphrase_file)
        begun = keep_answer(place, incident_id, asked, said, by=by, again=again)
        before: list[Line] = [f"{asked}: {'corrected' if again else 'noted'}."]
        before += _begun_before(incident_id, begun)
        told: dict[str, Json] = (
            {"begun_by_the_earlier_answer": [view.step for view in begun]} if again else {}
        )
        return go_on(call, place, incident_id, no_wait=no_wait, told=told, before=before)


def _begun_before(incident_id: str, views: "Sequence[StepView]") -> list[Line]:
    """Say what had begun by an answer that is corrected, and what to do if it should not be."""
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


def accept(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, Argument(metavar="STEP")] = None,
    as_person: Speaker = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Go on with what is done of a step.

    What needs the step may begin, although some of its targets were not done, or cannot be looked
    up now: that goes on by itself.
    """
    from standfast.operations.decisions import accept as keep_accepted

    with call.place() as place:
        incident_id, (wanted,) = the_incident(place, incident, step, least=1, most=1)
        by = signed_in(call, place, as_person, passphrase_file)
        keep_accepted(place, incident_id, wanted, by=by)
        return go_on(call, place, incident_id, no_wait=no_wait, before=[f"{wanted}: accepted."])


def settle(
    call: Call,
    incident: IncidentArgument = None,
    effect: Annotated[str | None, Argument(metavar="EFFECT")] = None,
    happened: Annotated[str | None, Argument(metavar="yes|no")] = None,
    step: Annotated[
        str | None, Option(metavar="STEP", help="All unknown effects of a step, instead of one.")
    ] = None,
    as_person: Speaker = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Say whether an unknown effect happened.

    Nobody could look it up. EFFECT is its name, or how it begins, from `incident status --targets`.
    """
    from standfast.operations.decisions import settle as keep_settled
    from standfast.operations.decisions import settle_step

    words = 1 if step else 2
    with call.place() as place:
        incident_id, (*named, said) = the_incident(
            place, incident, effect, happened, least=words, most=words
        )
        if said not in ("yes", "no"):
            raise UsageError("say yes when it happened, or no when it did not")
        did = said == "yes"
        by = signed_in(call, place, as_person, passphrase_file)
        if step is None:
            keep_settled(place, incident_id, named[0], happened=did, by=by)
            return go_on(call, place, incident_id, no_wait=no_wait, before=["Settled."])
        settled = settle_step(place, incident_id, step, happened=did, by=by)
        before: list[Line] = [f"{step}: {settled.count} settled."]
        if settled.left:
            before.append(
                f"{counted(settled.left, 'other')} may still happen, and will be looked up again."
            )
        told: dict[str, Json] = {"settled": settled.count, "left": settled.left}
        return go_on(call, place, incident_id, no_wait=no_wait, told=told, before=before)


def retry(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, Argument(metavar="STEP", help="All without.")] = None,
    as_person: Speaker = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Try again what failed, of a step or of all."""
    from standfast.operations.decisions import retry as plan_again

    with call.place() as place:
        incident_id, rest = the_incident(place, incident, step, most=1)
        by = signed_in(call, place, as_person, passphrase_file)
        again = plan_again(place, incident_id, rest[0] if rest else None, by=by)
        before: list[Line] = [f"{again.count} to be tried again."]
        if again.left:
            before.append(f"Left to who may say so (--as PERSON): {', '.join(again.left)}.")
        return go_on(
            call,
            place,
            incident_id,
            no_wait=no_wait,
            told={"tried_again": again.count, "left": [*again.left]},
            before=before,
        )


def resume(call: Call, incident: IncidentArgument = None, no_wait: NoWait = False) -> ExitStatus:
    """Let a stopped incident go on.

    One that nobody carries on is carried on, too.
    """
    from standfast.operations.incident import resume as let_go_on

    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        let_go_on(place, incident_id)
        return go_on(call, place, incident_id, no_wait=no_wait)


def undo(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, Option(help="What this step did.")] = None,
    target: Annotated[
        list[str] | None,
        Option(metavar="ACCOUNT", help="One account; may be given again."),
    ] = None,
    everything: Annotated[bool, Option("--all", help="All that was done.")] = False,
    only_plan: Annotated[
        bool, Option("--plan", help="Show what would be given back; nothing changes.")
    ] = False,
    as_person: Annotated[
        str | None,
        Option(
            "--as",
            metavar="PERSON",
            help="Who asks, signed in: whoever opened it spares one approval.",
        ),
    ] = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Give accounts back the state they had.

    Those that are named, those of one step, or with --all everything; --plan shows it first.
    """
    from standfast.operations.incident import look
    from standfast.operations.undoing import plan_undo
    from standfast.operations.undoing import undo as start_undo

    if not (step or target or everything):
        raise UsageError("say what is given back: --target ACCOUNT, --step STEP, or --all")
    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        requested_by = signed_in(call, place, as_person, passphrase_file)
        do = plan_undo if only_plan else start_undo
        planned = do(place, incident_id, step=step, targets=target or (), requested_by=requested_by)
        told: dict[str, Json] = {"undo": planned.as_json()}
        before = _undo_lines(planned)
        if only_plan:
            status = _OF_A_PLAN[planned.keeps]
            document: dict[str, Json] = {
                "incident": incident_id, **told, "exit_status": int(status)
            }  # fmt: skip
            call.say(document, [*before, "Nothing was changed."])
            return status
        if planned.keeps is StepState.FAILED:
            # There is no step that would say so: what comes next is not that all is done.
            outcome = look(place, incident_id)
            outcome = replace(
                outcome,
                state=replace(outcome.state, kept=len(planned.kept)),
                undo_came_to=planned.keeps,
            )
            return say_outcome(call, place, outcome, told=told, before=before)
        return go_on(
            call,
            place,
            incident_id,
            no_wait=no_wait,
            told=told,
            before=before,
            undo_came_to=planned.keeps,
        )


def _undo_lines(planned: "UndoPlan") -> list[Line]:
    where = ", ".join(f"{count} through {name}" for name, count in planned.where.items())
    through = f" ({where})" if where else ""
    lines: list[Line] = [
        f"{planned.restores} to be given back{through}, {len(planned.kept)} kept.",
    ]
    if not (planned.restores or planned.kept):
        lines = ["Nothing is to be given back: nothing was locked, or all of it is given back."]
    lines += [f"  {count} kept: {reason}" for reason, count in Counter(planned.kept).items()]
    lines += [f"  not restored: {what}" for what in planned.stays]
    if planned.needs_approvals:
        lines.append(
            f"The lock was not proven for {planned.unproven} of them, so "
            f"{planned.needs_approvals} must approve that they are given back."
        )
    return lines


def stop(
    call: Call,
    incident: IncidentArgument = None,
    everything: Annotated[bool, Option("--all", help="Every open incident.")] = False,
    no_wait: Annotated[
        bool, Option("--no-wait", help="Do not wait for what is under way to end.")
    ] = False,
) -> ExitStatus:
    """Stop everything that is not under way.

    What is under way ends, is looked up where nobody saw its end, and is written down.
    """
    from standfast.operations.incident import stop as halt
    from standfast.operations.incident import wait_until_still

    if everything and incident is not None:
        raise UsageError(f"say which: {incident}, or --all for every open incident; not both")
    with call.place() as place:
        if everything:
            stopped = [one.id for one in place.ledger.incidents.all(only_open=True)]
        else:
            stopped = [the_incident(place, incident)[0]]
        for incident_id in stopped:  # all of them first: the waiting may take its time
            halt(place, incident_id)
        documents: list[Json] = []
        lines: list[Line] = []
        for incident_id in stopped:
            left = _left_by_a_stop(place, incident_id)
            if not no_wait:
                if open_ends := left["under_way"] + left["unknown"]:
                    tell(
                        f"{incident_id} is stopped: nothing more begins. Waiting for the end of "
                        f"{counted(open_ends, 'act')} under way or in doubt; Ctrl-C leaves that to "
                        "`standfast serve`, or to whoever stops it again."
                    )
                wait_until_still(place, incident_id)
                left = _left_by_a_stop(place, incident_id)
            documents.append({"incident": incident_id, "is_stopped": True, **left})
            lines.append(f"{incident_id} is stopped; {_still_ends(left)}.")
    one = stopped[0] if len(stopped) == 1 else "INCIDENT"
    lines.append(f"Next: `standfast incident resume {one}` lets it go on.")
    document: dict[str, Json] = {"stopped": documents}
    if len(documents) == 1 and not everything:
        document |= cast("dict[str, Json]", documents[0])
    call.say(document, lines if stopped else ["No incident is open."])
    return ExitStatus.DONE


def _left_by_a_stop(place: "Place", incident_id: str) -> dict[str, int]:
    from standfast.operations.incident import look

    state = look(place, incident_id).state
    views = (*state.steps.values(), *state.extra)
    return {
        "done": sum(view.counts.done for view in views),
        "under_way": sum(view.counts.submitting for view in views),
        "unknown": sum(view.counts.unknown for view in views),
        "not_begun": sum(view.counts.planned for view in views),
    }


def _still_ends(left: Mapping[str, int]) -> str:
    """Say where a stop left the acts: nothing is half known, or it is named."""
    told = [f"{left['done']:,} done", f"{left['not_begun']:,} not begun"]
    if left["under_way"]:
        told.append(f"{left['under_way']:,} still under way, brought to their end")
    if left["unknown"]:
        told.append(f"{left['unknown']:,} that nobody can tell: `incident status --targets`")
    return ", ".join(told)
