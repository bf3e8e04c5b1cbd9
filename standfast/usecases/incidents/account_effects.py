"""Effects on accounts: their directories; refusal of protected accounts.

An effect is one act on one target outside Standfast, such as the lock of one account. A directory
is a system that stores accounts, such as OpenLDAP or a database server. A protected account is an
account that no playbook may lock.

Rules
- The effect on an account is planned as refused if the account is protected, if no directory
  contains it, or if its directory does not support the action.
- `DIRECTORY:NAME` means the account of one directory. A name without a directory means the account
  in every directory that contains it.
- If a directory cannot be read now, the effect is planned as if the directory contained the
  account. Before the lock, the directory is read again. The lock is refused if the account does not
  exist.
- A name is converted to the spelling of its directory before it is compared with the protected
  accounts. Otherwise a protected account could be locked under another spelling.
- Directories are read in parallel. A directory that does not answer for a few seconds is treated as
  unreadable, so that it does not delay locks in the other directories.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import cast

from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.factory import Adapters
from standfast.errors import ConfigurationError, Unavailable, Unsupported
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject, Mode
from standfast.suggestions import known_names_hint

SILENT_SECONDS = 3.0
_TICK_SECONDS = 0.05
_FEWEST_NAMES = 16  # the smallest batch of one request to a directory


def resolved_accounts(accounts: Sequence[str], adapters: Adapters) -> list[tuple[str, str]]:
    """Return (directory, name) for each account.

    The directory is "" if no directory contains the account.
    """
    bare = [name for name in accounts if _directory(name, adapters) is None]
    known: dict[str, list[str]] = {name: [] for name in bare}
    for directory, names in _names_by_directory(bare, adapters).items() if bare else ():
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
    """Return the protected accounts of these directories, with the reasons.

    Each key is the canonical form that `key_of` returns. The caller passes only the directories
    that it needs, because a connection to another directory can take longer than the lock.
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
    # Otherwise the prefix names a system whose accounts are locked by a configured command or HTTP
    # request. Standfast has no adapter that could return its spelling of a name.
    if where in adapters.config.accounts:
        name = _canonical(where, name, adapters)
    return f"{where}{colon}{name}".casefold()


def _names_by_directory(names: Sequence[str], adapters: Adapters) -> dict[str, list[str]]:
    """Query all directories in parallel; return the names each may contain."""
    directories = list(adapters.config.accounts)
    last_answer_at = dict.fromkeys(directories, time.monotonic())

    def on_answer(directory: str) -> None:
        last_answer_at[directory] = time.monotonic()

    if not directories:
        return {}
    pool = ThreadPoolExecutor(len(directories), thread_name_prefix="resolve")
    directory_by_call = {
        pool.submit(
            _perhaps_known, names, directory, adapters, partial(on_answer, directory)
        ): directory
        for directory in directories
    }
    left = set(directory_by_call)
    while left:
        _, left = wait(left, timeout=_TICK_SECONDS, return_when="FIRST_COMPLETED")
        left = {
            call
            for call in left
            if time.monotonic() - last_answer_at[directory_by_call[call]] < SILENT_SECONDS
        }
    pool.shutdown(wait=False)  # a call without an answer ends at its own time-out
    return {
        directory: call.result() if call.done() else list(names)
        for call, directory in directory_by_call.items()
    }


def _perhaps_known(
    names: Sequence[str], directory: str, adapters: Adapters, on_answer: Callable[[], None]
) -> list[str]:
    """Return the names that a directory contains or cannot look up now.

    The names are sent in batches. If a batch fails because the directory is unavailable, its names
    and all later names are returned too, and no further batch is sent. `on_answer` is called after
    each answer.
    """
    found: list[str] = []
    try:
        connector = adapters.connector(directory)
    except ConfigurationError:
        return list(names)  # for example, the secret of the directory is missing
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
    """Return the configured directory before the colon of a name, or None."""
    prefix, colon, _ = account.partition(":")
    return prefix if colon and prefix in adapters.config.accounts else None


_UNKNOWN = "no directory knows this account"


def account_effects(
    verb: str, arguments: JsonObject, adapters: Adapters, *, shows_obstacles: bool
) -> Expansion:
    """Plan one effect for each account, in each directory that contains it.

    With `shows_obstacles` in plan mode, the effect is also planned as refused if the directory
    would refuse the lock.
    """
    details: JsonObject = {"reason": arguments.get("reason") or ""}
    drafts = []
    resolved = resolved_accounts(cast("Sequence[str]", arguments["accounts"]), adapters)
    protected = protected_accounts(adapters, {directory for directory, _ in resolved})
    # Read the accounts here only in plan mode. In the other modes, the account is read before each
    # lock, and the lock is refused if the account has an obstacle.
    is_read = shows_obstacles and adapters.mode is Mode.PLAN
    obstacles, unread = _obstacles(resolved, adapters) if is_read else ({}, ())
    for connector, name in resolved:
        target = f"{connector}:{name}"
        refusal = ""
        if not connector:
            refusal = _reason_without_directory(name, adapters)
        elif why := protected.get(target.casefold()):
            refusal = f"protected: {why}"
        else:
            try:
                adapters.refuse_unsupported(verb, connector)
            except Unsupported as error:
                refusal = str(error)
            except ConfigurationError:
                pass  # the directory cannot be used now; the error is reported before the lock
            refusal = refusal or obstacles.get((connector, name), "")
        drafts.append(
            Draft(
                verb=verb,
                connector=connector,
                target=target,
                details=details,
                state=EffectState.REFUSED if refusal else EffectState.PLANNED,
                reason=refusal,
            )
        )
    return Expansion(drafts=tuple(drafts), reason="; ".join(unread))


def _reason_without_directory(name: str, adapters: Adapters) -> str:
    """Return why no directory was found for an account."""
    added = adapters.added_since("accounts")
    if not adapters.config.accounts:
        return added or "no directory is configured: add [accounts.NAME]"
    return "; ".join(filter(None, [_reason_if_unknown(name, adapters.config.accounts), added]))


def _reason_if_unknown(name: str, directories: Collection[str]) -> str:
    """Return why an account is unknown, with a hint.

    The reason omits the account's name, because reasons contain no personal data.
    """
    prefix, colon, _ = name.partition(":")
    if colon:
        return (
            f"{_UNKNOWN}, and no directory has that name; {known_names_hint(prefix, directories)}"
        )
    if "," in name:
        return f"{_UNKNOWN}; separate several accounts by spaces"
    return _UNKNOWN


def _obstacles(
    accounts: Sequence[tuple[str, str]], adapters: Adapters
) -> tuple[dict[tuple[str, str], str], Sequence[str]]:
    """Return why accounts cannot be locked; name the unreadable directories.

    The reason is "" for an account that can be locked. An account cannot be locked if its directory
    does not contain it or would refuse the lock.
    """
    found: dict[tuple[str, str], str] = {}
    unread: list[str] = []
    for directory in dict.fromkeys(directory for directory, _ in accounts if directory):
        names = [name for where, name in accounts if where == directory]
        try:
            states = adapters.connector(directory).observe(names)
        except (Unavailable, ConfigurationError) as error:
            unread.append(
                f"{directory}: cannot be read now; it is read again before each lock: {error}"
            )
            continue
        for state in states:
            # `reason` is set only for an unreadable account, which is read again before its lock.
            is_absent = not state.exists and not state.reason
            found[directory, state.name] = ABSENT if is_absent else state.obstacle
    return found, unread
