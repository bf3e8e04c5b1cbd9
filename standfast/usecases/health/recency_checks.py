"""What only time and practice keep alive: recovery points, drills, exercises, accounts, logs.

Rules
- A failure is what would make tonight's recovery fail as far as anybody knows: a set without a
  recent point, or whose last drill failed. A set that was never drilled answers no question with
  yes. What nobody has tried, or found lately, is a risk.
- Once in twelve months is the longest that plans may go untried: Regulation (EU) 2022/2554 (DORA),
  Article 11(6)(a), and PCI DSS 4.0.1, requirement 12.10.2. A live incident counts as a trial too.
- Nobody is named but masked, and no number that was found in a log.
- A second factor keeps out who has but a password: PCI DSS 4.0.1, requirements 8.4.1 to 8.4.3, asks
  for one of administrators, of whoever comes near card data, and from outside.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from standfast.continuity.clock_skew import is_to_come
from standfast.errors import PlaybookInvalid
from standfast.evidence.sensitive_numbers import look_for_unmasked
from standfast.ledger.runs.run_record import RunRow
from standfast.plurals import counted
from standfast.records import Mode
from standfast.reports.report_sentences import duration
from standfast.usecases.alarms.recovery_point_age import freshness
from standfast.usecases.core.installation import Place
from standfast.usecases.core.run_origins import of_vault
from standfast.usecases.exercises.tabletop import SCENARIO, exercises
from standfast.usecases.health.check_results import Check, fail, lacking, ok, warn
from standfast.usecases.health.installation_check import tried
from standfast.usecases.people.second_factors import second_factors
from standfast.usecases.people.staff_access import leavers
from standfast.usecases.playbooks import library

_A_YEAR = timedelta(days=366)
_HURRIED = "lock"  # of one step, that nobody needs to practise

RECOVERY_POINTS, DRILLS, EXERCISES = "recovery points", "restore drills", "exercises"
LEAVERS, FACTORS, LOGS = "leavers", "second factors", "logs"


def practice(place: Place) -> Iterator[Check]:
    """Look at all of it, in this order; one part's trouble hides no other's."""
    for part, look in _LOOKS.items():
        yield from tried(part, partial(look, place))


def _recovery_points(place: Place) -> Iterator[Check]:
    for name in place.config.backup.sets:
        seen = freshness(place, name)
        command = f"`standfast backup run {name}`"
        if seen.complete_at is None:
            yield fail(RECOVERY_POINTS, f"{name}: there is no complete one", command)
        elif seen.is_stale and seen.age is not None:
            yield fail(
                RECOVERY_POINTS,
                f"{name}: the newest complete one is {duration(seen.age)} old, and may be "
                f"{duration(seen.limit)}",
                command,
            )
        else:
            age = duration(seen.age or timedelta())
            yield ok(
                RECOVERY_POINTS,
                f"{name}: the newest complete one is {age} old, of {duration(seen.limit)}",
            )


def _drills(place: Place) -> Iterator[Check]:
    for name in place.config.backup.sets:
        command = f"`standfast drill run {name} --identity FILE`"
        good = _newest(place, name, "done", "partial")
        failed = _newest(place, name, "failed")
        if failed and (good is None or failed.started_at > good.started_at):
            yield fail(DRILLS, f"{name}: the last one, {_ago(failed, place)}, failed", command)
        elif good is None:
            yield lacking(DRILLS, f"{name}: no restore was ever drilled", command)
        elif place.clock() - good.started_at > _A_YEAR:
            yield warn(DRILLS, f"{name}: the last one was {_ago(good, place)}", command)
        elif good.state == "partial":
            yield warn(
                DRILLS,
                f"{name}: the last one, {_ago(good, place)}, fell short of what was promised, or "
                "could not show it",
                "`standfast report` says of what; mend that, then drill again",
            )
        else:
            yield ok(DRILLS, f"{name}: came back whole and in time, {_ago(good, place)}")


def _newest(place: Place, set_name: str, *states: str) -> RunRow | None:
    """Give the newest that can have been: a clock that stood ahead hides no failure."""
    runs = of_vault(place.config, place.ledger.runs.all("drill", set_name, states=states))
    return next((run for run in runs if not is_to_come(run.started_at, place.clock())), None)


def _ago(run: RunRow, place: Place) -> str:
    return f"{duration(place.clock() - run.started_at)} ago"


def _exercises(place: Place) -> Iterator[Check]:
    tried, since = _tried(place), place.clock() - _A_YEAR
    lately = [name for name in _carried_out_here(place) if tried.get(name, since) > since]
    never = [name for name in _carried_out_here(place) if name not in lately]
    if lately:
        yield ok(EXERCISES, f"tried within a year: {', '.join(lately)}")
    if never:
        yield warn(
            EXERCISES,
            f"not tried for a year, or never: {', '.join(never)}",
            f"`standfast incident open {never[0]} --exercise`, which touches and pages nobody, or "
            "around a table: `standfast tabletop list`",
        )


def _carried_out_here(place: Place) -> list[str]:
    """Name the playbooks that could be tried here; `check` says why the others could not."""
    found = []
    for name in library.files(place.config):
        if name == _HURRIED:
            continue
        try:
            library.find(place.config, name, is_rehearsed=True)
        except PlaybookInvalid:
            continue
        found.append(name)
    return found


def _tried(place: Place) -> dict[str, datetime]:
    """Give when each playbook was last carried out or exercised.

    A table that answered nothing has tried nothing.
    """
    at_a_table = {f"{SCENARIO}{one.name}": one.playbook for one in exercises()}
    return {
        at_a_table.get(row.scenario, row.scenario): row.opened_at
        for row in place.ledger.incidents.all()
        if row.mode is not Mode.PLAN
        and (not row.scenario.startswith(SCENARIO) or _is_answered(place, row.id))
    }


def _is_answered(place: Place, incident_id: str) -> bool:
    steps = place.ledger.incidents.state(incident_id).steps
    return any(view.answer is not None for view in steps.values())


def _leavers(place: Place) -> Iterator[Check]:
    if not place.ledger.staff.all():
        yield warn(
            LEAVERS,
            "no list says who works here, so nobody sees a leaver's account that stays",
            "`standfast people import`",
        )
        return
    everybody = leavers(place).everybody
    still_in = sum(bool(one.still_in) for one in everybody)
    unclear = sum(bool(one.unclear) and not one.still_in for one in everybody)
    who = counted(len(everybody), "person has", "people have")
    if still_in:
        yield warn(
            LEAVERS,
            f"{who} left, and {still_in} still {'gets' if still_in == 1 else 'get'} in",
            "`standfast people leavers` says where; `leaver` is the playbook for it",
        )
    if unclear:
        yield warn(
            LEAVERS,
            f"of {unclear} who left nobody can say whether they get in",
            "`standfast people leavers` names the directories that do not answer",
        )
    if not still_in and not unclear:
        yield ok(LEAVERS, f"{who} left, and nobody of them gets in")


def _factors(place: Place) -> Iterator[Check]:
    everywhere = second_factors(place)
    for one in everywhere:
        said = f"{one.directory}: {one.sentence}"
        if one.problem:
            yield warn(FACTORS, said, "mend that, or look in the directory itself")
        elif not one.cannot_say and one.is_open:
            yield warn(
                FACTORS,
                said,
                "require one in the directory; `standfast people factors --names` says of whom",
            )
        elif not one.cannot_say:
            yield ok(FACTORS, said)
    if unknown := [one.directory for one in everywhere if one.cannot_say]:
        yield warn(
            FACTORS,
            f"{', '.join(unknown)}: cannot say who has a second factor",
            "look where its people sign in, such as at the identity provider before it",
        )


def _logs(place: Place) -> Iterator[Check]:
    for name, settings in place.config.evidence.items():
        found = look_for_unmasked(settings.paths, settings.exclude)
        read = f"the ends of {counted(found.files, 'file')}"
        if found.in_files:
            kinds = (
                (found.cards, counted(found.cards, "number") + " like a payment card's"),
                (
                    found.social_security,
                    counted(found.social_security, "number") + " like a social-security number",
                ),
            )
            yield warn(
                LOGS,
                f"{name}: {' and '.join(said for count, said in kinds if count)} in clear, in "
                f"{found.in_files} of {counted(found.files, 'file')}",
                "see that whatever writes there masks them: who reads the log has them, and so has "
                "whoever takes it",
            )
        elif found.files:
            yield ok(LOGS, f"{name}: no card or social-security number in clear in {read}")
        if found.unread:
            yield warn(
                LOGS,
                f"{name}: {counted(found.unread, 'file')} could not be read",
                "run this as the user that `standfast serve` runs as",
            )


_LOOKS = {
    RECOVERY_POINTS: _recovery_points,
    DRILLS: _drills,
    EXERCISES: _exercises,
    LEAVERS: _leavers,
    FACTORS: _factors,
    LOGS: _logs,
}
