"""Output of `standfast backup run` on one backup set.

A recovery point is the result of one backup.
"""

from typing import TYPE_CHECKING

from standfast.cli.terminal.output import Line, first_rows
from standfast.cli.terminal.units import format_size
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.backups.outcomes import BackupOutcome


def backup_lines(outcome: "BackupOutcome") -> list[Line]:
    """Return the lines on one set: recovery point, missing files, warnings."""
    result = outcome.result
    lines: list[Line] = []
    if outcome.died_before:
        lines.append(
            f"{outcome.set_name}: an earlier run ended without a result; it is marked as failed."
        )
    lines.append(
        f"{outcome.set_name}: {result.point}, {counted(result.files, 'file')}, "
        f"{format_size(result.bytes_total)}, {format_size(result.bytes_new)} stored"
    )
    if outcome.is_empty:
        lines.append(
            "  No file was found. Check that the sources of the set exist and are mounted."
        )
    if result.unread_total:
        lines.append(f"  {counted(result.unread_total, 'path')} not read completely:")
        lines += first_rows(([i.path, i.reason] for i in result.unread), result.unread_total)
    if result.left_out_total:
        lines.append(f"  {counted(result.left_out_total, 'path')} left out, or stored in part:")
        lines += first_rows(([i.path, i.reason] for i in result.left_out), result.left_out_total)
    if outcome.is_incomparable:
        lines.append(
            "  All data was uploaded again, so this run is not compared with earlier ones."
        )
    lines += [f"  Far more than usual: {jump.sentence}." for jump in outcome.jumps]
    lines += [f"  {warning}" for warning in result.warnings]
    lines += [
        f"  The hook {hook.command}, which runs {hook.moment} the backup, failed: {hook.problem}."
        for hook in outcome.hooks
        if hook.problem
    ]
    if result.key_problem:
        lines.append(f"  No key record opens this recovery point: {result.key_problem}.")
    if outcome.cloned_host:
        lines.append(f"  {outcome.cloned_host.sentence}. To do: {outcome.cloned_host.what_to_do}.")
    if outcome.undistrusted:
        more = counted(outcome.undistrusted, "damaged pack")
        lines += [
            f"  The recovery point may need {more} that the ledger does not name.",
            "  To do: `standfast backup verify --read --json`, then run again with --distrust.",
        ]
    if outcome.ledger_problem:
        lines += [
            f"  The ledger did not record this backup completely: {outcome.ledger_problem}.",
            "  Comparisons and alarms may therefore miss this backup.",
        ]
    return lines
