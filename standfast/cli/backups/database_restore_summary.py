"""Output of `standfast backup restore --into`."""

from typing import TYPE_CHECKING

from standfast.cli.backups.restore_summary import (
    EARLIER_POINTS,
    clock_ahead_lines,
    incomplete_lines,
    newer_lines,
    unrecorded_lines,
)
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.backups.database_restore import (
        DatabaseRestoreOutcome,
        DumpRestoreOutcome,
    )


def lines_of(outcome: "DatabaseRestoreOutcome") -> list[Line]:
    """Return the lines on restored and failed dumps, and the next step."""
    lines: list[Line] = [
        f"{outcome.point.name} ({outcome.point.set_name}) into {outcome.into}:",
        Table(rows=[_row(dump) for dump in outcome.dumps], indent=2),
    ]
    for dump in outcome.dumps:
        if dump.taken is None:
            lines.append(f"{dump.path}: {dump.error}")
        elif dump.taken.problems_total:
            problems = counted(dump.taken.problems_total, "statement")
            lines.append(f"{dump.path}: {problems} refused by the server:")
            lines.append(Table(rows=[[problem] for problem in dump.taken.problems], indent=2))
        if dump.taken is not None and dump.taken.kept_as is not None:
            lines.append(f"The previous database is kept as {dump.taken.kept_as}.")
    lines += incomplete_lines(outcome.lacking)
    lines += newer_lines(outcome.newer_damaged)
    lines += clock_ahead_lines(outcome.point, is_dated_ahead=outcome.is_dated_ahead)
    lines += unrecorded_lines(outcome.unrecorded)
    if not outcome.is_confined:
        lines.append(
            "Warning: this kernel has no Landlock: the server's programs could read the identity."
        )
    lines += ["", _next_step_line(outcome)]
    return lines


def _row(dump: "DumpRestoreOutcome") -> list[str]:
    if dump.taken is None:
        return [dump.path, "not restored", ""]
    where = f"database {dump.taken.database}" if dump.taken.database else "roles and users"
    return [dump.path, where, format_size(dump.taken.bytes)]


def _next_step_line(outcome: "DatabaseRestoreOutcome") -> str:
    status = outcome.exit_status
    if status is ExitStatus.DONE:
        return "Next: test the application before users connect."
    if status is ExitStatus.DAMAGED:
        return "Next: `standfast backup verify --read` names the damaged data in the vault."
    if any(
        "role" in problem for dump in outcome.dumps if dump.taken for problem in dump.taken.problems
    ):
        return "Next: restore the missing roles with --globals, or create them; restore again."
    if all(dump.exit_status is ExitStatus.DONE for dump in outcome.dumps):
        return EARLIER_POINTS
    return "Next: correct the causes above, then restore again."
