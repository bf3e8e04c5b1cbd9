"""Checks of the rota on call: gaps, unknown people, missing pagers.

The rota is the plan of the people on duty. A call-out is a series of messages to one person after
another, until somebody acknowledges. A pager sends such a message.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from standfast.continuity.on_call_rota import Duty
from standfast.ledger import Ledger
from standfast.ledger.runs.call_outs import CallOutState
from standfast.local_time import minute
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    fail,
    ok,
    warn,
)
from standfast.usecases.on_call.people_on_duty import duties, time_zone

_PART = "on call"
_CHECKED = timedelta(days=14)  # the part of the rota that is checked, from now
_REPORTED = timedelta(days=7)  # age up to which an unanswered call-out is reported


def _on_call(inputs: CheckInputs) -> Iterator[Check]:
    rota = inputs.config.on_call
    if not rota.is_used:
        return
    now = inputs.clock()
    found = duties(inputs.config, now, now + _CHECKED)
    problems = [*_gaps(inputs, found)]
    if inputs.ledger is not None:
        problems += _people(inputs, inputs.ledger, found)
        problems += _unanswered(inputs, inputs.ledger)
    yield from problems
    if not problems:
        people = ", then ".join(found[0].people)
        until = minute(found[0].end, time_zone(inputs.config))
        yield ok(_PART, f"{people} until {until if len(found) > 1 else 'further notice'}")


def _unanswered(inputs: CheckInputs, ledger: Ledger) -> Iterator[Check]:
    """Report recent call-outs that nobody acknowledged."""
    zone = time_zone(inputs.config)
    for call_out in ledger.call_outs.recent():
        is_recent = inputs.clock() - call_out.started_at <= _REPORTED
        if call_out.state is CallOutState.UNANSWERED and is_recent:
            yield warn(
                _PART,
                f"nobody acknowledged the call-out of {minute(call_out.started_at, zone)} about "
                f"{call_out.incident}",
                "find out why nobody was reached: `standfast incident status "
                f"{call_out.incident}` shows the pages",
            )


def _gaps(inputs: CheckInputs, found: Sequence[Duty]) -> Iterator[Check]:
    """Report the first period in which nobody is on duty."""
    config = inputs.config
    gap = next((duty for duty in found if not duty.people), None)
    if gap is None or not (config.on_call.shifts or config.on_call.calendar):
        return
    zone = time_zone(config)
    text = f"nobody is on duty from {minute(gap.start, zone)} to {minute(gap.end, zone)}"
    if config.on_call.fallback:
        yield warn(_PART, f"{text}; the fallback is paged", "add a shift")
    else:
        yield fail(_PART, f"{text}, and there is no fallback", "set on_call.fallback")


def _people(inputs: CheckInputs, ledger: Ledger, found: Sequence[Duty]) -> Iterator[Check]:
    """Report people in the rota that cannot be paged, or only by mail."""
    rota = inputs.config.on_call
    on_duty = [name for duty in found for name in duty.people]
    named = [*on_duty, *(name for override in rota.overrides for name in override.people)]
    enrolled = {person.name for person in ledger.people.all()}
    for name in dict.fromkeys([*named, *rota.people]):
        if name not in enrolled:
            yield fail(
                _PART,
                f"{name} is not enrolled and cannot be paged",
                f"`standfast people add {name}`, or correct the rota",
            )
        elif name not in rota.people:
            yield warn(
                _PART,
                f"{name} has no pager: pages go to the mail address only",
                f"add [on_call.people.{name}]",
            )
    for role_or_person in rota.fallback:
        if not ledger.people.all([role_or_person]):
            yield warn(
                _PART,
                f"on_call.fallback names {role_or_person}, and nobody has that role",
                "correct the name, or enrol that person",
            )


CHECKS: dict[str, CheckFunction] = {_PART: _on_call}
