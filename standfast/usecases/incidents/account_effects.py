"""Effects on accounts by directory; protected accounts are refused.

An effect is one act on one target outside Standfast, such as the lock of one account. A directory
is a system that stores accounts, such as OpenLDAP or a database server.

Rules
- An account becomes a refused effect if it is protected, unknown, or in a directory that does not
  support the action.
- An account in a directory that cannot be read now becomes a planned effect: the directory is read
  again before the lock.
"""

from collections.abc import Collection, Sequence
from typing import cast

from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.factory import Adapters
from standfast.errors import ConfigurationError, Unavailable, Unsupported
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject, Mode
from standfast.suggestions import known_names_hint
from standfast.usecases.incidents.account_resolution import protected_accounts, resolved_accounts

_UNKNOWN = "no directory knows this account"


def account_effects(
    verb: str, arguments: JsonObject, adapters: Adapters, *, shows_obstacles: bool
) -> Expansion:
    """Plan one effect for each account, in each directory that knows it.

    With `shows_obstacles`, a plan refuses the accounts that the directory would refuse to lock.
    """
    details: JsonObject = {"reason": arguments.get("reason") or ""}
    drafts = []
    resolved = resolved_accounts(cast("Sequence[str]", arguments["accounts"]), adapters)
    protected = protected_accounts(adapters, {directory for directory, _ in resolved})
    # Only a plan reads the accounts here. When an incident runs, each lock reads its account and is
    # refused if the account has an obstacle.
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
    """Return why an account is unknown, with a hint; omit the account's name."""
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
    does not know it or would refuse the lock.
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
