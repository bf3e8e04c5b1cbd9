"""Checks of the age of points, drills, exercises, attestations, leavers.

A drill is a test restore. Leavers are people that left the organisation. An attestation is a
person's signed statement that work was done.

Rules
- A check fails if a recovery would fail now: a backup set has no recent recovery point, or its last
  drill failed. If a set was never drilled, the command `readiness` answers "No". A playbook that
  was not tested for a year is only a risk.
- Plans may stay untested for at most twelve months: Regulation (EU) 2022/2554 (DORA), Article
  11(6)(a), and PCI DSS 4.0.1, requirement 12.10.2. A real incident counts as a test too.
- People are named only in masked form. Numbers that were found in a log, such as card numbers, are
  never shown.
- A second factor stops an intruder who has only a password. PCI DSS 4.0.1, requirements 8.4.1 to
  8.4.3, requires one for administrators, for access to card data, and for remote access.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.continuity.clock_skew import is_in_far_future
from standfast.errors import PlaybookInvalid
from standfast.evidence.sensitive_numbers import find_sensitive_numbers
from standfast.ledger.runs.run_record import RunRecord
from standfast.plurals import counted
from standfast.reports.report_sentences import duration
from standfast.usecases.alarms.recovery_point_age import freshness
from standfast.usecases.continuity.attestations import attestations
from standfast.usecases.continuity.calendar import calendar
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
from standfast.usecases.exercises.tested_playbooks import last_tested
from standfast.usecases.health.check_results import Check, fail, lacking, ok, unmeasured, warn
from standfast.usecases.health.installation_check import check_part
from standfast.usecases.people.second_factors import second_factors
from standfast.usecases.people.staff_access import leavers
from standfast.usecases.playbooks import library

_A_YEAR = timedelta(days=366)
_NEEDS_NO_TEST = "lock"  # name of the playbook with a single step

RECOVERY_POINTS, DRILLS, EXERCISES = "recovery points", "restore drills", "exercises"
CALENDAR, ATTESTATIONS = "calendar", "attestations"
LEAVERS, FACTORS, LOGS = "leavers", "second factors", "logs"


def practice(installation: Installation) -> Iterator[Check]:
    """Yield the results of all checks; an error ends only one check."""
    for part, check in _CHECKS.items():
        yield from check_part(part, partial(check, installation))


def _recovery_points(installation: Installation) -> Iterator[Check]:
    for name in installation.config.backup.sets:
        seen = freshness(installation, name)
        command = f"`standfast backup run {name}`"
        if seen.complete_at is None:
            yield fail(RECOVERY_POINTS, f"{name}: no complete recovery point", command)
        elif seen.is_stale and seen.age is not None:
            yield fail(
                RECOVERY_POINTS,
                f"{name}: the newest complete point is {duration(seen.age)} old; limit "
                f"{duration(seen.limit)}",
                command,
            )
        else:
            age = duration(seen.age or timedelta())
            yield ok(
                RECOVERY_POINTS,
                f"{name}: the newest complete point is {age} old; limit {duration(seen.limit)}",
            )


def _drills(installation: Installation) -> Iterator[Check]:
    for name in installation.config.backup.sets:
        command = f"`standfast drill run {name} --identity FILE`"
        good = _newest(installation, name, "done", "partial")
        failed = _newest(installation, name, "failed")
        if failed and (good is None or failed.started_at > good.started_at):
            yield fail(
                DRILLS, f"{name}: the last drill, {_ago(failed, installation)}, failed", command
            )
        elif good is None:
            yield lacking(DRILLS, f"{name}: never drilled", command)
        elif installation.clock() - good.started_at > _A_YEAR:
            yield warn(DRILLS, f"{name}: the last drill was {_ago(good, installation)}", command)
        elif good.state == "partial":
            yield warn(
                DRILLS,
                f"{name}: the last drill, {_ago(good, installation)}, missed its objectives, or "
                "could not measure them",
                "`standfast report` names the objectives; correct the causes, then drill again",
            )
        else:
            yield ok(DRILLS, f"{name}: restored in full and in time, {_ago(good, installation)}")


def _newest(installation: Installation, set_name: str, *states: str) -> RunRecord | None:
    """Return the newest drill in these states; ignore dates in the future."""
    runs = runs_of_vault(
        installation.config, installation.ledger.runs.all("drill", set_name, states=states)
    )
    return next(
        (run for run in runs if not is_in_far_future(run.started_at, installation.clock())), None
    )


def _ago(run: RunRecord, installation: Installation) -> str:
    return f"{duration(installation.clock() - run.started_at)} ago"


def _exercises(installation: Installation) -> Iterator[Check]:
    tested, since = last_tested(installation), installation.clock() - _A_YEAR
    recent = [name for name in _runnable_playbooks(installation) if tested.get(name, since) > since]
    never = [name for name in _runnable_playbooks(installation) if name not in recent]
    if recent:
        yield ok(EXERCISES, f"tested within a year: {', '.join(recent)}")
    if never:
        yield warn(
            EXERCISES,
            f"not tested for a year, or never: {', '.join(never)}",
            f"`standfast incident open {never[0]} --exercise`, which changes nothing and pages "
            "nobody, or a tabletop exercise: `standfast tabletop list`",
        )


def _runnable_playbooks(installation: Installation) -> list[str]:
    """Return the playbooks that can be executed here, except `lock`."""
    found = []
    for name in library.files(installation.config):
        if name == _NEEDS_NO_TEST:
            continue
        try:
            library.find(installation.config, name, is_rehearsed=True)
        except PlaybookInvalid:
            continue  # `standfast check` reports it
        found.append(name)
    return found


def _calendar(installation: Installation) -> Iterator[Check]:
    entries = calendar(installation)
    for entry in entries:
        if entry.is_overdue:
            yield warn(CALENDAR, f"{entry.name}: overdue since {entry.due}", entry.what_to_do)
        for recipient in filter(None, (entry.owner, entry.escalates_to)):
            if not installation.ledger.people.all((recipient,)):
                yield warn(
                    CALENDAR,
                    f"{entry.name}: nobody is enrolled as {recipient}, so nobody is notified",
                    "`standfast people add`, or name another owner",
                )
    if entries and not any(entry.is_overdue for entry in entries):
        yield ok(CALENDAR, f"{counted(len(entries), 'entry', 'entries')} in time")


def _attestations(installation: Installation) -> Iterator[Check]:
    for problem in attestations(installation).problems:
        found = fail(ATTESTATIONS, f"not counted: {problem}", "`standfast audit verify`")
        yield replace(found, is_damage=True)


def _leavers(installation: Installation) -> Iterator[Check]:
    if not installation.ledger.staff.all():
        yield unmeasured(
            LEAVERS,
            "no list of staff is imported, so accounts of leavers are not detected",
            "`standfast people import`",
        )
        return
    everybody = leavers(installation).everybody
    still_in = sum(bool(leaver.still_in) for leaver in everybody)
    unclear = sum(bool(leaver.unclear) and not leaver.still_in for leaver in everybody)
    gone = counted(len(everybody), "person has", "people have")
    if still_in:
        yield warn(
            LEAVERS,
            f"{gone} left, and {still_in} still {'has' if still_in == 1 else 'have'} access",
            "`standfast people leavers` names the directories; the playbook `leaver` locks them",
        )
    if unclear:
        yield unmeasured(
            LEAVERS,
            f"the access of {unclear} of the leavers is unknown",
            "`standfast people leavers` names the directories that do not answer",
        )
    if not still_in and not unclear:
        yield ok(LEAVERS, f"{gone} left, and none has access")


def _factors(installation: Installation) -> Iterator[Check]:
    everywhere = second_factors(installation)
    for result in everywhere:
        summary = f"{result.directory}: {result.sentence}"
        if result.problem:
            yield warn(FACTORS, summary, "correct the cause, or check in the directory itself")
        elif not result.cannot_say and result.is_open:
            yield warn(
                FACTORS,
                summary,
                "require a second factor in the directory; `standfast people factors --names` "
                "lists the people",
            )
        elif not result.cannot_say:
            yield ok(FACTORS, summary)
    if unknown := [result.directory for result in everywhere if result.cannot_say]:
        yield unmeasured(
            FACTORS,
            f"{', '.join(unknown)}: cannot report second factors",
            "check where its people sign in, for example at its identity provider",
        )


def _logs(installation: Installation) -> Iterator[Check]:
    for name, settings in installation.config.evidence.items():
        if not isinstance(settings, FilesEvidenceConfig):
            continue
        found = find_sensitive_numbers(settings.paths, settings.exclude)
        read = f"the newest lines of {counted(found.files, 'file')}"
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
                f"{name}: {' and '.join(text for count, text in kinds if count)} in clear, in "
                f"{found.in_files} of {counted(found.files, 'file')}",
                "configure the program that writes the log to mask these numbers: everybody "
                "that reads or steals the log gets them",
            )
        elif found.files:
            yield ok(LOGS, f"{name}: no card or social-security number in clear in {read}")
        if found.unread:
            yield warn(
                LOGS,
                f"{name}: {counted(found.unread, 'file')} could not be read",
                "run this as the user of `standfast serve`",
            )


_CHECKS = {
    RECOVERY_POINTS: _recovery_points,
    DRILLS: _drills,
    EXERCISES: _exercises,
    CALENDAR: _calendar,
    ATTESTATIONS: _attestations,
    LEAVERS: _leavers,
    FACTORS: _factors,
    LOGS: _logs,
}
