"""Output of `standfast backup restore`: to a folder or `--into` a server.

A recovery point is the result of one backup.
"""

from typing import TYPE_CHECKING

from standfast.cli.terminal.output import MAX_SHOWN_ROWS, Line, Table, first_rows
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backup.records import RecoveryPoint, RestoreResult
    from standfast.usecases.backups.database_restore import (
        DatabaseRestoreOutcome,
        DumpRestoreOutcome,
    )
    from standfast.usecases.backups.outcomes import RestoreOutcome
    from standfast.usecases.backups.restore_warnings import IncompletePoint

EARLIER_POINTS = (
    "Next: `standfast backup list` lists earlier recovery points, which may contain the missing "
    "files."
)


def restore_summary_lines(outcome: "RestoreOutcome") -> list[Line]:
    """Return the lines on restored files, repairs and problems."""
    result = outcome.result
    if outcome.has_found_nothing:
        return [
            (
                f"Nothing is restored: {outcome.point.name} ({outcome.point.set_name}) has none of "
                "these paths:"
            ),
            *first_rows([problem.path] for problem in result.problems),
            *incomplete_lines(outcome.lacking),
            EARLIER_POINTS
            if outcome.lacking.is_any
            else f"Next: `standfast backup ls {outcome.point.name} --identity FILE` lists files.",
        ]
    lines: list[Line] = [
        f"Restored {outcome.point.name} ({outcome.point.set_name}) to {outcome.to}:",
        f"{_amount(result)}, each hash compared.",
    ]
    if result.is_resumed:
        lines.append("This run continued an interrupted restore and compared its files again.")
    if not (result.is_on_disk or any(problem.is_missing for problem in result.problems)):
        lines.append(
            "The disk is still writing the files. When it has finished, .standfast-restore "
            "disappears from the folder. If the power fails before that, run the same command "
            "again."
        )
    if result.owners_lost:
        lines.append(
            f"{counted(result.owners_lost, 'path')} of other users or groups now "
            f"{'belong' if result.owners_lost > 1 else 'belongs'} to you. As root, --owner restores"
            " owners."
        )
    lines += [f"In the vault, {healed}." for healed in result.healed[:MAX_SHOWN_ROWS]]
    if result.problems:
        lines.append(f"{counted(len(result.problems), 'path')} not restored, or not exactly:")
        lines += first_rows([problem.path, problem.reason] for problem in result.problems)
    lines += incomplete_lines(outcome.lacking)
    lines += newer_lines(outcome.newer_damaged)
    lines += clock_ahead_lines(outcome.point, is_dated_ahead=outcome.is_dated_ahead)
    lines += unrecorded_lines(outcome.ledger_problem)
    if outcome.is_damaged or result.healed or outcome.newer_damaged:
        lines.append("Next: `standfast backup verify --read` names the damaged data in the vault.")
    elif outcome.lacking.is_any:
        lines.append(EARLIER_POINTS)
    return lines


def incomplete_lines(lacking: "IncompletePoint") -> list[Line]:
    """Return the lines on files that the recovery point does not contain."""
    lines: list[Line] = []
    if lacking.is_interim:
        lines.append("The recovery point is interim: its backup was not complete yet.")
    if lacking.is_empty or lacking.emptied:
        of = "" if lacking.is_empty else f" of {', '.join(lacking.emptied)}"
        lines.append(
            f"The recovery point has no file{of}: a disk may not have been mounted during the "
            "backup."
        )
    if lacking.total:
        paths = counted(lacking.total, "path")
        lines.append(f"The backup could not read {paths} completely, so these are missing:")
        lines += first_rows(([path.path, path.reason] for path in lacking.named), lacking.total)
    return lines


def newer_lines(newer_damaged: "Sequence[str]") -> list[Line]:
    """Return the warning about damaged newer recovery points."""
    if not newer_damaged:
        return []
    names = ", ".join(newer_damaged[:MAX_SHOWN_ROWS])
    return [f"This may not be the latest recovery point: newer ones are damaged ({names})."]


def clock_ahead_lines(point: "RecoveryPoint", *, is_dated_ahead: bool) -> list[Line]:
    """Return the warning about a recovery point with a future date."""
    if not is_dated_ahead:
        return []
    warning = (
        f"The recovery point has a future date, {point.time:%Y-%m-%d %H:%M} UTC: the clock of "
        f"{point.writer} was wrong, and a point of another host may be newer. Choose one by name "
        "from `standfast backup list`."
    )
    return [warning]


def unrecorded_lines(why: str) -> list[Line]:
    """Return the warning about a restore that the database did not record.

    `why` is the reason; it is empty if the restore was recorded.
    """
    if not why:
        return []
    return [f"The ledger did not record this restore completely: {why}."]


def _amount(result: "RestoreResult") -> str:
    seconds = max((result.ended - result.started).total_seconds(), 0.001)
    rate = f"{seconds:.1f} s, {format_size(int(result.bytes / seconds))}/s"
    return f"{counted(result.files, 'file')}, {format_size(result.bytes)} ({rate})"


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
    lines += unrecorded_lines(outcome.ledger_problem)
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
