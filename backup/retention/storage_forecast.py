"""What the vault's bytes are for, what can be freed when, and what is locked until when.

The forecast is what would come free if nothing were added and the rules stayed as they are; the
newest points stay, so there is always a rest.  Without any key: sizes are the store's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.format.keep_record import PackId
from backup.format.object_names import pack_name
from backup.retention.lock_extension import locked_until
from backup.retention.retention_plan import DROP_AFTER, MARK_AGE, Plan
from backup.retention.vault_state import View, Watch, no_progress
from backup.stores.keeper import KeeperStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """So many packs of so many bytes."""

    packs: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageForecast:
    """Each pack that is there counts in one of the first five; `free_by` is in order of months."""

    live: Share  # an unexpired point needs it
    expired: Share  # only expired points did
    unnamed: Share  # no point has named it: of a run that broke off or is going on
    marked: Share  # not needed, and to be dropped
    dropped: Share  # to be removed
    locked: Share  # of all but the live ones: not to be removed yet
    locked_until: datetime | None  # the last of them
    free_by: tuple[tuple[str, int], ...]  # month as YYYY-MM, bytes that can be freed in it
    points: int
    expired_points: int


def forecast_storage(
    vault: KeeperStore, view: View, plan: Plan, watch: Watch = no_progress
) -> StorageForecast:
    """Sort what there is; asks for the lock of each pack that no point needs."""
    keeps, packs = view.keeps, view.packs
    sorts: dict[str, list[PackId]] = {
        "live": [], "expired": [], "unnamed": [], "marked": [], "dropped": [],
    }  # fmt: skip
    for pack in packs:
        if pack in plan.last_needed:
            sorts["live"].append(pack)
        elif pack in keeps.dropped:
            sorts["dropped"].append(pack)
        elif pack in keeps.marked:
            sorts["marked"].append(pack)
        else:
            sorts["expired" if pack in view.named else "unnamed"].append(pack)
    idle = [pack for pack in packs if pack not in plan.last_needed]
    names = {pack: pack_name(*pack) for pack in idle}
    locks = locked_until(vault, list(names.values()), plan.clock, watch)
    locked = [pack for pack in idle if names[pack] in locks]
    lock = vault.describe().lock
    longest = timedelta(days=lock.days if lock else 0)
    months: dict[str, int] = {}
    for pack, stat in packs.items():
        if pack in plan.last_needed:
            end = plan.last_needed[pack]
            if end is None:
                continue
            free = max(end, plan.clock) + max(DROP_AFTER, longest)
        elif pack in keeps.dropped:
            free = locks.get(names[pack], plan.clock)
        else:
            marked = keeps.marked.get(pack) or max(plan.clock, stat.modified + MARK_AGE)
            free = max(plan.clock, marked + DROP_AFTER, locks.get(names[pack], plan.clock))
        month = f"{free:%Y-%m}"
        months[month] = months.get(month, 0) + stat.size_bytes

    def share(of: list[PackId]) -> Share:
        return Share(packs=len(of), size_bytes=sum(packs[pack].size_bytes for pack in of))

    return StorageForecast(
        live=share(sorts["live"]),
        expired=share(sorts["expired"]),
        unnamed=share(sorts["unnamed"]),
        marked=share(sorts["marked"]),
        dropped=share(sorts["dropped"]),
        locked=share(locked),
        locked_until=max(locks.values(), default=None),
        free_by=tuple(sorted(months.items())),
        points=len(view.points),
        expired_points=len(keeps.expired),
    )
