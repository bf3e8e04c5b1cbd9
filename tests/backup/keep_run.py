"""Retention run in a separate process, on objects of any age.

`LockingDirectory` is a directory store that dates its objects by a given clock and stores locks in
files next to them, so every act of a keeper's store is a disk operation of a process.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup.errors import Locked
from backup.retention.keeper_key import Keeper
from backup.retention.retention_run import run_retention
from backup.retention.rules import RetentionRules
from backup.stores import ObjectLock, Retention, StoreTraits
from backup.stores.directory_keeper import DirectoryKeeperStore
from tests.kill.tracing import Death, Tracer

LOCK = ObjectLock(mode="COMPLIANCE", days=20)
RULES = RetentionRules(
    everything=timedelta(days=31),
    daily=timedelta(days=31),
    weekly=timedelta(days=31),
    monthly=timedelta(days=31),
)
ACTS = ("_put", "_get_range", "_stat", "_list", "_clock", "_lock_of", "_extend_lock", "_remove")


class LockingDirectory(DirectoryKeeperStore):
    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        super().__init__(path)
        self._now = now

    def describe(self) -> StoreTraits:
        return replace(super().describe(), lock=LOCK)

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        super()._put(name, data)
        moment = int(self._now().timestamp() * 1e9)
        os.utime(self.path / name, ns=(moment, moment))

    def _clock(self) -> datetime:
        super()._clock()
        return self._now()

    def _lock_of(self, name: str) -> Retention:  # type: ignore[override]
        until = self._stat(name).modified + timedelta(days=LOCK.days)
        with suppress(FileNotFoundError):
            until = datetime.fromisoformat(self._lock_file(name).read_text())
        return Retention(mode=LOCK.mode, until=until)

    def _extend_lock(self, name: str, until: datetime) -> None:
        draft = self._lock_file(name).with_suffix(".draft")
        draft.parent.mkdir(exist_ok=True)
        draft.write_text(max(until, self._lock_of(name).until).astimezone(UTC).isoformat())
        draft.rename(self._lock_file(name))

    def _remove(self, name: str) -> None:
        # `_lock_of` would record this read as an act of the run.
        if LockingDirectory._lock_of(self, name).until > self._now():
            raise Locked(f"{name} is locked")
        super()._remove(name)

    def _lock_file(self, name: str) -> Path:
        return self.path.with_name("locks") / name.replace("/", "+")


def run_keeping(folder: Path, now: datetime, log: Path | None, death: Death | None) -> None:
    """Run retention once on the vault; each act of its store is a point."""
    if log is not None:
        tracer = Tracer(log=log, death=death)
        for act in ACTS:
            tracer.wrap(LockingDirectory, act, act)
    vault = LockingDirectory(folder / "vault", lambda: now)
    run_retention(
        vault, Keeper.load(folder / "keeper.json"), RULES, now=lambda: now, max_percent=50
    )
