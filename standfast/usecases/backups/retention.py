"""Retention runs, and plans of retention with a forecast of the storage.

`backup/retention/retention_run.py` decides what expires and what is deleted.

Rules
- Retention runs on the machine of the keeper, the person that may expire backups. The machine needs
  only the keeper's key and the keeper's credentials for the store.
- A plan changes nothing, and is not recorded as a run.
- Actions that failed are named and make the run partial. A deletion that Object Lock prevents is
  not a failure: the next run tries it again.
"""

from dataclasses import dataclass
from pathlib import Path

from backup.format.keep_record import PackId
from backup.retention.keeper_key import Keeper
from backup.retention.retention_plan import MAX_EXPIRED_PERCENT
from backup.retention.retention_run import RetentionResult, plan_retention_run
from backup.retention.retention_run import run_retention as keep_repository
from backup.retention.rules import RetentionRules, parse_period
from backup.retention.storage_forecast import Share, StorageForecast
from backup.retention.vault_state import ProgressCallback, no_progress
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.stores.keeper import KeeperStore
from standfast.errors import ExitStatus
from standfast.records import Json, timestamp
from standfast.usecases.backups.damaged_packs import damaged_packs, read_report
from standfast.usecases.backups.retention_holds import hold_reason, notify_other_hosts
from standfast.usecases.core.backup_repository import s3_options, translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded

VAULT = "vault"  # the subject of the run in the ledger, the database of runs


@dataclass(frozen=True, kw_only=True)
class KeepOutcome:
    """The outcome of a retention run or of a plan."""

    run: str  # "" for a plan
    result: RetentionResult
    stock: StorageForecast | None = None  # only of a plan: used storage, and its expected release

    @property
    def exit_status(self) -> ExitStatus:
        if self.result.refusal is not None:
            return ExitStatus.REFUSED
        return ExitStatus.PARTIAL if self.result.problems else ExitStatus.DONE

    def summary(self) -> dict[str, Json]:
        """Return the part for the ledger."""
        result = self.result
        return {
            "records": len(result.records),
            "expired": len(result.expired),
            "marked": len(result.marked),
            "unmarked": len(result.unmarked),
            "distrusted": len(result.distrusted),
            "dropped": len(result.dropped),
            "removed": len(result.removed),
            "freed_bytes": result.freed_bytes,
            "locked": len(result.locked),
            "extended": len(result.extended),
            "problems": len(result.problems),
        }

    def as_json(self) -> dict[str, Json]:
        result = self.result
        return {
            "run": self.run or None,
            "is_plan": result.is_plan,
            "counts": self.summary(),
            "clock": timestamp(result.clock),
            "records": list(result.records),
            "expired": [f"{writer}/{sequence:010d}" for writer, sequence in result.expired],
            "marked": [
                {"pack": _text(mark.pack), "bytes": mark.size_bytes} for mark in result.marked
            ],
            "unmarked": [_text(pack) for pack in result.unmarked],
            "distrusted": [_text(pack) for pack in result.distrusted],
            "removed": [
                {"pack": _text(removal.pack), "bytes": removal.size_bytes}
                for removal in result.removed
            ],
            "locked": [
                {"pack": _text(lock.pack), "bytes": lock.size_bytes, "until": timestamp(lock.until)}
                for lock in result.locked
            ],
            "extended": list(result.extended),
            "problems": list(result.problems),
            "refusal": result.refusal,
            "hold": result.hold,
            "stock": None if self.stock is None else _stock_json(self.stock),
            "exit_status": int(self.exit_status),
        }


def run_retention(
    installation: Installation,
    *,
    distrust: Path | None = None,
    is_clock_right: bool = False,
    most_percent: int | None = None,
    way: str = "direct",
    watch: ProgressCallback = no_progress,
) -> KeepOutcome:
    """Run retention once; `way` names the caller: prefect, serve or direct.

    The call may be repeated after any error. `distrust` is a file with the output of `backup verify
    --json`. The damaged packs that it names are treated like those that the ledger records. At most
    `most_percent` of the recovery points may expire, 20 % by default. Raise `Refused` if a clock is
    wrong, if too many recovery points would expire, or while another run is in progress. Raise
    `UsageError` without the keeper's key.
    """
    distrusted = _distrusted(installation, distrust)
    with recorded(installation, "keep", VAULT, way) as run, translated_errors("retention"):
        keeper = Keeper.load(installation.config.backup.keeping.key)
        notify_other_hosts(installation)
        result = keep_repository(
            _vault(installation),
            keeper,
            _rules(installation),
            now=installation.clock,
            distrust=distrusted,
            is_clock_right=is_clock_right,
            max_percent=MAX_EXPIRED_PERCENT if most_percent is None else most_percent,
            hold=hold_reason(installation),
            progress=watch,
        )
        outcome = KeepOutcome(run=run.token, result=result)
        is_whole = outcome.exit_status is ExitStatus.DONE
        run.ends("done" if is_whole else "partial", outcome.summary())
    return outcome


def plan(
    installation: Installation,
    *,
    distrust: Path | None = None,
    is_clock_right: bool = False,
    most_percent: int | None = None,
    watch: ProgressCallback = no_progress,
) -> KeepOutcome:
    """Return what a retention run would do, with a forecast; change nothing."""
    distrusted = _distrusted(installation, distrust)
    with translated_errors("planning retention"):
        keeper = Keeper.load(installation.config.backup.keeping.key)
        result, stock = plan_retention_run(
            _vault(installation),
            keeper.owner,
            _rules(installation),
            now=installation.clock,
            distrust=distrusted,
            is_clock_right=is_clock_right,
            max_percent=MAX_EXPIRED_PERCENT if most_percent is None else most_percent,
            hold=hold_reason(installation),
            progress=watch,
        )
    return KeepOutcome(run="", result=result, stock=stock)


def _vault(installation: Installation) -> KeeperStore:
    settings = installation.config.backup
    if settings.s3 is None:
        return DirectoryKeeperStore(settings.vault)
    from backup.stores.s3.keeper import open_s3_keeper  # imported here: it loads boto3

    return open_s3_keeper(s3_options(settings.s3, installation.resolver), now=installation.clock)


def _rules(installation: Installation) -> RetentionRules:
    settings = installation.config.backup.keeping
    return RetentionRules(
        everything=parse_period(settings.everything),
        daily=parse_period(settings.daily),
        weekly=parse_period(settings.weekly),
        monthly=parse_period(settings.monthly),
        floor=parse_period(settings.floor),
    )


def _distrusted(installation: Installation, report: Path | None) -> frozenset[PackId]:
    return read_report(report) | damaged_packs(installation).packs


def _text(pack: PackId) -> str:
    return "/".join(pack)


def _share_json(share: Share) -> dict[str, Json]:
    return {"packs": share.packs, "bytes": share.size_bytes}


def _stock_json(stock: StorageForecast) -> dict[str, Json]:
    return {
        "points": stock.points,
        "expired_points": stock.expired_points,
        "live": _share_json(stock.live),
        "expired": _share_json(stock.expired),
        "unnamed": _share_json(stock.unnamed),
        "marked": _share_json(stock.marked),
        "dropped": _share_json(stock.dropped),
        "locked": _share_json(stock.locked),
        "locked_until": None if stock.locked_until is None else timestamp(stock.locked_until),
        "free_by": [{"month": month, "bytes": size} for month, size in stock.free_by],
    }
