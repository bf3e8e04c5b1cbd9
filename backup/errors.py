"""Errors of the backup package and exit statuses, by what to do next.

    BackupError                 1
    ├── StoreUnavailable        1  try again: the store or the network did not answer
    ├── AlreadyThere            1  check the object or file that exists already
    ├── Locked                  1  wait until the lock of the object ends
    ├── SourceFailed            1  check the source; the other sources continued
    ├── NothingToBackUp         1  check the sources: none could be read
    ├── NotWritable             1  free space or grant the right, then run again
    ├── TargetFailed            1  check the server into which data was restored
    ├── UsageError              2  correct the arguments of the call
    │   ├── NotFound            2  the object or recovery point does not exist
    │   ├── WrongKey            2  the key opens no part of this repository
    │   └── FormatUnknown       2  use the newer version of the program that wrote the object
    ├── Busy                    4  refused: another run uses the same cache or target; wait
    ├── UnsafePath              4  refused: it would write to a forbidden place
    ├── UnexpectedStatement     4  refused: a dump of roles or users has other statements
    ├── RetentionStopped        4  refused: a clock jumped or too much would expire; check first
    └── Damaged                 6  the bytes changed: verify, then restore from a copy

- A message names the object, the cause and the action. It contains no secret.
- `exit_code` is the exit status of a command that fails with the error. A partial result is not an
  error.
"""

from typing import ClassVar


class BackupError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class StoreUnavailable(BackupError):
    """The store gave no answer or a wrong one; a later call may succeed."""


class AlreadyThere(BackupError):
    """A create-only write found an existing object; nothing was changed."""


class Busy(BackupError):
    """Another run uses the same upload cache, or restores into the folder."""

    exit_code = 4


class Locked(BackupError):
    """The store locks the object until a time; nothing was removed."""


class SourceFailed(BackupError):
    """A source could not be read, or not to its end; other sources were read."""


class NothingToBackUp(BackupError):
    """No source had any path, so no recovery point was made."""


class NotWritable(BackupError):
    """A local file could not be written: no space, no right, or read-only."""


class TargetFailed(BackupError):
    """A database server refused the data that was restored into it."""


class UsageError(BackupError):
    """The arguments of the call are not valid."""

    exit_code = 2


class NotFound(UsageError):
    """The named object or recovery point does not exist."""


class WrongKey(UsageError):
    """A key, identity or passphrase opens no part of this repository."""


class FormatUnknown(UsageError):
    """The object has a format that this version does not know."""


class UnsafePath(BackupError):
    """Refused: a write would leave the target, or replace other content."""

    exit_code = 4


class UnexpectedStatement(BackupError):
    """Refused: a dump of roles or users has a statement of another kind."""

    exit_code = 4


class RetentionStopped(BackupError):
    """Refused: a clock is implausible, or too much would expire."""

    exit_code = 4


class Damaged(BackupError):
    """Stored bytes have changed, by an error of the disk or by an attack."""

    exit_code = 6
    packs: tuple[str, ...] = ()  # damaged packs that a restore found before it failed
