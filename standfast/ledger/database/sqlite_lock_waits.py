"""Log messages about waiting for a process that writes to SQLite.

A ledger is the database of an installation. `postgresql_lock_waits` has the messages for
PostgreSQL.

Rules
- If a wait takes longer than `LONG_SECONDS`, a message is written to the log, or to standard error
  if the command has no log; the wait continues.
- A message about one file is logged at most once a minute, for all waiting threads. A wait for
  another thread of this process is not logged.
- The message names the process that holds the lock, from the kernel's list of locks; without that
  list, it names the lock file.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONG_SECONDS = 3.0
_AGAIN_SECONDS = 60.0

_guard = threading.Lock()
_said_at: dict[str, float] = {}


@contextmanager
def log_long_wait(path: str, *lock_files: str) -> Iterator[None]:
    """Log the holder of `lock_files` if the `with` block waits for long."""
    timer = threading.Timer(LONG_SECONDS, log_holder, (path, *lock_files))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def log_holder(path: str, *lock_files: str) -> None:
    """Log the wait for the ledger at `path`, with the holder of its lock."""
    holders = holders_of(*lock_files)
    others = holders - {os.getpid()}
    if holders and not others:
        return  # another thread of this process
    warn_once(path, _message(path, others, lock_files[0]))


def warn_once(ledger: str, message: str) -> None:
    """Log a message, at most once a minute for each ledger."""
    with _guard:
        now = time.monotonic()
        if now - _said_at.get(ledger, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        _said_at[ledger] = now
    logging.getLogger("standfast.ledger").warning("%s", message)


def holders_of(*lock_files: str) -> set[int]:
    """Return the processes that hold a lock on the files, if known."""
    wanted: set[tuple[int, int, int]] = set()
    for lock_file in lock_files:
        try:
            found = Path(lock_file).stat()
        except OSError:
            continue
        wanted.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    holders: set[int] = set()
    for line in lines:
        # `1: FLOCK  ADVISORY  WRITE 15719 fe:00:5327030 0 EOF`; a waiter has `->` before the kind.
        words = line.split()
        if len(words) < 6 or words[1] == "->" or words[3] != "WRITE":
            continue
        major, minor, inode = words[5].split(":")
        if (int(major, 16), int(minor, 16), int(inode)) in wanted and int(words[4]) > 0:
            holders.add(int(words[4]))
    return holders


def _message(path: str, holders: set[int], lock_file: str) -> str:
    waits = f"waiting for the ledger {path}"
    if not holders:
        return f"{waits}: another process writes to it. `fuser {lock_file}` shows which one."
    return f"{waits}: process {min(holders)} {what_to_do(min(holders))}"


def what_to_do(holder: int) -> str:
    """Return what to do about a process that blocks other writers."""
    end = f"`kill -9 {holder}` ends it without loss of committed data."
    if _is_suspended(holder):
        return f"writes to it and is suspended. `kill -CONT {holder}` resumes it. {end}"
    return f"writes to it. If it hangs, {end}"


def _is_suspended(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    # The state follows the name, which is in brackets and may contain anything.
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])
