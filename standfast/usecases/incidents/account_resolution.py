"""Directories of an account: the one it names, or all that know it.

An account names its directory at its beginning.

Rules
- A bare account name means every directory that knows it; `directory:name` means that one.
- A directory that cannot be read now counts as one that knows the name: it is looked at again
  before the act, and refuses there who is not in it.
- What is protected is spelt as its directory spells it, or another writing of it would be locked.
- Directories are asked side by side. One that answers nothing for a few seconds keeps nobody in the
  others from being locked: it counts as one that cannot be read.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

from standfast.adapters.factory import Outside
from standfast.errors import ConfigurationError, Unavailable

SILENT_SECONDS = 3.0
_TICK_SECONDS = 0.05
_FEWEST_NAMES = 16  # that one look at a directory carries, when there are so many


def resolved_accounts(accounts: Sequence[str], outside: Outside) -> list[tuple[str, str]]:
    """Return (directory, name) for each account, in order.

    The directory is empty if none knows the account.
    """
    bare = [name for name in accounts if _directory(name, outside) is None]
    known: dict[str, list[str]] = {name: [] for name in bare}
    for directory, names in _asked(bare, outside).items() if bare else ():
        for name in names:
            known[name].append(directory)
    found: list[tuple[str, str]] = []
    for account in accounts:
        directory_given = _directory(account, outside)
        if directory_given is not None:
            found.append((directory_given, account.partition(":")[2]))
        else:
            found.extend((directory, account) for directory in known[account] or [""])
    return list(dict.fromkeys((where, _canonical(where, name, outside)) for where, name in found))


def protected_accounts(outside: Outside, directories: Collection[str]) -> Mapping[str, str]:
    """Return the accounts that no playbook may lock, with the reasons.

    Only those of these directories, as `key_of` writes them.

    Of no others: setting one up can take longer than the lock.
    """
    return {
        key_of(account, outside): why
        for account, why in outside.config.protected.accounts.items()
        if account.partition(":")[0] in directories
    }


def key_of(account: str, outside: Outside) -> str:
    """Write `DIRECTORY:ACCOUNT` in the form that all its users share.

    Most directories do not tell names apart by case; where one does, the wrong one is refused as
    protected, which is the lesser evil.
    """
    where, colon, name = account.partition(":")
    if where in outside.config.accounts:  # and no system whose accounts only calls lock
        name = _canonical(where, name, outside)
    return f"{where}{colon}{name}".casefold()


def _asked(names: Sequence[str], outside: Outside) -> dict[str, list[str]]:
    """Ask all directories at once; return the names that each may know."""
    directories = list(outside.config.accounts)
    heard = dict.fromkeys(directories, time.monotonic())

    def hear(directory: str) -> None:
        heard[directory] = time.monotonic()

    if not directories:
        return {}
    pool = ThreadPoolExecutor(len(directories), thread_name_prefix="resolve")
    asked = {
        pool.submit(_perhaps_known, names, directory, outside, partial(hear, directory)): directory
        for directory in directories
    }
    left = set(asked)
    while left:
        _, left = wait(left, timeout=_TICK_SECONDS, return_when="FIRST_COMPLETED")
        left = {call for call in left if time.monotonic() - heard[asked[call]] < SILENT_SECONDS}
    pool.shutdown(wait=False)  # a silent call ends with its own time-out
    return {
        directory: call.result() if call.done() else list(names)
        for call, directory in asked.items()
    }


def _perhaps_known(
    names: Sequence[str], directory: str, outside: Outside, hear: Callable[[], None]
) -> list[str]:
    """Return the names that a directory knows, or cannot decide now.

    Asked a few at a time: a directory that is silent costs one time-out, not one for each name.
    `hear` is called at each answer.
    """
    found: list[str] = []
    try:
        connector = outside.connector(directory)
    except ConfigurationError:
        return list(names)  # its secret is missing: that keeps nobody in anywhere else
    most = max(_FEWEST_NAMES, connector.limits.workers)
    for start in range(0, len(names), most):
        try:
            states = connector.observe(names[start : start + most])
        except Unavailable:
            return [*found, *names[start:]]
        hear()
        found += [state.name for state in states if state.exists or state.reason]
    return found


def _canonical(directory: str, name: str, outside: Outside) -> str:
    """Return the only spelling under which an account is known here.

    It does not depend on the person that names the account.
    """
    try:
        return outside.connector(directory).canonical(name) if directory else name
    except ConfigurationError:
        return name  # said by the look before the act


def _directory(account: str, outside: Outside) -> str | None:
    """Return the directory that an account's name begins with, if it is ours."""
    prefix, colon, _ = account.partition(":")
    return prefix if colon and prefix in outside.config.accounts else None
