"""Directory store for the keeper: its clock, and removal of files.

- The keeper is the machine that may expire backups.
- The clock is the clock of the file system. On a network share, this is the clock of the server.
- After each removal, the folder is synced, so that the removal survives a power failure. Empty
  folders are not removed.
"""

import secrets
from datetime import UTC, datetime

from backup.errors import NotFound, UsageError
from backup.stores.directory import INCOMING, DirectoryStore
from backup.stores.keeper import KeeperStore
from backup.system.durable_files import sync_folder


class DirectoryKeeperStore(DirectoryStore, KeeperStore):
    """A directory with files that the keeper may unlink."""

    def _clock(self) -> datetime:
        self.make_folder(self.path / INCOMING)
        probe = self.path / INCOMING / secrets.token_hex(16)
        try:
            probe.touch(mode=0o600, exist_ok=False)
            return datetime.fromtimestamp(probe.stat().st_mtime, UTC)
        finally:
            probe.unlink(missing_ok=True)

    def _extend_lock(self, name: str, until: datetime) -> None:
        self._stat(name)
        raise UsageError(f"{name}: a directory store cannot lock until {until:%Y-%m-%d}. Use S3")

    def _remove(self, name: str) -> None:
        path = self.path / name
        try:
            self._stat(name)
            path.unlink()
        except FileNotFoundError:
            raise NotFound(f"{name} is not in {self.path}") from None
        finally:
            # Sync even if the file was missing: the process that removed it may have crashed before
            # it synced the folder.
            if path.parent.is_dir():
                sync_folder(path.parent)
