"""Forking this process: only while it has a single thread, and with none of its handlers.

A fork copies no other thread, and what such a thread had locked would stay locked.
"""

import os
import signal
import threading

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def may_fork() -> bool:
    """Whether this process has one thread only."""
    return threading.active_count() == 1


def fork() -> int:
    """Fork, where `may_fork`; a signal that ends programs ends the child at once.

    A handler of the parent's would undo in the child what is the parent's to undo.  What is ignored
    stays so, as SIGHUP under `nohup`.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # none comes in between
    try:
        pid = os.fork()
        if not pid:
            for number in _ENDING:
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.SIG_DFL)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
