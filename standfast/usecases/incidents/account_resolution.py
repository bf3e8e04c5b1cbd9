"""Directories of an account: the named directory, or all that know it.

Rules
- `directory:name` means one directory; a bare name means every directory that knows this name.
- A directory that cannot be read now counts as if it knew the name. It is read again before the
  lock, and the lock is refused if the account is unknown.
- Names are compared with protected accounts in the spelling of the directory. Otherwise a protected
  account could be locked under another spelling.
- Directories are read in parallel. A directory that does not answer for a few seconds counts as
  unreadable, so that it does not delay locks in the others.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

from standfast.adapters.factory import Adapters
from standfast.errors import ConfigurationError, Unavailable

SILENT_SECONDS = 3.0
_TICK_SECONDS = 0.05
_FEWEST_NAMES = 16  # the smallest batch of one request to a directory


def resolved_accounts(accounts: Sequence[str], adapters: Adapters) -> list[tuple[str, str]]:
    """Return (directory, name) for each account; "" if no directory knows it."""
    bare = [name for name in accounts if _directory(name, adapters) is None]
    known: dict[str, list[str]] = {name: [] for name in bare}
    for directory, names in _asked(bare, adapters).items() if bare else ():
        for name in names:
            known[name].append(directory)
    found: list[tuple[str, str]] = []
    for account in accounts:
        directory_given = _directory(account, adapters)
        if directory_given is not None:
            found.append((directory_given, account.partition(":")[2]))
        else:
            found.extend((directory, account) for directory in known[account] or [""])
    return list(dict.fromkeys((where, _canonical(where, name, adapters)) for where, name in found))


def protected_accounts(adapters: Adapters, directories: Collection[str]) -> Mapping[str, str]:
    """Return the protected accounts of these directories and the reasons.

    Each key is the canonical form that `key_of` returns. Other directories are not opened, because
    opening a directory can take longer than the lock.
    """
    return {
        key_of(account, adapters): why
        for account, why in adapters.config.protected.accounts.items()
        if account.partition(":")[0] in directories
    }


def key_of(account: str, adapters: Adapters) -> str:
    """Return the canonical form of `DIRECTORY:ACCOUNT`.

    The form ignores case, as most directories do. In a case-sensitive directory, a name that
    differs from a protected name only by case is refused too.
    """
    where, colon, name = account.partition(":")
    if where in adapters.config.accounts:  # skip systems whose accounts only procedures lock
        name = _canonical(where, name, adapters)
    return f"{where}{colon}{name}".casefold()


def _asked(names: Sequence[str], adapters: Adapters) -> dict[str, list[str]]:
    """Query all directories in parallel; return the names that each may know."""
    directories = list(adapters.config.accounts)
    heard = dict.fromkeys(directories, time.monotonic())

    def on_answer(directory: str) -> None:
        heard[directory] = time.monotonic()

    if not directories:
        return {}
    pool = ThreadPoolExecutor(len(directories), thread_name_prefix="resolve")
    asked = {
        pool.submit(
            _perhaps_known, names, directory, adapters, partial(on_answer, directory)
        ): directory
        for directory in directories
    }
    left = set(asked)
    while left:
        _, left = wait(left, timeout=_TICK_SECONDS, return_when="FIRST_COMPLETED")
        left = {call for call in left if time.monotonic() - heard[asked[call]] < SILENT_SECONDS}
    pool.shutdown(wait=False)  # a call without an answer ends at its own time-out
    return {
        directory: call.result() if call.done() else list(names)
        for call, directory in asked.items()
    }


def _perhaps_known(
    names: Sequence[str], directory: str, adapters: Adapters, on_answer: Callable[[], None]
) -> list[str]:
    """Return the names that a directory knows or cannot look up now.

    Names are sent in batches, so that a directory that does not answer causes only one time-out.
    `on_answer` is called after each answer.
    """
    found: list[str] = []
    try:
        connector = adapters.connector(directory)
    except ConfigurationError:
        return list(names)  # such as a missing secret; the caller still uses the other directories
    most = max(_FEWEST_NAMES, connector.limits.workers)
    for start in range(0, len(names), most):
        try:
            states = connector.observe(names[start : start + most])
        except Unavailable:
            return [*found, *names[start:]]
        on_answer()
        found += [state.name for state in states if state.exists or state.reason]
    return found


def _canonical(directory: str, name: str, adapters: Adapters) -> str:
    """Return the directory's spelling of an account."""
    try:
        return adapters.connector(directory).canonical(name) if directory else name
    except ConfigurationError:
        return name  # the error is reported when the account is observed before its lock


def _directory(account: str, adapters: Adapters) -> str | None:
    """Return the configured directory that an account's name begins with."""
    prefix, colon, _ = account.partition(":")
    return prefix if colon and prefix in adapters.config.accounts else None
