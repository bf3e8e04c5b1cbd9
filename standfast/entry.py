"""How the process of a command begins and ends, around `standfast.cli.main`.

Most commands are over in a tenth of a second, and Python would spend a tenth of that on looking for
cycles among what it imports, all of which stays, and on taking apart at the end what the kernel
takes back anyway.

- What is to be done at the end of a process (`atexit`, threads that are waited for) is done.
- Who calls `main` itself, as tests do, has a process that goes on as it was.
"""

import atexit
import gc
import os
import sys
from typing import NoReturn

_OBJECTS_OF_A_START = 100_000  # about twice as many as are left when a large command has begun
_OBJECTS_TO_ONE_COLLECTION = 10_000


def run() -> NoReturn:
    """Run the command that this process was started with, and end the process with its status."""
    _collect_late()
    ended: list[int] = []
    # What is registered first is called last.  Who came before us (a measurement of what tests
    # cover) has something to do yet when our turn is over: then Python ends the process.
    if not atexit._ncallbacks():
        atexit.register(_leave, ended)
    from standfast.cli import main  # only now: what it imports is most of a start

    ended.append(main())
    sys.exit(ended[0])


def _collect_late() -> None:
    """Have the first look for cycles come when what a start makes is there, the next as usual."""

    late = (_OBJECTS_OF_A_START, *gc.get_threshold()[1:])

    def usual(_phase: str, _info: dict[str, int]) -> None:
        gc.callbacks.remove(usual)
        if gc.get_threshold() == late:  # else what is under way knows better
            gc.set_threshold(_OBJECTS_TO_ONE_COLLECTION)

    gc.callbacks.append(usual)
    gc.set_threshold(*late)


def _leave(ended: list[int]) -> None:
    """End at once; when anything is still to be told, leave that to Python."""
    if not ended:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):  # it is full, or closed: Python has its way to say so
        return
    os._exit(ended[0])
