"""Replacement of files and folders by renames, and its reversal.

Rules
- Each rename may be repeated: a rename that an earlier call completed is not done again.
- Data is never renamed to a name that is in use. The error message states that name.
- A PostgreSQL data directory is not renamed while a server may use it.
- A SQLite database is renamed together with its write-ahead log and its journal, because the old
  log would damage the new database.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.system.durable_files import sync_folder
from standfast.errors import Refused, StandfastError
from standfast.usecases.recovery.data_directory import directory_obstacle, refuse_running_server

_SQLITE_PARTS = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """A path that a recovery replaces, and the names of its copies.

    The data at the path is set aside: it gets a name that contains the id of the incident.
    """

    path: Path
    incident: str
    is_database: bool = False  # a SQLite database file; otherwise a folder
    is_data_directory: bool = False  # the data directory of a PostgreSQL server

    @property
    def staging(self) -> Path:
        """The folder next to the target that receives the restored files."""
        return self.path.with_name(f"{self.path.name}.restoring-{self.incident}")

    @property
    def staged_directory(self) -> Path:
        """The new data directory of a PostgreSQL server, before it is renamed."""
        return self.staging / "new"

    @property
    def set_aside(self) -> Path:
        """The name that the previous data gets when it is replaced."""
        return self.path.with_name(f"{self.path.name}.before-{self.incident}")

    @property
    def withdrawn(self) -> Path:
        """The name that the restored data gets when the recovery is undone."""
        return self.path.with_name(f"{self.path.name}.recovered-{self.incident}")

    @property
    def has_data(self) -> bool:
        return any(os.path.lexists(path) for path, _ in self._parts(self.path, self.set_aside))

    def obstacle(self) -> str:
        """Return why the target cannot be replaced, or "" if it can."""
        path = self.path
        if not path.parent.is_dir():
            return f"{path}: its parent folder does not exist. Create or mount it."
        if not os.access(path.parent, os.W_OK | os.X_OK):
            return f"{path}: this user cannot write to its parent folder. Run as its owner."
        if path.is_symlink():
            return f"{path}: it is a link. Name the path that it leads to."
        if path.is_mount():
            return f"{path}: it is a mount point, which cannot be renamed. Name a folder in it."
        if path.exists() and path.is_dir() is self.is_database:
            kind = "folder" if self.is_database else "file"
            return f"{path}: it is a {kind}, unlike the source. Correct the recovery target."
        for other in (self.staging, self.set_aside, self.withdrawn):
            if os.path.lexists(other):
                return f"{other}: it exists, and the recovery needs this name. Move it away."
        return directory_obstacle(path) if self.is_data_directory else ""

    def refuse_new_data(self, *, had_data: bool) -> None:
        """Raise Refused if the path has data now, but had none in the plan."""
        if self.has_data and not had_data:
            raise Refused(
                f"{self.path}: data appeared there after the plan was made. Move it away, then "
                "retry the step."
            )

    def put_in_place(self, restored: Path, *, had_data: bool) -> None:
        """Set the data at the target aside, then give its name to `restored`.

        `had_data` is True if the target had data when the recovery was planned. If it had none, and
        has data now, raise Refused.
        """
        if os.path.lexists(restored):
            # If an earlier call was interrupted, both names may be hard links to one file.
            if not _is_same_file(restored, self.path):
                self._refuse_running()
                self._set_aside(had_data=had_data)
            _move(restored, self.path)
        elif not os.path.lexists(self.path) or (had_data and not self._has_set_aside):
            raise Refused(
                f"{restored}: the restored data is gone. Close this recovery, and open another one."
            )
        sync_folder(self.path.parent)

    def revert(self, restored: Path, *, had_data: bool) -> None:
        """Reverse `put_in_place`, even if that call was interrupted.

        This call may be repeated.
        """
        if _is_same_file(restored, self.path):  # `put_in_place` was interrupted
            self.path.unlink()
        elif not os.path.lexists(restored) and (self._has_set_aside or not had_data):
            self._refuse_running()
            self._move_parts([(self.path, restored)])
        if had_data:
            parts = self._parts(self.set_aside, self.path)
            self._move_parts(
                [(old, new) for old, new in parts if not _is_another_file(old, new)],
            )
        sync_folder(self.path.parent)

    def undo(self, *, had_data: bool) -> None:
        """Rename the restored data, and give the previous data its name back.

        Raise Refused if the previous data no longer exists.
        """
        if had_data and not self._has_set_aside:
            if os.path.lexists(self.withdrawn):
                return  # an earlier call put the previous data back
            raise Refused(f"{self.set_aside}: it is gone, so nothing can be put back.")
        if not os.path.lexists(self.withdrawn) or _is_same_file(self.path, self.withdrawn):
            self._refuse_running()
            self._move_all(self.path, self.withdrawn)
        if had_data:
            self._move_all(self.set_aside, self.path)
        sync_folder(self.path.parent)

    @property
    def _has_set_aside(self) -> bool:
        return any(os.path.lexists(path) for path, _ in self._parts(self.set_aside, self.path))

    def _refuse_running(self) -> None:
        if self.is_data_directory:
            refuse_running_server(self.path)

    def _set_aside(self, *, had_data: bool) -> None:
        if not self.has_data:
            return
        self.refuse_new_data(had_data=had_data)
        self._move_all(self.path, self.set_aside)
        sync_folder(self.path.parent)

    def _move_all(self, source: Path, destination: Path) -> None:
        self._move_parts([*self._parts(source, destination)])

    def _move_parts(self, parts: Sequence[tuple[Path, Path]]) -> None:
        # Rename the database file last: as long as it has its old name, a repeated call continues.
        for old, new in reversed(parts):
            if os.path.lexists(old):
                _move(old, new)

    def _parts(self, source: Path, destination: Path) -> Iterator[tuple[Path, Path]]:
        for suffix in _SQLITE_PARTS if self.is_database else ("",):
            yield (
                source.with_name(source.name + suffix),
                destination.with_name(destination.name + suffix),
            )


def _move(old: Path, new: Path) -> None:
    """Rename a file or folder; raise Refused if the new name is in use."""
    if _is_another_file(old, new):
        raise Refused(f"{new}: it exists, and nothing is overwritten. Move it away, then retry.")
    try:
        if old.is_dir():
            old.rename(new)
            return
        # A rename would replace a file that already has the new name; a hard link never does.
        if not os.path.lexists(new):
            new.hardlink_to(old)
        old.unlink()
    except OSError as error:
        raise StandfastError(
            f"{old}: cannot be renamed to {new}: {error.strerror}. Correct the cause, then retry."
        ) from error


def _is_another_file(path: Path, other: Path) -> bool:
    return os.path.lexists(other) and not _is_same_file(path, other)


def _is_same_file(path: Path, other: Path) -> bool:
    """Return whether two names are hard links to the same file."""
    return path.is_file() and other.exists() and path.samefile(other)
