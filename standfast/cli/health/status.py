"""`standfast status`: backups, drills, incidents and the next step."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backup.records import INSTALLATION_SET
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import format_age, format_time_left
from standfast.errors import ExitStatus
from standfast.local_time import minute
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.ledger.status_overview import LastRun
    from standfast.usecases.health.incident_overview import IncidentStatus
    from standfast.usecases.health.status_record import SetStatus, Status
    from standfast.usecases.key_ceremonies.custodian_answers import CustodianStatus


_NOTHING = "Nothing to do now."
PLAN, EXERCISE = "plan", "exercise"


@command(
    "status",
    exits={
        ExitStatus.DONE: "the state is shown, good or bad",
        ExitStatus.FAILED: "the database of the ledger does not respond",
        ExitStatus.USAGE: "there is no configuration, or its ledger does not exist",
        ExitStatus.DAMAGED: "the ledger's file is not readable as a database",
    },
    example="standfast status --json",
)
@click.option("--live", is_flag=True, help="Show live incidents only, without plans and exercises.")
@click.pass_obj
def status(call: Call, live: bool) -> ExitStatus:
    """Show the state of backups, drills and incidents.

    The output has the last backups and drills, open incidents, how many people are not notified
    yet, and one next step.
    """
    from standfast.usecases.health.status import look

    seen = look(call.config_file, call.env, datetime.now(UTC))
    if live:
        seen = replace(
            seen, incidents=tuple(incident for incident in seen.incidents if incident.is_live)
        )
    return call.print_result(seen.as_json(), _lines(seen, is_live_only=live))


def _lines(seen: "Status", *, is_live_only: bool) -> list[Line]:
    live = [incident for incident in seen.incidents if incident.is_live]
    lines: list[Line] = []
    if live:
        headings = ("live incident", "playbook", "open for", "not notified", "legal clocks")
        rows = [
            [*_row(incident, seen.at), _not_notified_cell(incident), _clocks(incident, seen)]
            for incident in live
        ]
        lines += [Table(headings=headings, rows=rows), *_headlines(live, seen)]
    elif is_live_only:
        lines.append("No live incident is open.")
    else:
        lines.append("No live incident is open." if seen.incidents else "No incident is open.")
    lines += [
        f"Trigger {row.name}: its page {format_age(seen.at - row.since)} ago reached nobody. See "
        "why: `standfast check`."
        for row in seen.unnotified_triggers
    ]
    lines += [
        f"Trigger {letters.trigger}: {counted(letters.count, 'dead letter')}, the last "
        f"{format_age(seen.at - letters.last)} ago. See why: `standfast check`."
        for letters in seen.dead_letters
    ]
    for mode, heading in ((PLAN, "plan"), (EXERCISE, "exercise")):
        of_mode = [incident for incident in seen.incidents if incident.mode == mode]
        if of_mode:
            rows = [[*_row(incident, seen.at)] for incident in of_mode]
            lines += ["", Table(headings=(heading, "playbook", "open for"), rows=rows)]
            lines += _headlines(of_mode, seen)
    lines.append("")
    if seen.sets:
        lines.append(
            Table(
                headings=("set", "last backup", "last drill"),
                rows=[[row.name, _backup(row, seen.at), _drill(row, seen.at)] for row in seen.sets],
            )
        )
    else:
        lines.append("Nothing is backed up: no backup set is configured. Add [backup.sets.NAME].")
    if seen.sets and not any(row.name == INSTALLATION_SET for row in seen.sets):
        lines.append("The installation itself is not backed up. Add [backup.installation].")
    if seen.cloned_host:
        lines.append(f"{seen.cloned_host.sentence}.")
    if seen.forked_at:
        lines.append(
            f"Vault: it had a recovery point that this machine did not create, "
            f"{format_age(seen.at - seen.forked_at)} ago. See why: `standfast check`."
        )
    if seen.verify_failed:
        ago = format_age(seen.at - seen.verify_failed)
        lines.append(
            f"Vault: the last verification, {ago} ago, failed. See why: `standfast backup verify`."
        )
    for alarm in seen.alarms:
        suffix = "" if alarm.is_notified else "; no person could be notified"
        lines.append(
            f"Alarm: {alarm.sentence} (since {format_age(seen.at - alarm.since)}{suffix})."
        )
    if seen.unstamped:
        lines.append(
            f"Evidence: {counted(seen.unstamped.count, 'sealed folder')} without a time stamp, the "
            f"first for {format_age(seen.at - seen.unstamped.since)}."
        )
    lines += [f"Disk space: {space.sentence}." for space in seen.low_space]
    if seen.misconfigured:
        lines.append(
            f"Configuration: {seen.misconfigured}. Correct it: other commands refuse to run."
        )
    lines += [_custodian_line(custodian, seen.at) for custodian in seen.custodians]
    lines.append(_restore_needs(seen))
    lines += ["", _ledger(seen), f"Next: {seen.next_step}" if seen.next_step else _NOTHING]
    return lines


def _row(incident: "IncidentStatus", now: datetime) -> tuple[str, str, str]:
    return (
        incident.id,
        incident.scenario,
        "closed" if incident.is_closed else format_age(now - incident.opened_at),
    )


def _headlines(of_mode: "Sequence[IncidentStatus]", seen: "Status") -> list[Line]:
    """Return the headline and the next step of each incident.

    The next step of the first incident is omitted: the last line of the status shows it.
    """
    lines: list[Line] = []
    for incident in of_mode:
        lines.append(f"{incident.id}: {incident.headline}.")
        lines += [f"  Next: {incident.next_step}"] if incident is not seen.incidents[0] else []
    return lines


def _not_notified_cell(incident: "IncidentStatus") -> str:
    """Return how many recipients are not notified or wait for a decision."""
    if incident.is_closed:
        return "-"  # not counted after the close; `notice accounting` counts them
    parts = (
        [f"{incident.not_notified:,}"] if incident.not_notified or not incident.uncounted else []
    )
    parts += [f"{incident.held} for a person to decide"] if incident.held else []
    return ", ".join([*parts, *(f"all of {step}" for step in incident.uncounted)])


def _clocks(incident: "IncidentStatus", seen: "Status") -> str:
    """Return how many time limits are missed or due now, and the next one."""
    if incident.clocks is None:
        return "UNKNOWN: `standfast check`" if incident.lacks_clocks else "not set up"
    parts = [f"{incident.clocks.missed} MISSED"] if incident.clocks.missed else []
    parts += [f"{incident.clocks.due_now} due now"] if incident.clocks.due_now else []
    if due := incident.clocks.next_due:
        parts.append(f"next in {format_time_left(due - seen.at)}, {minute(due, seen.time_zone)}")
    return "; ".join(parts) or "none runs"


def _backup(backup_set: "SetStatus", now: datetime) -> str:
    text = _age_of_run(backup_set.last_backup, now)
    if backup_set.running_since:
        text += f"; one has been running for {format_age(now - backup_set.running_since)}"
    if backup_set.last_failed:
        text += f"; failed {format_age(now - backup_set.last_failed)} ago"
    return text


def _drill(backup_set: "SetStatus", now: datetime) -> str:
    text = _age_of_run(backup_set.last_drill, now)
    if backup_set.drill_failed:
        text += f"; failed {format_age(now - backup_set.drill_failed)} ago"
    return text


def _age_of_run(run: "LastRun | None", now: datetime) -> str:
    if run is None:
        return "never"
    partly = " (partial)" if run.state == "partial" else ""
    return f"{format_age(now - run.started_at)} ago{partly}"


def _custodian_line(custodian: "CustodianStatus", now: datetime) -> str:
    who = custodian.name or custodian.fingerprint
    if custodian.lacks:
        return f"Custodian {who} cannot open {', '.join(custodian.lacks)}."
    if custodian.answered_at is None:
        asked = format_age(now - custodian.asked_at)
        return f"Custodian {who} has not answered the challenge that is {asked} old."
    return f"Custodian {who}: the last answer is {format_age(now - custodian.answered_at)} old."


def _restore_needs(seen: "Status") -> str:
    copies = f"copies: {'; '.join(seen.key_copies)}" if seen.key_copies else "no copy is known"
    return (
        f"A restore needs three things: the vault ({seen.vault}), the key records ({copies}) and a "
        "recovery identity."
    )


def _ledger(seen: "Status") -> str:
    serve = "`standfast serve` runs"
    if not seen.serves_here:
        here = "runs on another host only" if seen.has_serve else "does not run"
        serve = f"`standfast serve` {here}, so this host makes no scheduled backups"
    if not seen.events:
        return f"The ledger is empty; {serve}."
    behind = seen.events - seen.signed_events
    signed = "" if not behind else f", {behind} of them not signed yet"
    return f"The ledger has {counted(seen.events, 'event')}{signed}; {serve}."
