"""Owner, mode, times and extended attributes of restored files.

- The owner is restored only on request, by root. Set-id bits of files, and attributes that grant
  rights (`security.capability`), are restored only with the owner. If the file belonged to the
  restoring user instead, they would grant the rights of this user.
- If the target cannot store an attribute, this is reported, and the content is restored without the
  attribute. Examples are an owner on FAT, or on a network share that refuses changes of the owner.
- Owner and mode are not set again if the file was created with them. This saves two system calls
  per file.
"""

import errno
import os
import stat
from collections.abc import Callable

from backup.format.canonical_json import to_path_text
from backup.format.manifest import Entry
from backup.records import Problem

Owner = tuple[int, int]
"""User and group that a new file in a folder gets.

It is (-1, -1) if they are unknown, or if a new file might not get the mode that it is created with.
"""

_UNKNOWN = (-1, -1)
DEFAULT_RIGHTS = "system.posix_acl_default"  # changes the modes of new files in a folder
_GRANTING = (
    b"security.capability",
    b"trusted.",
)  # not `security.selinux`: a label grants no rights
_UNSUPPORTED = frozenset(
    (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EOVERFLOW)
)
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


class Attributes:
    """Setter of attributes; adds a problem for each attribute not set."""

    def __init__(self, *, owner: bool, problems: list[Problem]) -> None:
        self._owner = owner
        self._problems = problems

    def match(self, owner: Owner, entry: Entry) -> bool:
        """Return whether a new file can be created with its final owner and mode.

        `owner` is the output of `inherited_owner`. If owners are not restored, only the mode is
        compared.
        """
        return owner == (entry.uid, entry.gid) if self._owner else owner != _UNKNOWN

    def set_all(self, descriptor: int, entry: Entry) -> None:
        """Set all attributes of an open file or folder."""
        is_owned = self._owner and self._try_to_set(
            entry, "its owner", lambda: os.fchown(descriptor, entry.uid, entry.gid)
        )
        for name, content in entry.xattrs:
            if name.startswith(_GRANTING) and not is_owned:
                reason = f"without attribute {to_path_text(name)}; it needs the owner"
                self._problems.append(Problem(path=entry.text, reason=reason))
                continue
            try:
                os.setxattr(descriptor, name, content)
            except OSError as error:
                self._problems.append(
                    Problem(
                        path=entry.text,
                        reason=f"without attribute {to_path_text(name)}: {error.strerror}",
                    )
                )
        mode = entry.mode
        if mode & _SET_ID_BITS and not is_owned and entry.kind == "file":
            mode &= ~_SET_ID_BITS
            self._problems.append(
                Problem(path=entry.text, reason="without its set-id bits; they need the owner")
            )
        self._try_to_set(entry, "its mode", lambda: os.fchmod(descriptor, mode))
        self.set_times(descriptor, entry)

    def set_times(self, descriptor: int, entry: Entry) -> None:
        """Set the times of an open file or folder."""
        times = (entry.modified_ns, entry.modified_ns)
        self._try_to_set(entry, "its time", lambda: os.utime(descriptor, ns=times))

    def set_by_name(self, entry: Entry, folder: int, name: bytes) -> None:
        """Set the attributes of a path that is not opened, such as a link."""
        times = (entry.modified_ns, entry.modified_ns)
        if self._owner:
            self._try_to_set(
                entry,
                "its owner",
                lambda: os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False),
            )
        if entry.kind != "symlink":
            self._try_to_set(entry, "its mode", lambda: os.chmod(name, entry.mode, dir_fd=folder))
        self._try_to_set(
            entry,
            "its time",
            lambda: os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False),
        )

    def _try_to_set(self, entry: Entry, name: str, change: Callable[[], None]) -> bool:
        try:
            change()
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            reason = f"without {name}: {error.strerror}"
            self._problems.append(Problem(path=entry.text, reason=reason))
            return False
        return True


def inherited_owner(folder: int) -> Owner:
    """Return the owner and group of new files in an open folder."""
    try:
        os.getxattr(folder, DEFAULT_RIGHTS)
    except OSError as error:
        # A folder may pass its group to new files (set-group-id bit, or mount option `grpid`). If
        # this process has the same group, new files get this group in any case.
        is_known = error.errno in (errno.ENODATA, errno.EOPNOTSUPP)
        if is_known and os.fstat(folder).st_gid == os.getegid():
            return os.geteuid(), os.getegid()
    return _UNKNOWN
