"""Effects on accounts, in each directory that knows the account.

Rules
- A protected or unknown account, and a directory that cannot do the verb, become refused effects.
- A directory that cannot be read now still gets the effect: it is read again before the act.
"""

from collections.abc import Collection, Sequence
from typing import cast

from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.factory import Outside
from standfast.errors import ConfigurationError, Unavailable, Unsupported
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject, Mode
from standfast.suggestions import known_names_hint
from standfast.usecases.incidents.account_resolution import protected_accounts, resolved_accounts

_UNKNOWN = "no directory knows this account"


def account_effects(
    verb: str, arguments: JsonObject, outside: Outside, *, shows_obstacles: bool
) -> Expansion:
    """Plan one effect for each account, in each directory that knows it."""
    details: JsonObject = {"reason": arguments.get("reason") or ""}
    drafts = []
    resolved = resolved_accounts(cast("Sequence[str]", arguments["accounts"]), outside)
    protected = protected_accounts(outside, {directory for directory, _ in resolved})
    # A live run need not look twice: the lock itself is refused, for the same reason.
    is_read = shows_obstacles and outside.mode is Mode.PLAN
    obstacles, unread = _obstacles(resolved, outside) if is_read else ({}, ())
    for connector, name in resolved:
        target = f"{connector}:{name}"
        refusal = ""
        if not connector:
            refusal = _nowhere(name, outside)
        elif why := protected.get(target.casefold()):
            refusal = f"protected: {why}"
        else:
            try:
                outside.refuse_unsupported(verb, connector)
            except Unsupported as error:
                refusal = str(error)
            except ConfigurationError:
                pass  # said by the look before the act, and no other directory is kept waiting
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


def _nowhere(name: str, outside: Outside) -> str:
    """Say why an account is in no directory."""
    added = outside.added_since("accounts")
    if not outside.config.accounts:
        return added or "there is no directory here to lock it in: add [accounts.NAME]"
    return "; ".join(filter(None, [_known_nowhere(name, outside.config.accounts), added]))


def _known_nowhere(name: str, directories: Collection[str]) -> str:
    """State that no directory knows the account, without naming it.

    It says as well which part may have been mistyped.
    """
    prefix, colon, _ = name.partition(":")
    if colon:
        return f"{_UNKNOWN}, nor is there such a directory; {known_names_hint(prefix, directories)}"
    if "," in name:
        return f"{_UNKNOWN}; if these are several, name each by itself, with a space between"
    return _UNKNOWN


def _obstacles(
    accounts: Sequence[tuple[str, str]], outside: Outside
) -> tuple[dict[tuple[str, str], str], Sequence[str]]:
    """Return the accounts that cannot be locked, and the reason of each.

    Their directory does not know them, or would refuse to lock them.

    And which directories could not be read at all.
    """
    found: dict[tuple[str, str], str] = {}
    unread: list[str] = []
    for directory in dict.fromkeys(directory for directory, _ in accounts if directory):
        names = [name for where, name in accounts if where == directory]
        try:
            states = outside.connector(directory).observe(names)
        except (Unavailable, ConfigurationError) as error:
            unread.append(f"{directory}: each is looked at again before its lock, for now {error}")
            continue
        for state in states:
            # One that could not be read, which has a reason, is looked at again before the act.
            is_absent = not state.exists and not state.reason
            found[directory, state.name] = ABSENT if is_absent else state.obstacle
    return found, unread
