"""The errors of the repository, split by what the caller does next.

    BackupError                 1
    ├── StoreUnavailable        1  try again: the store or the network did not answer
    ├── AlreadyThere            1  look: something stands where something new should be made
    ├── Locked                  1  wait: the store keeps the object until a time
    ├── SourceFailed            1  look at the source; the other sources went on
    ├── NothingToBackUp         1  look at the sources: none gave anything
    ├── NotWritable             1  make room or give the right, then run again
    ├── TargetFailed            1  look at the server that was restored into
    ├── UsageError              2  ask differently
    │   ├── NotFound            2  the object or recovery point does not exist
    │   ├── WrongKey            2  the key opens nothing here
    │   └── FormatUnknown       2  made by a newer version: use that one
    ├── Busy                    4  refused: another run has the send-log or the target; wait
    ├── UnsafePath              4  refused: would write where it must not
    ├── UnexpectedStatement     4  refused: a dump of roles or users with statements that none has
    ├── RetentionStopped          4  refused: a clock jumped or too much would go; look first
    └── Damaged                 6  not what was written: verify, then restore from a copy

- A message says what failed, on what, and what to do now; it holds no secret.
- `exit_code` is what a command line returns for the class; a partial result is no exception.
"""

from typing import ClassVar


class BackupError(Exception):
    """Anything that this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class StoreUnavailable(BackupError):
    """The store did not do what was asked; the same call may succeed later."""


class AlreadyThere(BackupError):
    """A create-only write met an existing object; nothing was changed."""


class Busy(BackupError):
    """Refused, because another run holds the send-log, or restores into the same folder."""

    exit_code = 4


class Locked(BackupError):
    """The store keeps the object for a time against everyone; nothing was removed."""


class SourceFailed(BackupError):
    """A source gave nothing at all; other sources are not touched by it."""


class NothingToBackUp(BackupError):
    """No source gave a single entry, so no recovery point was made."""


class NotWritable(BackupError):
    """A local file could not be written: no space, no right, or a read-only file system."""


class TargetFailed(BackupError):
    """A database server did not take what was restored into it."""


class UsageError(BackupError):
    """What was asked for makes no sense as it was asked."""

    exit_code = 2


class NotFound(UsageError):
    """The named object or recovery point does not exist."""


class WrongKey(UsageError):
    """The identity opens nothing in this repository."""


class FormatUnknown(UsageError):
    """The object says that it has a format which this version does not know."""


class UnsafePath(BackupError):
    """Refused, because it would write outside of, or over, what was named."""

    exit_code = 4


class UnexpectedStatement(BackupError):
    """Refused, because a dump of roles or users holds a statement that no dump program writes."""

    exit_code = 4


class RetentionStopped(BackupError):
    """Refused, because what time it is or how much would go is not as it should be."""

    exit_code = 4


class Damaged(BackupError):
    """Bytes are not what their writer stored: a flipped bit, a cut, a swap, or an attack."""

    exit_code = 6
    packs: tuple[str, ...] = ()  # what a restore found damaged before it gave up
