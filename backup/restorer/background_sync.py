"""Background sync: a process that syncs a restore after its caller ended.

- Written data are first in the page cache. There they survive the end of the process, but not a
  power failure. So the caller need not wait for the disk. But the restore journal, a file that
  marks the target folder as unfinished, must remain until the disk has all data.
- The background process keeps the lock of the journal, so no other restore writes into the target.
  It has no terminal, its working folder is `/`, and only the target and the journal are open in it.
- If the background process is killed or the disk fails, the journal remains. The same restore can
  then be resumed.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress

from backup.restorer.restore_journal import Target
from backup.system.process_fork import fork

_CALLER_WAIT_SECONDS = 2.0


def complete_in_background(target: Target, sync: Callable[[int], None]) -> None:
    """Start a process that calls `sync`, then removes the target's journal.

    Call it only if `may_fork` is true. `sync` gets the descriptor of the target.
    """
    caller = os.getpid()
    child = fork()
    if child:
        os.waitpid(child, 0)
        return
    # The caller's clean-up handlers must not run in this process.
    try:
        os.setsid()
        if not fork():
            _close_all_but(target)
            _await_end(caller)
            sync(target.root)
            target.complete()
    finally:
        os._exit(0)


def _await_end(caller: int) -> None:
    """Wait at most 2 s for the caller to end.

    A sync of a file by the caller would have to wait for the sync of this process.
    """
    with suppress(OSError):
        watched = os.pidfd_open(caller)
        select.select([watched], [], [], _CALLER_WAIT_SECONDS)


def _close_all_but(target: Target) -> None:
    os.chdir("/")
    # A program that reads the output of the caller waits until every process has closed this
    # output.
    kept = (target.root, target.journal)
    with os.scandir("/proc/self/fd") as opened:
        descriptors = [int(entry.name) for entry in opened]
    for descriptor in descriptors:
        if descriptor not in kept:
            with suppress(OSError):
                os.close(descriptor)
