"""Storage forecast: needed packs, and when the other packs can be removed.

A pack is removed in two steps: it is marked when no recovery point needs it, and dropped at least
seven days later. The forecast assumes that no recovery point is added and that the rules do not
change. The newest recovery points never expire, so some packs always remain. No key is needed,
because the store reports the sizes of packs.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.format.keep_record import PackId
from backup.format.object_names import pack_name
from backup.retention.lock_extension import find_locks
from backup.retention.retention_plan import DROP_AFTER, MARK_AGE, RetentionPlan
from backup.retention.vault_state import ProgressCallback, VaultState, no_progress
from backup.stores.keeper import KeeperStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Number and total size of the packs in one state."""

    packs: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageForecast:
    """Packs by state; each pack is counted in one of the first five shares."""

    live: Share  # needed by a recovery point that has not expired
    expired: Share  # needed only by expired recovery points
    unnamed: Share  # named by no snapshot: a run was interrupted, or is running
    marked: Share  # not needed and marked: a later run drops them
    dropped: Share  # not needed and dropped: a later run removes them
    locked: Share  # packs of the four shares above that are locked
    locked_until: datetime | None  # the end of the last lock
    free_by: tuple[tuple[str, int], ...]  # (month as YYYY-MM, bytes that can be freed in it)
    points: int  # unexpired recovery points
    expired_points: int


def forecast_storage(
    vault: KeeperStore,
    state: VaultState,
    plan: RetentionPlan,
    progress: ProgressCallback = no_progress,
) -> StorageForecast:
    """Classify all packs; query the lock of each pack that is not needed."""
    log, packs = state.log, state.packs
    groups: dict[str, list[PackId]] = {
        "live": [], "expired": [], "unnamed": [], "marked": [], "dropped": [],
    }  # fmt: skip
    for pack in packs:
        if pack in plan.last_needed:
            groups["live"].append(pack)
        elif pack in log.dropped:
            groups["dropped"].append(pack)
        elif pack in log.marked:
            groups["marked"].append(pack)
        else:
            groups["expired" if pack in state.named else "unnamed"].append(pack)
    idle = [pack for pack in packs if pack not in plan.last_needed]
    names = {pack: pack_name(*pack) for pack in idle}
    locks = find_locks(vault, list(names.values()), plan.clock, progress)
    locked = [pack for pack in idle if names[pack] in locks]
    lock = vault.describe().lock
    longest = timedelta(days=lock.days if lock else 0)
    bytes_by_month: dict[str, int] = {}
    for pack, stat in packs.items():
        if pack in plan.last_needed:
            end = plan.last_needed[pack]
            if end is None:
                continue
            freeable_at = max(end, plan.clock) + max(DROP_AFTER, longest)
        elif pack in log.dropped:
            freeable_at = locks.get(names[pack], plan.clock)
        else:
            marked = log.marked.get(pack) or max(plan.clock, stat.modified + MARK_AGE)
            freeable_at = max(plan.clock, marked + DROP_AFTER, locks.get(names[pack], plan.clock))
        month = f"{freeable_at:%Y-%m}"
        bytes_by_month[month] = bytes_by_month.get(month, 0) + stat.size_bytes

    def share(group: list[PackId]) -> Share:
        return Share(packs=len(group), size_bytes=sum(packs[pack].size_bytes for pack in group))

    return StorageForecast(
        live=share(groups["live"]),
        expired=share(groups["expired"]),
        unnamed=share(groups["unnamed"]),
        marked=share(groups["marked"]),
        dropped=share(groups["dropped"]),
        locked=share(locked),
        locked_until=max(locks.values(), default=None),
        free_by=tuple(sorted(bytes_by_month.items())),
        points=len(state.points),
        expired_points=len(log.expired),
    )
