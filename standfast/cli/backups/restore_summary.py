"""Output of `standfast backup restore` to a folder."""

from typing import TYPE_CHECKING

from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import size
from standfast.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backup.records import RecoveryPoint, RestoreResult
    from standfast.usecases.backups.incomplete_points import IncompletePoint
    from standfast.usecases.backups.outcomes import RestoreOutcome

WHERE_ELSE = "Next: `standfast backup list` shows the points before; they may have what lacks."
_SHOWN = 20  # what could not be restored is all in the document; a person sees the first


def restore_summary_lines(outcome: "RestoreOutcome") -> list[Line]:
    """Return the lines on restored files, repairs and problems."""
    result = outcome.result
    if outcome.has_found_nothing:
        return [
            f"Nothing is restored: {outcome.point.name} ({outcome.point.set_name}) has nothing of",
            Table(rows=[[problem.path] for problem in result.problems[:_SHOWN]], indent=2),
            *incomplete_lines(outcome.lacking),
            WHERE_ELSE
            if outcome.lacking.is_any
            else f"Next: `standfast backup ls {outcome.point.name} --identity FILE` shows what it "
            "has.",
        ]
    lines: list[Line] = [
        f"Restored {outcome.point.name} ({outcome.point.set_name}) to {outcome.to}:",
        f"{_amount(result)}, each hash compared.",
    ]
    if result.is_resumed:
        lines.append(
            "It went on with what an interrupted restore had left, compared piece by piece."
        )
    if not (result.is_on_disk or any(problem.is_missing for problem in result.problems)):
        lines.append(
            "The disk is still writing: until .standfast-restore is gone from there, a power cut "
            "means running this again."
        )
    if result.owners_lost:
        lines.append(
            f"{counted(result.owners_lost, 'path')} of other users or groups now "
            f"{'belong' if result.owners_lost > 1 else 'belongs'} to you. As root, --owner restores"
            " owners."
        )
    lines += [f"In the vault, {healed}." for healed in result.healed[:_SHOWN]]
    if result.problems:
        lines += [
            f"{counted(len(result.problems), 'path')} not, or not exactly:",
            Table(
                rows=[[problem.path, problem.reason] for problem in result.problems[:_SHOWN]],
                indent=2,
            ),
        ]
        more = len(result.problems) - _SHOWN
        lines += [f"  … and {more:,} more; --json has them"] if more > 0 else []
    lines += incomplete_lines(outcome.lacking)
    lines += newer_lines(outcome.newer_damaged)
    lines += clock_ahead_lines(outcome.point, is_dated_ahead=outcome.is_dated_ahead)
    lines += unrecorded_lines(outcome.unrecorded)
    if outcome.is_damaged or result.healed or outcome.newer_damaged:
        lines.append("Next: `standfast backup verify --read` names what is damaged in the vault.")
    elif outcome.lacking.is_any:
        lines.append(WHERE_ELSE)
    return lines


def incomplete_lines(lacking: "IncompletePoint") -> list[Line]:
    """Return the lines on files that the recovery point does not contain."""
    lines: list[Line] = []
    if lacking.is_interim:
        lines.append("The point is interim: what came later in its backup is not in it.")
    if lacking.is_empty:
        lines.append("The point holds no file: perhaps a disk was not mounted when it was made.")
    elif lacking.emptied:
        lines.append(
            f"Of {', '.join(lacking.emptied)} the point holds no file: perhaps a disk was not "
            "mounted when it was made."
        )
    if lacking.total:
        paths = counted(lacking.total, "path")
        lines += [
            f"The backup could not read {paths} whole, so the point lacks:",
            Table(rows=[[path.path, path.reason] for path in lacking.named[:_SHOWN]], indent=2),
        ]
        more = lacking.total - min(_SHOWN, len(lacking.named))
        lines += [f"  … and {more:,} more; --json has those that are known"] if more else []
    return lines


def newer_lines(newer_damaged: "Sequence[str]") -> list[Line]:
    """Return the warning about damaged newer recovery points."""
    if not newer_damaged:
        return []
    names = ", ".join(newer_damaged[:_SHOWN])
    return [f"It may not be the latest: what came after it is not what was written ({names})."]


def clock_ahead_lines(point: "RecoveryPoint", *, is_dated_ahead: bool) -> list[Line]:
    """Return the warning about a recovery point with a future date."""
    if not is_dated_ahead:
        return []
    warning = (
        f"The point is dated {point.time:%Y-%m-%d %H:%M} UTC, which is still to come: the clock of "
        f"{point.writer} stood ahead, and a point of another host may be newer; `standfast backup "
        "list` shows all, and a restore by name takes the one you mean."
    )
    return [warning]


def unrecorded_lines(unrecorded: str) -> list[Line]:
    """Return the warning about a restore that the ledger did not record."""
    if not unrecorded:
        return []
    return [f"The ledger has not, or not to its end, that this was restored: {unrecorded}."]


def _amount(result: "RestoreResult") -> str:
    seconds = max((result.ended - result.started).total_seconds(), 0.001)
    rate = f"{seconds:.1f} s, {size(int(result.bytes / seconds))}/s"
    return f"{counted(result.files, 'file')}, {size(result.bytes)} ({rate})"
