"""Recovery points: list, lookup by name, "latest", forks of a history.

- Listing needs no key. `Repository.points` documents the order of the list, and
  `Repository.resolve` the names.
- "latest" is the newest recovery point of a run that ended. If no run has ended, it is the newest
  interim recovery point, which a run committed before its end. "latest" is refused if the history
  of the host forks.
- If the vault (the folder or bucket with the encrypted backups) has several backup sets, "latest"
  needs the name of the set. The set that contains Standfast's own files does not count, unless it
  is the only set.
- If several hosts have recovery points, "latest" needs the name of the host. If the program runs on
  one of these hosts, "latest" without a host name means the recovery points of this host.
- A writer is a backup host. Each of its snapshots contains the hash of the previous valid snapshot.
  If a snapshot contains another hash, the history forks. Then perhaps one of these two snapshots is
  forged with the writer's key, or remains from a history that was replaced.
- A fork lies between two consecutive recovery points. It is ignored after the earlier of them has
  expired.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from backup.errors import Damaged, NotFound, UsageError
from backup.format.snapshot import Snapshot
from backup.records import INSTALLATION_SET, RecoveryPoint, RecoveryPointDetails
from backup.stores import Stat, Store
from backup.stores.parallel_reads import start_in_background
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import RootChain
from backup.trust.snapshot_slots import Slot, find_older_junk, read_history

# Key: writer and sequence number of the earlier of two recovery points where the history forks.
# Value: sequence number of the later point.
Forks = Mapping[tuple[str, int], int]


def is_fork(slot: Slot, before: Slot) -> bool:
    """Return whether a snapshot does not follow the valid snapshot before it."""
    if slot.snapshot is None or slot.snapshot.previous is None:
        return True
    link = slot.snapshot.previous
    return link.number <= before.sequence and link.sha256 != before.sha256


def require_unforked_history(
    latest: RecoveryPoint, points: Sequence[RecoveryPoint], forks: Forks
) -> None:
    """Raise `Damaged` if the history of the writer of `latest` forks.

    `latest` is the newest of `points`. The error names a recovery point of each branch.
    """
    for (writer, left_out), by in forks.items():
        if writer != latest.writer:
            continue
        before = [
            point.sequence for point in points if point.writer == writer and point.sequence < by
        ]
        names = {f"{writer}/{max(before):010d}" if before else "", latest.name} - {""}
        raise Damaged(
            f"latest of {writer}: its history forks, since {writer}/{by:010d} does not follow"
            f" {writer}/{left_out:010d}, and one of them may be forged. Verify the vault, then"
            f" name a point: {' or '.join(sorted(names))}."
        )


class RecoveryPoints:
    """Recovery points of all writers (hosts); each call reads the vault again."""

    def __init__(
        self,
        vault: Store,
        trust: RootChain,
        *,
        own_writer: str | None,
        open_details: Callable[[Slot, Snapshot], RecoveryPointDetails | None],
    ) -> None:
        self._vault = vault
        self._trust = trust
        self._own_writer = own_writer
        self._open_details = open_details
        # Problems of invalid snapshot objects, by writer and sequence number, as found by the last
        # `read`.
        self.damaged: dict[tuple[str, int], str] = {}
        self._forks: dict[tuple[str, int], int] = {}
        self._junk: dict[Stat, Slot] = {}  # invalid snapshot objects, which are read only once

    def read(self, set_name: str | None, *, with_expired: bool = False) -> list[RecoveryPoint]:
        """Return the valid recovery points, newest last."""
        self.damaged.clear()
        self._forks.clear()
        read_log = None
        if not with_expired:
            read_log = start_in_background(
                self._vault, lambda: load_retention_log(self._vault, self._trust)
            )
        all_points: list[tuple[datetime, RecoveryPoint]] = []
        for writer in sorted({writer.id for writer in self._trust.root.writers}):
            points = []
            junk: dict[int, datetime | None] = {}
            head_stored: datetime | None = None
            previous: Slot | None = None
            for slot in read_history(self._vault, self._trust, writer, self._junk):
                if slot.snapshot is not None:
                    points.append(self._point(slot, slot.snapshot))
                    head_stored = slot.stored
                    if previous is not None and is_fork(slot, previous):
                        self._forks[writer, previous.sequence] = slot.sequence
                    previous = slot
                    for sequence in slot.snapshot.skipped:
                        self.damaged.pop((writer, sequence), None)
                elif not slot.is_distrusted:
                    junk[slot.sequence] = slot.stored
                    self.damaged[writer, slot.sequence] = slot.problem or ""
            newest = points[-1].sequence if points else 0
            for sequence in find_older_junk(junk, newest, head_stored):
                del self.damaged[writer, sequence]
            latest = datetime.max.replace(tzinfo=UTC)
            for point in reversed(points):
                latest = min(latest, point.time)
                all_points.append((latest, point))
        expired = () if read_log is None else read_log().expired
        for id_ in self._forks.keys() & set(expired):
            del self._forks[id_]
        found = [
            (latest, point)
            for latest, point in all_points
            if (point.writer, point.sequence) not in expired and set_name in (None, point.set_name)
        ]
        found.sort(key=lambda item: (item[0], item[1].writer, item[1].sequence))
        return [point for _, point in found]

    def resolve(self, text: str, set_name: str | None, *, of_any_host: bool) -> RecoveryPoint:
        """Return the recovery point of a name; see `Repository.resolve`."""
        points = self.read(set_name)
        writer, _, digits = text.rpartition("/")
        if digits == "latest":
            if set_name is None:
                points = [p for p in points if p.set_name != INSTALLATION_SET] or points
            latest = self._latest(points, writer, of_any_host)
            if latest is not None:
                require_unforked_history(latest, points, self._forks)
                return latest
        fitting: list[RecoveryPoint] = []
        if digits.isascii() and digits.isdigit():
            sequence = digits.lstrip("0")  # as text: Python limits the digits of a number
            fitting = [
                point
                for point in self.read(set_name, with_expired=True)
                if str(point.sequence) == sequence and writer in ("", point.writer)
            ]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            self._refuse_damaged(text)
        sets = sorted({point.set_name for point in self.read(None, with_expired=True)})
        if not sets:
            raise NotFound(
                "vault: there is no recovery point yet. Create one with `standfast backup run`, or"
                " correct the vault of the configuration"
            )
        if set_name is not None and set_name not in sets:
            raise NotFound(
                f"backup set {set_name!r}: not in the vault; the known names are: {', '.join(sets)}"
            )
        set_text = "" if set_name is None else f" of set {set_name}"
        if fitting:
            names = ", ".join(point.name for point in fitting)
            raise UsageError(f"recovery point {text!r}: ambiguous. Name one of {names}")
        newest = ", ".join(point.name for point in points[-5:]) or "none"
        known = (
            f"The newest of {len(points)} points are" if len(points) > 1 else "The only point is"
        )
        raise NotFound(f"recovery point {text!r}{set_text}: not found. {known}: {newest}")

    def _latest(
        self, points: list[RecoveryPoint], writer: str, of_any_host: bool
    ) -> RecoveryPoint | None:
        writers = sorted({point.writer for point in points})
        if not (writer or of_any_host) and self._own_writer in writers:
            writer = self._own_writer or ""
        if writer:
            points = [point for point in points if point.writer == writer]
        sets = sorted({point.set_name for point in points})
        if len(sets) > 1:
            raise UsageError(
                "recovery point `latest`: ambiguous, because the vault has several backup sets."
                f" Name one with --set: {', '.join(sets)}"
            )
        if len(writers) > 1 and not (writer or of_any_host):
            names = ", ".join(f"{name}/latest" for name in writers)
            raise UsageError(
                "recovery point `latest`: ambiguous, because several hosts have recovery points."
                f" Name one of {names}"
            )
        ended = [point for point in points if not point.is_interim]
        return (ended or points)[-1] if points else None

    def _refuse_damaged(self, text: str) -> None:
        writer, _, digits = text.rpartition("/")
        for (owner, sequence), problem in self.damaged.items():
            wanted = "latest" if digits == "latest" else digits.lstrip("0")
            if wanted in ("latest", f"{sequence}") and writer in ("", owner):
                raise Damaged(
                    f"recovery point {owner}/{sequence:010d} cannot be used: {problem}."
                    " `verify` names other problems"
                )

    def _point(self, slot: Slot, snapshot: Snapshot) -> RecoveryPoint:
        return RecoveryPoint(
            writer=snapshot.writer,
            sequence=snapshot.sequence,
            set_name=snapshot.set_name,
            domain=snapshot.domain,
            time=snapshot.time,
            complete=snapshot.state == "complete",
            is_interim=snapshot.state == "interim",
            bytes_new=sum(size for _, size in snapshot.packs),
            object_name=slot.name,
            sha256=slot.sha256,
            details=self._open_details(slot, snapshot),
        )
