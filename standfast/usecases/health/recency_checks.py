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
from standfast.evidence.sensitive_numbers import find_sensitive_numbers
from standfast.ledger.runs.run_record import RunRecord
from standfast.plurals import counted
from standfast.records import Mode
from standfast.reports.report_sentences import duration
from standfast.usecases.alarms.recovery_point_age import freshness
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
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


def practice(installation: Installation) -> Iterator[Check]:
    """Look at all of it, in this order; one part's trouble hides no other's."""
    for part, look in _LOOKS.items():
        yield from tried(part, partial(look, installation))


def _recovery_points(installation: Installation) -> Iterator[Check]:
    for name in installation.config.backup.sets:
        seen = freshness(installation, name)
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


def _drills(installation: Installation) -> Iterator[Check]:
    for name in installation.config.backup.sets:
        command = f"`standfast drill run {name} --identity FILE`"
        good = _newest(installation, name, "done", "partial")
        failed = _newest(installation, name, "failed")
        if failed and (good is None or failed.started_at > good.started_at):
            yield fail(
                DRILLS, f"{name}: the last one, {_ago(failed, installation)}, failed", command
            )
        elif good is None:
            yield lacking(DRILLS, f"{name}: no restore was ever drilled", command)
        elif installation.clock() - good.started_at > _A_YEAR:
            yield warn(DRILLS, f"{name}: the last one was {_ago(good, installation)}", command)
        elif good.state == "partial":
            yield warn(
                DRILLS,
                f"{name}: the last one, {_ago(good, installation)}, fell short of what was "
                "promised, or "
                "could not show it",
                "`standfast report` says of what; mend that, then drill again",
            )
        else:
            yield ok(DRILLS, f"{name}: came back whole and in time, {_ago(good, installation)}")


def _newest(installation: Installation, set_name: str, *states: str) -> RunRecord | None:
    """Give the newest that can have been: a clock that stood ahead hides no failure."""
    runs = runs_of_vault(
        installation.config, installation.ledger.runs.all("drill", set_name, states=states)
    )
    return next((run for run in runs if not is_to_come(run.started_at, installation.clock())), None)


def _ago(run: RunRecord, installation: Installation) -> str:
    return f"{duration(installation.clock() - run.started_at)} ago"


def _exercises(installation: Installation) -> Iterator[Check]:
    tried, since = _tried(installation), installation.clock() - _A_YEAR
    lately = [name for name in _carried_out_here(installation) if tried.get(name, since) > since]
    never = [name for name in _carried_out_here(installation) if name not in lately]
    if lately:
        yield ok(EXERCISES, f"tried within a year: {', '.join(lately)}")
    if never:
        yield warn(
            EXERCISES,
            f"not tried for a year, or never: {', '.join(never)}",
            f"`standfast incident open {never[0]} --exercise`, which touches and pages nobody, or "
            "around a table: `standfast tabletop list`",
        )


def _carried_out_here(installation: Installation) -> list[str]:
    """Name the playbooks that could be tried here; `check` says why the others could not."""
    found = []
    for name in library.files(installation.config):
        if name == _HURRIED:
            continue
        try:
            library.find(installation.config, name, is_rehearsed=True)
        except PlaybookInvalid:
            continue
        found.append(name)
    return found


def _tried(installation: Installation) -> dict[str, datetime]:
    """Give when each playbook was last carried out or exercised.

    A table that answered nothing has tried nothing.
    """
    at_a_table = {f"{SCENARIO}{one.name}": one.playbook for one in exercises()}
    return {
        at_a_table.get(row.scenario, row.scenario): row.opened_at
        for row in installation.ledger.incidents.all()
        if row.mode is not Mode.PLAN
        and (not row.scenario.startswith(SCENARIO) or _is_answered(installation, row.id))
    }


def _is_answered(installation: Installation, incident_id: str) -> bool:
    steps = installation.ledger.incidents.state(incident_id).steps
    return any(view.answer is not None for view in steps.values())


def _leavers(installation: Installation) -> Iterator[Check]:
    if not installation.ledger.staff.all():
        yield warn(
            LEAVERS,
            "no list says who works here, so nobody sees a leaver's account that stays",
            "`standfast people import`",
        )
        return
    everybody = leavers(installation).everybody
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


def _factors(installation: Installation) -> Iterator[Check]:
    everywhere = second_factors(installation)
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


def _logs(installation: Installation) -> Iterator[Check]:
    for name, settings in installation.config.evidence.items():
        found = find_sensitive_numbers(settings.paths, settings.exclude)
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
