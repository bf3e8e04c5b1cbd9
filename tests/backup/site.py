"""A whole repository for a test: stores, host, custodian, movable clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backup.archiver.backup_run import back_up
from backup.errors import StoreUnavailable
from backup.ownership.repository_creation import create_repository
from backup.records import BackupResult, RestoreResult
from backup.repository import Repository
from backup.sources import Source
from backup.sources.files.files_source import FilesSource
from backup.stores import Store
from backup.trust.key_files import Host, Identity, open_identity
from tests.backup.memory_stores import MemoryStore

WRITER = "desk-1"
DOMAIN = "main"


class Clock:
    """A clock ahead of the file system's, so that new files count as old."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC) + timedelta(hours=1)

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def forward(self, **much: float) -> None:
        self._now += timedelta(**much)


@dataclass(kw_only=True)
class Site:
    """One host and its repository."""

    folder: Path
    vault: Store
    keys: Store
    clock: Clock = field(default_factory=Clock)

    @property
    def host(self) -> Host:
        return Host.load(self.folder / "host")

    @property
    def identity(self) -> Identity:
        return open_identity(self.folder / "custodian.txt")

    @property
    def send_log(self) -> Path:
        return self.folder / "state" / "send.log"

    @property
    def binding(self) -> str:
        """Return the binding of the upload cache of a host's first keys."""
        return f"{self.host.repository.hex()} {WRITER} 0 {DOMAIN} 0"

    def create(self) -> "Site":
        create_repository(
            vault=self.vault,
            keys=self.keys,
            writer=WRITER,
            domain=DOMAIN,
            host_dir=self.folder / "host",
            owner_file=self.folder / "owner.json",
            identity_file=self.folder / "custodian.txt",
            now=self.clock(),
        )
        return self

    def back_up(self, *sources: Source | Path, **more: Any) -> BackupResult:
        self.clock.forward(hours=1)
        request: dict[str, Any] = {
            "vault": self.vault,
            "host": self.host,
            "set_name": "nightly",
            "sources": [
                FilesSource(f"files{n or ''}", source) if isinstance(source, Path) else source
                for n, source in enumerate(sources)
            ],
            "send_log": self.send_log,
            "now": self.clock,
        }
        return back_up(**(request | more))

    def repository(self) -> Repository:
        return Repository.open(self.vault, self.keys, self.identity)

    def restore(self, point: str, to: Path, *patterns: str, **more: Any) -> RestoreResult:
        repository = self.repository()
        return repository.restore(repository.resolve(point), to, patterns, **more)


def new_site(folder: Path, vault: Store | None = None) -> Site:
    return Site(folder=folder, vault=vault or MemoryStore(), keys=MemoryStore()).create()


class TamperedStore(MemoryStore):
    """A store with operations of an attacker: change, remove, replace."""

    def names(self, prefix: str = "") -> list[str]:
        return [stat.name for stat in self.list(prefix)]

    def replace(self, name: str, data: bytes) -> None:
        _, modified = self._objects[name]
        self._objects[name] = (data, modified)

    def remove(self, name: str) -> None:
        del self._objects[name]

    def copy(self) -> "TamperedStore":
        twin = TamperedStore(now=self._now)
        twin._objects = dict(self._objects)
        return twin


class Died(BaseException):
    """The end of the process; error handling must not catch it."""


class DyingStore(TamperedStore):
    """A store that dies at the given put, before or after the act."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.puts_left: int | None = None
        self.is_stored = False
        self.dies = True
        self.puts = 0

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self.puts += 1
        if self.puts_left is None:
            super()._put(name, data)
            return
        if self.puts_left == 0:
            if self.is_stored:
                super()._put(name, data)
            # Other threads put nothing more after the death.
            self.is_stored = False
            raise Died if self.dies else StoreUnavailable("the network is gone; try again")
        self.puts_left -= 1
        super()._put(name, data)
