"""Restore journal: opens and locks a target, and marks it until complete.

- The journal is the file `.standfast-restore` in the target. It is created and synced before
  anything else is written, and removed last. So a target is empty, complete, or has a journal.
- A restore into a folder with content is refused, unless it resumes an interrupted restore: the
  journal must name the same recovery point and the same request.
- The journal does not name complete files: a resumed restore compares every file. Files in the
  target that the recovery point does not contain remain there, and are not reported.
- A restore is not resumed in a folder that ignores upper and lower case. There, a complete file
  could be mistaken for an unfinished file with the same letters, and be replaced. In such a folder,
  the journal can also be opened by its name in capitals, which is how the folder is recognized.
- The journal is locked during a restore, so two restores never write into one target.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from backup.errors import Busy, NotWritable, UnsafePath
from backup.format.canonical_json import to_json
from backup.restorer.safe_paths import FOLDER_FLAGS, JOURNAL

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_BYTES = 1024 * 1024  # maximal number of bytes that are read from a journal
_ADVICE = "Check its mode and its free space, or name another folder."


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """An open and locked target."""

    root: int  # descriptor of the folder
    is_resumed: bool  # whether an earlier attempt of this restore began in it
    journal: int  # descriptor of the locked journal

    def complete(self) -> None:
        """Remove the journal of this restore.

        If somebody has emptied the folder and started another restore into it, the journal of that
        restore remains.
        """
        with suppress(FileNotFoundError):
            found = os.stat(JOURNAL, dir_fd=self.root, follow_symlinks=False)
            if os.path.samestat(os.fstat(self.journal), found):
                os.unlink(JOURNAL, dir_fd=self.root)
        os.fsync(self.root)


@contextmanager
def open_target(path: Path, request: dict[str, object]) -> Iterator[Target]:
    """Open a target for a request, a JSON value; create missing folders.

    Raise `UnsafePath` if the path is a symbolic link or not a folder, or if the folder has content
    and no journal of this request. Raise `Busy` while another restore into the folder runs. Raise
    `NotWritable` if the folder or its journal cannot be created.
    """
    root = _open_root(path)
    try:
        journal, is_resumed = _open_journal(path, root, to_json(request) + b"\n")
        try:
            yield Target(root=root, is_resumed=is_resumed, journal=journal)
        finally:
            os.close(journal)
    finally:
        os.close(root)


def _open_root(path: Path) -> int:
    if path.is_symlink():
        raise UnsafePath(f"{path}: a symbolic link. Name the folder that it leads to.")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, FOLDER_FLAGS)
    except (FileExistsError, NotADirectoryError):
        raise UnsafePath(f"{path}: not a folder. Name an empty or new folder.") from None
    except OSError as error:
        raise NotWritable(f"{path}: cannot be created ({error.strerror}). {_ADVICE}") from error


def _open_journal(path: Path, root: int, wanted: bytes) -> tuple[int, bool]:
    if os.listdir(root) and not _exists(root, JOURNAL):
        raise _not_empty(
            path
        )  # refuse before the creation of a journal changes the time of the folder
    journal = _open_locked(path, root)
    try:
        found = os.pread(journal, _MOST_BYTES, 0)
        names = [os.fsencode(name) for name in os.listdir(root)]
        others = [name for name in names if name != JOURNAL]
        if found == wanted:
            ignores_case = JOURNAL.upper() not in names and _exists(root, JOURNAL.upper())
            if ignores_case and others:
                _refuse_to_resume(path)
            return journal, not ignores_case
        if others:
            _refuse_content(path, root, has_journal=bool(found))
        _write(journal, wanted)
        os.fsync(root)
    except OSError as error:
        os.close(journal)
        raise NotWritable(f"{path}: cannot be written ({error.strerror}). {_ADVICE}") from error
    except BaseException:
        os.close(journal)
        raise
    return journal, False


def _exists(root: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _open_locked(path: Path, root: int) -> int:
    while True:
        try:
            journal = os.open(JOURNAL, _FLAGS | os.O_CREAT, 0o600, dir_fd=root)
        except OSError as error:
            raise NotWritable(f"{path}: cannot be written ({error.strerror}). {_ADVICE}") from error
        try:
            _lock(path, journal)
            if os.fstat(journal).st_nlink:
                return journal
        except BaseException:
            os.close(journal)
            raise
        # Another restore completed before this process had the lock, and removed the journal.
        os.close(journal)


def _refuse_content(path: Path, root: int, *, has_journal: bool) -> NoReturn:
    if has_journal:
        raise UnsafePath(
            f"{path}: it contains another, incomplete restore. Run that restore again, or name "
            "an empty folder."
        )
    os.unlink(JOURNAL, dir_fd=root)
    raise _not_empty(path)


def _not_empty(path: Path) -> UnsafePath:
    return UnsafePath(
        f"{path}: not empty. Restore into an empty or new folder, so that nothing is overwritten."
    )


def _refuse_to_resume(path: Path) -> NoReturn:
    raise UnsafePath(
        f"{path}: its file system ignores upper and lower case, so an interrupted restore cannot be"
        " resumed there. Empty it, or name another folder."
    )


def _lock(path: Path, journal: int) -> None:
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{path}: another restore is running there. Wait until it ends.") from None


def _write(journal: int, content: bytes) -> None:
    # A crash may leave an empty journal. The folder has no other content then, so the next restore
    # can write its own journal.
    os.ftruncate(journal, 0)
    os.pwrite(journal, content, 0)
    os.fsync(journal)
