"""What people say about an incident: approve, answer, accept, settle, retry, stop, undo, close."""

from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.call import Call, command
from standfast.cli.carrying import carry_on, say_outcome
from standfast.cli.incident_words import CARRIED, IncidentArgument, the_incident
from standfast.cli.opening import NoWait
from standfast.cli.output import Line
from standfast.cli.passphrase import PassphraseFile, passphrase
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.operations.place import Place

_SAID: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is in the ledger",
    ExitStatus.USAGE: "there is no such incident",
}


def add_to(incident: typer.Typer) -> None:
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
    command(incident, "stop", exits=_SAID, example="standfast incident stop")(stop)
    command(
        incident,
        "close",
        exits={**_SAID, ExitStatus.REFUSED: "something is under way; stop it first"},
        example="standfast incident close inc-2026-0001",
    )(close)


def approve(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[
        str | None, typer.Argument(metavar="STEP", help="The one that asks.", show_default=False)
    ] = None,
    as_person: Annotated[
        str | None, typer.Option("--as", metavar="PERSON", help="Who approves.", show_default=False)
    ] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Say no.")] = False,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Approve a step as planned, or refuse it.

    Your passphrase makes the signature; it holds for this plan and no other.
    """
    from standfast.operations.decisions import decide

    if as_person is None:
        raise UsageError("an approval is somebody's: name yourself with --as PERSON")
    with call.place() as place:
        incident_id, rest = the_incident(place, incident, step, most=1)
        secret = passphrase(call, passphrase_file, as_person)
        wanted = rest[0] if rest else None
        asked = decide(place, incident_id, wanted, as_person, secret, approves=not refuse)
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
        return _go_on(call, place, incident_id, no_wait=no_wait, told=told, before=before)


def answer(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, typer.Argument(metavar="STEP", show_default=False)] = None,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", show_default=False)] = None,
    no_wait: NoWait = False,
) -> ExitStatus:
    """Answer a question, or report on a step.

    A step that is done by hand takes any text: what came of it.
    """
    from standfast.operations.decisions import answer as keep_answer

    with call.place() as place:
        incident_id, (asked, said) = the_incident(place, incident, step, text, least=2, most=2)
        keep_answer(place, incident_id, asked, said)
        return _go_on(call, place, incident_id, no_wait=no_wait, before=[f"{asked}: noted."])


def accept(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[str | None, typer.Argument(metavar="STEP", show_default=False)] = None,
    no_wait: NoWait = False,
) -> ExitStatus:
    """Go on with what is done of a step.

    What needs the step may begin, although some of its targets were not done.
    """
    from standfast.operations.decisions import accept as keep_accepted

    with call.place() as place:
        incident_id, (wanted,) = the_incident(place, incident, step, least=1, most=1)
        keep_accepted(place, incident_id, wanted)
        return _go_on(call, place, incident_id, no_wait=no_wait, before=[f"{wanted}: accepted."])


def settle(
    call: Call,
    incident: IncidentArgument = None,
    effect: Annotated[str | None, typer.Argument(metavar="EFFECT", show_default=False)] = None,
    happened: Annotated[str | None, typer.Argument(metavar="yes|no", show_default=False)] = None,
    no_wait: NoWait = False,
) -> ExitStatus:
    """Say whether an unknown effect happened.

    Nobody could look it up. EFFECT is its name, or how it begins, from `incident status --targets`.
    """
    from standfast.operations.decisions import settle as keep_settled

    with call.place() as place:
        incident_id, (token, said) = the_incident(
            place, incident, effect, happened, least=2, most=2
        )
        if said not in ("yes", "no"):
            raise UsageError("say yes when it happened, or no when it did not")
        keep_settled(place, incident_id, token, happened=said == "yes")
        return _go_on(call, place, incident_id, no_wait=no_wait, before=["Settled."])


def retry(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[
        str | None, typer.Argument(metavar="STEP", help="All without.", show_default=False)
    ] = None,
    no_wait: NoWait = False,
) -> ExitStatus:
    """Try again what failed, of a step or of all."""
    from standfast.operations.decisions import retry as plan_again

    with call.place() as place:
        incident_id, rest = the_incident(place, incident, step, most=1)
        again = plan_again(place, incident_id, rest[0] if rest else None)
        return _go_on(
            call,
            place,
            incident_id,
            no_wait=no_wait,
            told={"tried_again": again},
            before=[f"{again} to be tried again."],
        )


def resume(call: Call, incident: IncidentArgument = None, no_wait: NoWait = False) -> ExitStatus:
    """Let a stopped incident go on.

    One that nobody carries on is carried on, too.
    """
    from standfast.operations.incident import resume as let_go_on

    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        let_go_on(place, incident_id)
        return _go_on(call, place, incident_id, no_wait=no_wait)


def undo(
    call: Call,
    incident: IncidentArgument = None,
    step: Annotated[
        str | None, typer.Option(help="What this step locked.", show_default=False)
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ACCOUNT", help="One account; may be given again.", show_default=False
        ),
    ] = None,
    as_person: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="PERSON",
            help="Who asks, signed in: whoever opened it spares one approval.",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Give accounts back the state they had.

    All that were locked, those of one step, or those that are named.
    """
    from standfast.operations.decisions import known_person
    from standfast.operations.decisions import undo as plan_undo

    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        requested_by = None
        if as_person is not None:
            secret = passphrase(call, passphrase_file, as_person)
            requested_by = known_person(place, as_person, secret)
        planned = plan_undo(
            place, incident_id, step=step, targets=target or (), requested_by=requested_by
        )
        before: list[Line] = [f"{planned.restores} to be given back, {len(planned.kept)} kept."]
        before += [f"  kept: {reason}" for reason in dict.fromkeys(planned.kept)]
        if planned.needs_approvals:
            before.append(
                f"The lock was not proven for all of them, so {planned.needs_approvals} must "
                "approve that they are given back."
            )
        told: dict[str, Json] = {
            "undo": {
                "step": planned.step,
                "restores": planned.restores,
                "kept": list(planned.kept),
                "needs_approvals": planned.needs_approvals,
            }
        }
        return _go_on(call, place, incident_id, no_wait=no_wait, told=told, before=before)


def stop(call: Call, incident: IncidentArgument = None) -> ExitStatus:
    """Stop everything that is not under way.

    What is under way ends, and is written down.
    """
    from standfast.operations.incident import look
    from standfast.operations.incident import stop as halt

    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        halt(place, incident_id)
        under_way = sum(
            view.counts.submitting for view in look(place, incident_id).state.steps.values()
        )
    call.say(
        {"incident": incident_id, "is_stopped": True, "under_way": under_way},
        [
            f"{incident_id} is stopped; {_still_ends(under_way)}.",
            f"Next: `standfast incident resume {incident_id}` lets it go on.",
        ],
    )
    return ExitStatus.DONE


def close(call: Call, incident: IncidentArgument = None) -> ExitStatus:
    """Close an incident; accounts stay as they are."""
    from standfast.operations.incident import close as end
    from standfast.operations.incident import look

    with call.place() as place:
        incident_id, _ = the_incident(place, incident)
        end(place, incident_id)
        undone = look(place, incident_id).unfinished
    call.say(
        {"incident": incident_id, "state": "closed", "not_done": [*undone]},
        [
            f"{incident_id} is closed; its accounts stay as they are.",
            *([f"Never carried out to its end: {', '.join(undone)}."] if undone else []),
            f"Next: `standfast audit show {incident_id}` is its timeline.",
        ],
    )
    return ExitStatus.DONE


def _still_ends(under_way: int) -> str:
    if not under_way:
        return "nothing was under way"
    were = "act was" if under_way == 1 else "acts were"
    return f"{under_way:,} {were} under way; what was begun is brought to its end"


def _go_on(
    call: Call,
    place: "Place",
    incident_id: str,
    *,
    no_wait: bool,
    told: dict[str, Json] | None = None,
    before: list[Line] | None = None,
) -> ExitStatus:
    from standfast.operations.incident import look

    if no_wait:
        outcome = look(place, incident_id)
        say_outcome(call, place, outcome, told=told or {}, before=before or [])
        return ExitStatus.DONE
    return carry_on(call, place, incident_id, told=told or {}, before=before or [])
