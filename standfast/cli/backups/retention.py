"""`standfast backup keep`: expire recovery points and delete packs.

A recovery point is the result of one backup; packs are the files with the encrypted data.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import MAX_SHOWN_ROWS, Line, Table, first_rows
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.suggestions import known_names_hint

if TYPE_CHECKING:
    from backup.retention.retention_run import RetentionResult
    from backup.retention.storage_forecast import Share, StorageForecast
    from standfast.usecases.backups.retention import KeepOutcome
    from standfast.usecases.core.installation import Installation

_RUN, _PLAN, _STATUS, _HOLD, _RELEASE = "run", "plan", "status", "hold", "release"


@command(
    "keep",
    exits={
        ExitStatus.DONE: "the rules are applied; packs that are still locked are listed",
        ExitStatus.FAILED: "the store does not respond",
        ExitStatus.USAGE: "there is no keeper's key, or the owner has not set this keeper",
        ExitStatus.PARTIAL: "a part of the run failed or is unusual; the output names it",
        ExitStatus.REFUSED: "a clock may be wrong, or too many points would expire",
        ExitStatus.DAMAGED: "the records of the vault were changed",
    },
    example="standfast backup keep --dry-run",
)
@click.argument(
    "action",
    default=_RUN,
    metavar="[run|plan|status|hold|release]",
    help="plan and status change nothing; hold stops expiry until release.",
)
@click.argument("name", required=False, help="The incident for the actions hold and release.")
@click.option("--dry-run", is_flag=True, help="The same as plan: show what a run would do.")
@click.option(
    "--clock-is-right", is_flag=True, help="Confirm that you checked the clock of the store."
)
@click.option(
    "--most",
    type=int,
    metavar="PERCENT",
    help="Let up to this share of the points expire in this run; by default 20.",
)
@click.option(
    "--distrust",
    type=FilePath(),
    metavar="REPORT.json",
    help="The output of verify --json: the data of lost packs is uploaded again.",
)
@click.pass_obj
def keep(
    call: Call,
    action: str,
    name: str | None,
    dry_run: bool,
    clock_is_right: bool,
    most: int | None,
    distrust: Path | None,
) -> ExitStatus:
    """Expire recovery points by the rules, and delete unneeded packs.

    Packs that only expired recovery points needed are marked, and deleted a week later at the
    earliest. The command runs on the keeper, the machine with the key that lets recovery points
    expire. It needs no key that opens backups.
    """
    from standfast.usecases.backups import retention

    if action not in (_RUN, _PLAN, _STATUS, _HOLD, _RELEASE):
        raise UsageError(f"action {action!r}: unknown. Choose run, plan, status, hold or release")
    if (name is not None) != (action in (_HOLD, _RELEASE)):
        raise UsageError(
            "name: hold and release need a name, such as inc-2026-0001; the other actions "
            "take no name"
        )
    if most is not None and not 0 <= most <= 100:
        raise UsageError(f"--most {most}: not a percentage. Give a number from 0 to 100")
    with call.installation() as installation:
        if name is not None:
            return _hold(call, installation, action, name)
        act = retention.run_retention if action == _RUN and not dry_run else retention.plan
        with call.progress() as show_progress:
            outcome = act(
                installation,
                distrust=distrust,
                is_clock_right=clock_is_right,
                most_percent=most,
                watch=show_progress,
            )
    is_status = action == _STATUS
    call.print_result(outcome.as_json(), _status_lines(outcome) if is_status else _lines(outcome))
    # Return DONE for a status even if a run would be refused: the status is shown completely.
    is_answer = is_status and outcome.exit_status is ExitStatus.REFUSED
    return ExitStatus.DONE if is_answer else outcome.exit_status


def _hold(call: Call, installation: "Installation", action: str, name: str) -> ExitStatus:
    from standfast.usecases.backups import retention_holds

    elsewhere = {
        hold.name: hold.machine for hold in retention_holds.all_holds(installation) if hold.machine
    }
    if action == _HOLD:
        retention_holds.create_hold(installation, name)
    elif retention_holds.exists(installation, name):
        retention_holds.release_hold(installation, name)
    else:
        hold_names = [hold.name for hold in retention_holds.all_holds(installation)]
        raise UsageError(f"hold {name}: unknown; {known_names_hint(name, hold_names)}")
    hold_names = [hold.name for hold in retention_holds.all_holds(installation)]
    state = (
        f"Held for {', '.join(hold_names)}: nothing expires." if hold_names else "No hold is left."
    )
    lines: list[Line] = [state]
    if action == _RELEASE and name in elsewhere:
        lines.append(
            f"The hold was created on {elsewhere[name]}: release it there as well, or the next run "
            "of the keeper there creates it again."
        )
    return call.print_result({"holds": list(hold_names)}, lines)


def _lines(outcome: "KeepOutcome") -> list[Line]:
    result = outcome.result
    would = "would be " if result.is_plan else ""
    marked = format_size(sum(pack.size_bytes for pack in result.marked))
    freed = format_size(result.freed_bytes)
    lines: list[Line] = [
        f"{counted(len(result.expired), 'recovery point')} {would}expired.",
        *first_rows([f"{writer}/{sequence:010d}"] for writer, sequence in result.expired),
        f"{counted(len(result.marked), 'pack')} {would}marked: {marked} to delete in a week.",
        f"{counted(len(result.removed), 'pack')} {would}deleted: {freed} freed.",
    ]
    if result.unmarked:
        lines.append(f"{counted(len(result.unmarked), 'pack')} {would}unmarked: needed again.")
    if result.distrusted:
        lines.append(
            f"{counted(len(result.distrusted), 'lost pack')} {would}distrusted: the next backup "
            "uploads their data again, as far as it still exists."
        )
    if result.extended:
        lines.append(f"{counted(len(result.extended), 'lock')} {would}extended.")
    lines += _locked_lines(result)
    lines += result.problems
    if result.hold is not None:
        lines.append(f"Nothing {would or 'was '}expired: {result.hold}.")
    if result.refusal is not None:
        lines.append(f"A run would be refused: {result.refusal}.")
    elif result.is_plan and result.hold is None:
        lines.append("Next: `standfast backup keep` carries out this plan.")
    return lines


def _locked_lines(result: "RetentionResult") -> list[Line]:
    if not result.locked:
        return []
    last = max(pack.until for pack in result.locked)
    size = format_size(sum(pack.size_bytes for pack in result.locked))
    amount = f"{counted(len(result.locked), 'pack')}, {size}"
    return [f"Still locked: {amount}, the last until {last:%Y-%m-%d}; each run tries again."]


def _status_lines(outcome: "KeepOutcome") -> list[Line]:
    stock = outcome.stock
    if stock is None:
        return []
    lines: list[Line] = [
        f"{counted(stock.points, 'recovery point')}, and {stock.expired_points:,} expired.",
        Table(
            rows=[
                _row("needed", stock.live),
                _row("only in expired points", stock.expired),
                _row("in no point yet", stock.unnamed),
                _row("marked", stock.marked),
                _row("to be deleted", stock.dropped),
            ],
            indent=2,
        ),
    ]
    if stock.locked_until is not None:
        lines.append(
            f"Unneeded but locked: {format_size(stock.locked.size_bytes)}, the last until "
            f"{stock.locked_until:%Y-%m-%d}."
        )
    lines += _forecast(stock)
    lines += outcome.result.problems
    if outcome.result.hold is not None:
        lines.append(f"Nothing would expire: {outcome.result.hold}.")
    if outcome.result.refusal is not None:
        lines.append(f"A run would be refused: {outcome.result.refusal}.")
    return lines


def _forecast(stock: "StorageForecast") -> list[Line]:
    if not stock.free_by:
        return []
    total = stock.live.size_bytes + sum(
        share.size_bytes for share in (stock.expired, stock.unnamed, stock.marked, stock.dropped)
    )
    rows = []
    for month, freed in stock.free_by[:MAX_SHOWN_ROWS]:
        total -= freed
        rows.append([month, format_size(freed), f"{format_size(total)} left"])
    return ["Freed by month, if no backup is added:", Table(rows=rows, indent=2)]


def _row(label: str, share: "Share") -> list[str]:
    return [label, format_size(share.size_bytes), counted(share.packs, "pack")]
