"""Fork of this process, only while it has a single thread.

A fork does not copy the other threads. A lock that one of them has acquired would stay locked in
the new process.
"""

import os
import signal
import threading

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def may_fork() -> bool:
    """Return whether this process has only one thread."""
    return threading.active_count() == 1


def fork() -> int:
    """Fork this process; call it only if `may_fork` returns true.

    In the child, signals that end a process get their default action. Otherwise the signal handler
    of the parent would run in the child, and clean up resources that the parent still uses. A
    signal that the parent ignores, such as SIGHUP under `nohup`, remains ignored.
    """
    # Block the signals until the child has its default actions.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        pid = os.fork()
        if not pid:
            for number in _ENDING:
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.SIG_DFL)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
