"""`standfast status`: where everything stands, at once."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from standfast.cli.amounts import age
from standfast.cli.call import Call, command
from standfast.cli.output import Line, Table
from standfast.errors import ExitStatus

if TYPE_CHECKING:
    from standfast.ledger.glance import LastRun
    from standfast.operations.status import SetStatus, Status


_NOTHING = "Nothing to do now."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "status",
        exits={
            ExitStatus.DONE: "the place could be looked at, whatever it shows",
            ExitStatus.FAILED: "the ledger's database does not answer",
            ExitStatus.USAGE: "there is no configuration, or no ledger where it says",
            ExitStatus.DAMAGED: "the ledger's file is not readable as a database",
        },
        example="standfast status --json",
    )(status)


def status(call: Call) -> ExitStatus:
    """Say where everything stands, at once.

    Last backups and drills, open incidents, who is untold, and one next step.
    """
    from standfast.operations.status import look

    seen = look(call.config_file, call.env, datetime.now(UTC))
    call.say(seen.as_json(), _lines(seen))
    return ExitStatus.DONE


def _lines(seen: "Status") -> list[Line]:
    lines: list[Line] = []
    if seen.incidents:
        lines += [
            Table(
                headings=("incident", "scenario", "mode", "open for", "not told"),
                rows=[
                    [
                        one.id,
                        one.scenario,
                        one.mode,
                        age(seen.at - one.opened_at),
                        str(one.untold),
                    ]
                    for one in seen.incidents
                ],
            )
        ]
        lines += [f"{one.id}: {one.next_step}" for one in seen.incidents[1:]]
    else:
        lines.append("No incident is open.")
    lines.append("")
    if seen.sets:
        lines.append(
            Table(
                headings=("set", "last backup", "last drill"),
                rows=[
                    [one.name, _backup(one, seen.at), _ago(one.last_drill, seen.at, "never")]
                    for one in seen.sets
                ],
            )
        )
    else:
        lines.append("Nothing is backed up: the configuration has no [backup.sets.NAME].")
    if seen.verify_failed:
        ago = age(seen.at - seen.verify_failed)
        lines.append(f"The vault: the last verification, {ago} ago, did not end well.")
    lines += ["", _ledger(seen), f"Next: {seen.next_step}" if seen.next_step else _NOTHING]
    return lines


def _backup(one: "SetStatus", now: datetime) -> str:
    told = _ago(one.last_backup, now, "never")
    if one.running_since:
        told += f"; one runs since {age(now - one.running_since)}"
    if one.last_failed:
        told += f"; failed {age(now - one.last_failed)} ago"
    return told


def _ago(run: "LastRun | None", now: datetime, otherwise: str) -> str:
    if run is None:
        return otherwise
    partly = " (partial)" if run.state == "partial" else ""
    return f"{age(now - run.started_at)} ago{partly}"


def _ledger(seen: "Status") -> str:
    serve = "serve runs" if seen.has_serve else "no serve runs, so nothing is backed up by schedule"
    if not seen.events:
        return f"The ledger is empty; {serve}."
    behind = seen.events - seen.signed_events
    signed = "signed to its end" if not behind else f"{behind} of them not signed yet"
    return f"The ledger has {seen.events} events, {signed}; {serve}."
