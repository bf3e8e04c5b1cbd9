"""Output of `standfast backup run` on one backup set."""

from typing import TYPE_CHECKING

from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import size
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.backups.outcomes import BackupOutcome

_SHOWN = 20  # what could not be read is all in the document; a person sees the first


def backup_lines(outcome: "BackupOutcome") -> list[Line]:
    """Return the lines on one set: recovery point, gaps and warnings."""
    result = outcome.result
    lines: list[Line] = []
    if outcome.died_before:
        lines.append(f"{outcome.set_name}: an earlier run had died; it is marked as failed.")
    lines.append(
        f"{outcome.set_name}: {result.point}, {counted(result.files, 'file')}, "
        f"{size(result.bytes_total)}, {size(result.bytes_new)} new"
    )
    if outcome.is_empty:
        lines.append("  There was no file: see that what the set names is there, and mounted.")
    if result.unread_total:
        lines.append(f"  {counted(result.unread_total, 'path')} could not be read whole:")
        lines.append(Table(rows=[[i.path, i.reason] for i in result.unread[:_SHOWN]], indent=2))
    lines += _and_more(result.unread_total)
    if result.left_out_total:
        lines.append(f"  {counted(result.left_out_total, 'path')} left out, or kept in part:")
        lines.append(Table(rows=[[i.path, i.reason] for i in result.left_out[:_SHOWN]], indent=2))
    lines += _and_more(result.left_out_total)
    if outcome.is_incomparable:
        lines.append("  All was sent anew, so tonight cannot be compared with the nights before.")
    lines += [f"  Far more than usual: {jump.sentence}." for jump in outcome.jumps]
    lines += [f"  {warning}" for warning in result.warnings]
    if result.key_problem:
        lines.append(f"  Nothing here opens this point: {result.key_problem}.")
    if outcome.twin:
        lines.append(f"  {outcome.twin.sentence}. To do: {outcome.twin.what_to_do}.")
    if outcome.undistrusted:
        more = counted(outcome.undistrusted, "damaged pack")
        lines += [
            f"  The ledger does not name {more}: the point may need them.",
            "  To do: `standfast backup verify --read --json`, then run again with --distrust.",
        ]
    if outcome.unrecorded:
        why = outcome.unrecorded
        lines += [
            f"  The ledger has not, or not to its end, that this was backed up: {why}.",
            "  So it may not be compared with the nights before, and nobody is told of it.",
        ]
    return lines


def _and_more(total: int) -> list[Line]:
    return [f"  … and {total - _SHOWN:,} more; --json has them"] if total > _SHOWN else []
