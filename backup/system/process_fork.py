"""Fork of this process, only while it has a single thread.

A fork copies no other thread, and locks of such a thread would stay locked.
"""

import os
import signal
import threading

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def may_fork() -> bool:
    """Return whether this process has only one thread."""
    return threading.active_count() == 1


def fork() -> int:
    """Fork this process; call it only if `may_fork`.

    In the child, signals that end a process have their default action. Otherwise the parent's
    signal handler would run in the child, and undo what only the parent may undo. A signal that the
    parent ignores stays ignored, such as SIGHUP under `nohup`.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # no signal arrives in between
    try:
        pid = os.fork()
        if not pid:
            for number in _ENDING:
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.SIG_DFL)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
