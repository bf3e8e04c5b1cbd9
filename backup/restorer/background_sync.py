"""Background sync: a process that syncs a restore after its caller ended.

- The page cache survives the end of a process, but not a power failure. So the caller need not wait
  for the disk, but the journal must remain until the disk has everything.
- The background process keeps the journal's lock, so no other restore writes into the target. It
  has no terminal, no working folder and no other open file. If it is killed or the disk fails, the
  journal remains, and the same restore resumes.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress

from backup.restorer.restore_journal import Target
from backup.system.process_fork import fork

_CALLER_WAIT_SECONDS = 2.0


def complete_in_background(target: Target, sync: Callable[[int], None]) -> None:
    """Start a process that syncs and completes a target; needs `may_fork`."""
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
    """Wait briefly for the caller to end: its own syncs would wait for ours."""
    with suppress(OSError):
        watched = os.pidfd_open(caller)
        select.select([watched], [], [], _CALLER_WAIT_SECONDS)


def _close_all_but(target: Target) -> None:
    os.chdir("/")
    # A program that reads the command's output waits until every process has closed that output.
    kept = (target.root, target.journal)
    with os.scandir("/proc/self/fd") as opened:
        descriptors = [int(entry.name) for entry in opened]
    for descriptor in descriptors:
        if descriptor not in kept:
            with suppress(OSError):
                os.close(descriptor)
