"""PostgreSQL data directory as the target of a recovery.

Rules
- The new directory has the files of the base backup, the segments of the write-ahead log, and the
  settings of the replay. The server replays the log later, when a person starts the server. Thus no
  restored code runs before the existing directory is replaced.
- The folders above the directory must belong to this user or to root, and no other user may write
  there. Otherwise a program of another user, such as the database server, could redirect a rename
  or a write.
- The restored settings of ALTER SYSTEM are not used, because an intruder may have put commands into
  them. Their file is kept as `postgresql.auto.conf.restored`.
- A directory with a `postmaster.pid` is never renamed, because a server may use it.
"""

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath

from standfast.errors import Damaged, StandfastError
from standfast.usecases.drills.throwaway.postgresql_recovery import log_files

_LOCK = "postmaster.pid"  # file of a running server
_SETTINGS = "postgresql.auto.conf"
_SEGMENTS = "pg_wal"
_PARTIAL = ".partial"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_REPLAY = {
    "archive_mode": "off",
    "hot_standby": "off",  # the server answers only after the replay
    "restore_command": "false",  # all segments are in the directory
    "recovery_target_action": "promote",
}


def directory_obstacle(path: Path) -> str:
    """Return why a data directory cannot be replaced, or "" if it can."""
    if not path.is_dir():
        return f"{path}: it does not exist. Create an empty folder there, of the server's user."
    own = os.geteuid()
    if own not in (0, path.stat().st_uid):
        return f"{path}: it belongs to another user. Run as that user or as root."
    for folder in (*path.parents, *path.resolve().parents):
        found = folder.stat()
        is_sticky = found.st_mode & stat.S_ISVTX and folder != path.parent
        is_shared = found.st_mode & _OTHERS_WRITE and not is_sticky
        if is_shared or found.st_uid not in (0, own):
            return (
                f"{folder}: other users may rename folders there, which is not safe during a "
                "recovery. Run as its owner, or make root its owner (mode 755)."
            )
    return ""


def refuse_running_server(path: Path) -> None:
    """Raise an error if a server may use a data directory."""
    if os.path.lexists(path / _LOCK):
        raise StandfastError(
            f"{path}: a server uses it. Stop the server, then retry the step. If the server "
            f"was killed, delete {_LOCK} there."
        )


def write_data_directory(
    folder: Path, base: Path, logs: Iterable[Path], until: datetime | None, owner: Path
) -> None:
    """Write a new data directory, with the settings for the replay of its log.

    `logs` are folders of log segments, the oldest first. `until` is the end of the replay, or None
    for the end of the log. `owner` is a path that belongs to the server's user; the new files get
    the same user. When the call returns, the directory is on the disk.
    """
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(base) as archive:
            for member in archive:
                _extract(archive, member, folder)
    except tarfile.TarError as error:
        raise Damaged("base backup: it cannot be read. Choose another recovery point.") from error
    for segment in log_files(logs):  # a complete segment comes before its incomplete copy
        complete = folder / _SEGMENTS / segment.name.removesuffix(_PARTIAL)
        if segment.suffix != _PARTIAL or not complete.exists():
            shutil.copyfile(segment, complete)
            complete.chmod(0o600)
    settings = folder / _SETTINGS
    if settings.exists():
        settings.rename(folder / f"{_SETTINGS}.restored")
    target = {} if until is None else {"recovery_target_time": until.isoformat()}
    lines = [f"{name} = '{value}'\n" for name, value in {**_REPLAY, **target}.items()]
    for name, text in ((_SETTINGS, "".join(lines)), ("recovery.signal", "")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    if os.geteuid() == 0:
        status = owner.lstat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    os.sync()


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a file or a folder of a base backup; refuse links and devices."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise Damaged("base backup: a path leads out of it. Choose another recovery point.")
    path = folder / name
    if member.isdir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif member.isreg() and (content := archive.extractfile(member)) is not None:
        with content, path.open("xb") as file:
            shutil.copyfileobj(content, file)
        path.chmod(0o600)
    else:
        raise Damaged(
            "base backup: it contains a link or a device, which a recovery does not restore. "
            "Restore it with `standfast backup restore`."
        )
