"""What is left to do when a restore is whole but not on the disk: a process of its own does it.

- A death of processes loses nothing of the page cache; a power cut does.  So whoever restores need
  not wait, but the journal must: it goes only when the disk has everything, and until then the
  folder says that it may not be whole.
- The process that is left behind holds the journal's lock, so nobody restores there meanwhile.  It
  has no terminal, no working folder and nothing else open, and no one waits for it; killed, or on a
  disk that fails, it leaves the journal, and the same restore goes on from there.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress

from backup.restorer.restore_journal import Target
from backup.system.process_fork import fork

_PATIENCE_SECONDS = 2.0


def complete_in_background(target: Target, sync: Callable[[int], None]) -> None:
    """Leave a process that syncs a target, then completes it; only where `may_fork`."""
    caller = os.getpid()
    between = fork()
    if between:
        os.waitpid(between, 0)
        return
    # Nothing of the caller's clean-up may run here.
    try:
        os.setsid()
        if not fork():
            _leave_all_but(target)
            _let_end(caller)
            sync(target.root)
            target.complete()
    finally:
        os._exit(0)


def _let_end(caller: int) -> None:
    """Wait a moment for a process to end: what it still syncs would wait for all that we sync."""
    with suppress(OSError):
        watched = os.pidfd_open(caller)
        select.select([watched], [], [], _PATIENCE_SECONDS)


def _leave_all_but(target: Target) -> None:
    os.chdir("/")
    # Who reads our output waits for its end.
    kept = (target.root, target.journal)
    with os.scandir("/proc/self/fd") as opened:
        descriptors = [int(entry.name) for entry in opened]
    for descriptor in descriptors:
        if descriptor not in kept:
            with suppress(OSError):
                os.close(descriptor)
