"""Pack check: lost and damaged packs, and recovery points that need them.

- A pack that is missing, truncated or damaged becomes one finding, even if several checks notice
  it. The finding names the recovery points that need the pack.
- A pack that no snapshot names is read too: perhaps its snapshot is lost, or not written yet.
- A keep record lists removed packs. It is signed by the keeper, the machine that may expire
  backups. A listed pack is allowed to be missing, unless an unexpired recovery point needs it.
- A distrusted pack was found damaged before, and the writer (backup host) sends its content again.
  When the newest recovery point of each set of the writer does not need the pack any more, the
  finding is only a warning.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from backup.errors import BackupError, Damaged, NotFound, WrongKey
from backup.findings import BACK_UP_AGAIN, FROM_A_COPY, MORE_OPENERS, TREAT_AS_COMPROMISED, Findings
from backup.format.age_header import count_openers
from backup.format.keep_record import PackId
from backup.format.object_names import pack_name, pack_prefix, parse_pack_name
from backup.format.pack import HEADER_BYTES, MAX_PACK_BYTES, parse_header
from backup.records import Depth
from backup.repository import Repository
from backup.stores import Store
from backup.stores.bounded_read import read_bounded
from backup.trust.retention_log import RetentionLog
from backup.trust.snapshot_history import SnapshotHistory

_MAX_POINTS_NAMED = 5
_MAX_UNNAMED = 10_000  # damaged packs that no snapshot names; anybody can put junk under such names


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lost:
    """Reason why a pack is lost or damaged."""

    problem: str
    depth: Depth
    what_to_do: str
    affected: str = ""  # a path that cannot be restored without the pack, if known


class PackCheck:
    """Check of the packs of one writer."""

    def __init__(
        self,
        vault: Store,
        history: SnapshotHistory,
        log: RetentionLog,
        found: Findings,
        distrusted: Collection[PackId] = (),
    ) -> None:
        self._vault = vault
        self.history = history
        self._found = found
        writer = history.writer
        self._dropped = {sha256 for name, sha256 in log.dropped if name == writer}
        self._distrusted = {
            sha256 for name, sha256 in (*log.distrusted, *distrusted) if name == writer
        }
        self.unexpired = [
            sequence for sequence in history.snapshots if (writer, sequence) not in log.expired
        ]
        self._lost: dict[str, _Lost] = {}
        self._lost_snapshots = history.lost()
        self.damaged: list[str] = []  # names of packs that new recovery points must not use

    def needed(self) -> frozenset[str]:
        """Return every pack that an unexpired recovery point needs."""
        packs: set[str] = set()
        for sequence in self.unexpired:
            packs |= self.history.known_packs(sequence)
        return frozenset(packs)

    def check_listing(self) -> None:
        """Compare the packs that snapshots name with the store's listing."""
        unlisted = dict(self.history.packs)
        unnamed = 0
        for stat in self._vault.list(pack_prefix(self.history.writer)):
            pack = parse_pack_name(stat.name)
            size = None if pack is None else unlisted.pop(pack[1], None)
            if pack is None or size is None:
                unnamed += 1
            elif stat.size_bytes != size:
                problem = f"has {stat.size_bytes} bytes, but its snapshot says {size}"
                self.mark_lost(pack[1], problem, "looking")
        for sha256 in unlisted:
            self.mark_lost(sha256, "is missing although a snapshot names it", "looking")
        for sha256 in self._dropped - self._lost.keys():
            if sha256 in self.history.packs:
                self.mark_lost(sha256, "was dropped by the keeper, but still exists", "looking")
        if unnamed and self._lost_snapshots:
            self._found.note(
                pack_prefix(self.history.writer),
                f"{unnamed:,} packs are named by no snapshot: a lost snapshot may have named them",
                "bring the lost snapshot back from a copy",
            )
        elif unnamed:
            self._found.note(
                pack_prefix(self.history.writer),
                f"{unnamed:,} packs are named by no snapshot: a run was interrupted or is running",
                "nothing: they are harmless, and the next run uses what it can",
            )

    def read(self, repository: Repository | None, on_progress: Callable[[str, int], None]) -> None:
        """Read every pack; with a `repository`, also decrypt packs of snapshots.

        `on_progress` is called with the name and the size in bytes of each pack read.
        """
        for sha256 in self.history.packs:
            if sha256 in self._lost:
                continue
            name = pack_name(self.history.writer, sha256)
            try:
                data = self._read_pack(name, sha256, on_progress)
            except NotFound:
                self.mark_lost(sha256, "is missing although a snapshot names it", "looking")
                continue
            except Damaged as error:
                self.mark_lost(sha256, str(error), "reading")
                continue
            self._check_openers(data, name)
            if repository is not None:
                self._open_pack(repository, data, sha256, name)
        for stat in self._vault.list(pack_prefix(self.history.writer)):
            pack = parse_pack_name(stat.name)
            if pack is not None and pack[1] not in self.history.packs:
                self._read_unnamed(stat.name, pack[1], on_progress)

    def _read_pack(self, name: str, sha256: str, on_progress: Callable[[str, int], None]) -> bytes:
        data = read_bounded(self._vault, name, MAX_PACK_BYTES)
        on_progress(name, len(data))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged("its bytes do not match its name")
        return data

    def _read_unnamed(
        self, name: str, sha256: str, on_progress: Callable[[str, int], None]
    ) -> None:
        """Compare the content and the name of a pack that no snapshot names.

        The next run may use the pack, a lost snapshot may need it, or the pack is junk.
        """
        try:
            self._read_pack(name, sha256, on_progress)
        except NotFound:
            return  # removed during the check
        except Damaged as error:
            if len(self.damaged) < _MAX_UNNAMED:
                self.damaged.append(name)
            if self._lost_snapshots:
                problem = f"{error}; a lost snapshot may need it"
                self._found.error(name, problem, FROM_A_COPY, depth="reading", kind="unnamed pack")
            else:
                problem = f"{error}; no snapshot names it"
                what_to_do = "nothing: the next run sends its content again if needed"
                self._found.warning(name, problem, what_to_do, kind="unnamed pack")

    def _check_openers(self, data: bytes, name: str) -> None:
        try:
            header = parse_header(data[:HEADER_BYTES], name)
        except BackupError:
            return  # not a pack, although the hash is right; `_open_pack` reports it
        if count_openers(header.wrapped) > 1:
            self._found.warning(name, MORE_OPENERS, TREAT_AS_COMPROMISED)

    def _open_pack(self, repository: Repository, data: bytes, sha256: str, name: str) -> None:
        try:
            repository.open_whole_pack(data, self.history.writer, name)
        except WrongKey:
            self.mark_lost(sha256, "does not open with the domain's key", "opening", BACK_UP_AGAIN)
        except BackupError as error:
            self.mark_lost(sha256, str(error), "opening", BACK_UP_AGAIN)

    def mark_lost(
        self,
        sha256: str,
        problem: str,
        depth: Depth,
        what_to_do: str = FROM_A_COPY,
        affected: str = "",
    ) -> None:
        """Mark a pack as lost or damaged; keep the first reason."""
        lost = _Lost(problem=problem, depth=depth, what_to_do=what_to_do, affected=affected)
        self._lost.setdefault(sha256, lost)

    def is_lost(self, sha256: str) -> bool:
        """Return whether a pack is marked as lost or damaged."""
        return sha256 in self._lost

    def report(self) -> None:
        """Report one finding per lost pack, with a path that is lost, if known."""
        if not self._lost:
            return
        needed_by: dict[str, list[int]] = {sha256: [] for sha256 in self._lost}
        for sequence in self.unexpired:
            for sha256 in self.history.known_packs(sequence) & self._lost.keys():
                needed_by[sha256].append(sequence)
        newest = self._newest_points()
        for sha256, lost in self._lost.items():
            self._report(sha256, lost, needed_by[sha256], newest)

    def _newest_points(self) -> frozenset[int]:
        """Return the sequence numbers of the newest recovery points of each set.

        They are the newest recovery point of a run that ended, and the later interim recovery
        points. An interim recovery point is committed by a run that has not ended.
        """
        newest: dict[str, set[int]] = {}
        for sequence in self.unexpired:
            snapshot = self.history.snapshots[sequence]
            if snapshot.state != "interim":
                newest[snapshot.set_name] = set()
            newest.setdefault(snapshot.set_name, set()).add(sequence)
        return frozenset().union(*newest.values())

    def _report(self, sha256: str, lost: _Lost, points: list[int], newest: frozenset[int]) -> None:
        name = pack_name(self.history.writer, sha256)
        if not points and sha256 in self.history.packs:
            if sha256 not in self._dropped:
                problem = f"{lost.problem}; only expired recovery points need it"
                self._found.warning(name, problem, "nothing: the keeper drops it")
            return
        problem = lost.problem
        if sha256 in self._dropped and not problem.startswith("was dropped"):
            problem = f"was dropped by the keeper, and {problem}"
        problem += f"; {self._points_text(points)}"
        if lost.affected:
            problem += f"; at least this is lost: {lost.affected}"
        if sha256 in self._distrusted and newest.isdisjoint(points):
            problem += "; this is known, and the newest recovery point of each set does not need it"
            self._found.warning(name, problem, "nothing more, unless a copy of it is found")
        else:
            self.damaged.append(name)
            self._found.lost_pack(name, problem, lost.what_to_do, depth=lost.depth)

    def _points_text(self, points: list[int]) -> str:
        if not points and self._lost_snapshots:
            return "a recovery point uses it, perhaps through a lost snapshot"
        if not points:
            return "a recovery point uses it, but does not list it"
        names = [f"{self.history.writer}/{number:010d}" for number in points[:_MAX_POINTS_NAMED]]
        more = len(points) - len(names)
        remaining = f" and {more:,} more recovery points" if more else ""
        return f"needed by {', '.join(names)}{remaining}"
