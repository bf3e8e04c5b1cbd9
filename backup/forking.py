"""When this process may be forked: only while it has a single thread.

A fork copies no other thread, and what such a thread had locked would stay locked.
"""

import threading


def may_fork() -> bool:
    """Whether this process has one thread only."""
    return threading.active_count() == 1
