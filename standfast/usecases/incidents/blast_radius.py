"""Daily limits of locks by one person, and warnings of locked approvers.

An effect is one act on one target, such as the lock of one account. The ledger (the database of
incidents) records each effect.

Rules
- One limit applies to the whole installation, other limits to single directories (systems that
  store accounts). A step over a limit needs a second person. The step then states the reason: the
  number of accounts, and the limit.
- A configured command or HTTP request with an account parameter counts as a lock. The setting
  `account_of` of the parameter names the system of the account.
- New passwords and ended sessions count as locks: applied to everybody, they stop all work.
- An account counts once, even if several effects concern it.
- The locks of the last day without an approval are added to those of the step. Failed locks are
  added too. Otherwise many small incidents together could lock everybody out.
- A plan warns of enrolled people (registered approvers) whose own accounts would be locked: they
  could lock themselves out, and a locked approver cannot approve.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from standfast.adapters.factory import SECTIONS
from standfast.adapters.procedures.parameters import parameters_of
from standfast.config import Config
from standfast.ledger import Ledger
from standfast.ledger.effects.recent_locks import KEEPS_OUT, RecentLocks
from standfast.ledger.people.enrolment import Person
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.planned_effects import Draft
from standfast.plurals import counted
from standfast.records import EffectState, Json, Mode


@dataclass(frozen=True, kw_only=True)
class LockedAccounts:
    """Locked accounts that count towards the limits.

    The ledger stores a handle, a keyed hash, in place of the name of an account.
    """

    handles: Mapping[str, Set[str]] = field(default_factory=dict)  # by directory
    handle_of: Callable[[str], str] = str  # returns the handle of a target


NO_LOCKS = LockedAccounts()


def locked_today(
    ledger: Ledger,
    mode: Mode,
    now: datetime,
    config: Config,
    *,
    excluded_step: tuple[str, str] | None = None,
) -> RecentLocks:
    """Return the locks of the last day that were made without approval.

    The locks of the step `excluded_step` (incident, name) are omitted.
    """
    began = now - timedelta(days=1)
    return ledger.effects.locked_lately(
        began, mode, procedures=[*_systems(config)], excluded_step=excluded_step
    )


def by_directory(locked: RecentLocks, ledger: Ledger, config: Config) -> LockedAccounts:
    """Return the locks by directory, or by the system of a command or request."""
    systems = _systems(config)
    found: dict[str, set[str]] = {}
    for name, handles in locked.by_connector.items():
        found.setdefault(systems.get(name, name), set()).update(handles)
    return LockedAccounts(
        handles=found, handle_of=lambda target: ledger.cipher.handle(INSTALLATION, target)
    )


def accounts_of(config: Config, procedure: str, parameters: Mapping[str, Json]) -> list[str]:
    """Return the accounts in the parameters of a command or request.

    Each account has the form `SYSTEM:ACCOUNT`.
    """
    section, _, name = procedure.partition(".")
    called = getattr(config, section).get(name)
    declared = {} if called is None else called.parameters
    return [
        f"{parameter.account_of}:{parameters[key]}"
        for key, parameter in declared.items()
        if parameter.account_of and parameters.get(key) is not None
    ]


def _systems(config: Config) -> dict[str, str]:
    """Map each command or request that locks accounts to its system."""
    return {
        f"{section}.{name}": parameter.account_of
        for section in SECTIONS
        for name, called in getattr(config, section).items()
        for parameter in called.parameters.values()
        if parameter.account_of
    }


def over_limit(drafts: Sequence[Draft], locked: LockedAccounts, config: Config) -> str:
    """Describe the limit that planned effects and `locked` exceed, or ""."""
    limits, new = config.limits, _locked_targets(drafts, config)
    if not new:
        return ""
    both = with_planned(locked, drafts, config).handles
    count, most = sum(map(len, both.values())), limits.accounts_without_second_person
    if count > most:
        return _limit_sentence(count, "", most)
    for name in new:
        most_there = limits.accounts_by_directory.get(name)
        if most_there is not None and len(both[name]) > most_there:
            return _limit_sentence(len(both[name]), f" in {name}", most_there)
    return ""


def with_planned(locked: LockedAccounts, drafts: Sequence[Draft], config: Config) -> LockedAccounts:
    """Return `locked` plus the planned locks of a step that needs no approval."""
    both = {name: set(handles) for name, handles in locked.handles.items()}
    for name, targets in _locked_targets(drafts, config).items():
        both.setdefault(name, set()).update(map(locked.handle_of, targets))
    return replace(locked, handles=both)


def would_lock(drafts: Sequence[Draft], config: Config) -> bool:
    """Return whether these effects would lock an account."""
    return bool(_locked_targets(drafts, config))


def _locked_targets(drafts: Sequence[Draft], config: Config) -> Mapping[str, Set[str]]:
    """Return the targets that these effects would lock, by directory."""
    systems = _systems(config)
    found: dict[str, set[str]] = {}
    for draft in drafts:
        is_counted = draft.verb in KEEPS_OUT or draft.connector in systems
        if draft.state is EffectState.PLANNED and is_counted:
            name = systems.get(draft.connector, draft.connector)
            found.setdefault(name, set()).add(draft.target)
    return found


def owners_of(drafts: Sequence[Draft], people: Sequence[Person], config: Config) -> list[str]:
    """Return the sign-in names of the people with accounts to be locked."""
    planned = [draft for draft in drafts if draft.state is EffectState.PLANNED]
    targets = {draft.target.casefold() for draft in planned if draft.verb == LOCK}
    for draft in planned:
        if draft.connector.partition(".")[0] in SECTIONS:
            named = accounts_of(config, draft.connector, parameters_of(draft.details))
            targets |= {account.casefold() for account in named}
    return [
        person.name
        for person in people
        if any(account.casefold() in targets for account in person.accounts)
    ]


def warnings(names: Sequence[str], step: str, opened_by: str | None) -> list[str]:
    """Return a warning for each enrolled person that a step would lock."""
    return [
        f"step {step} locks an account of {name}, "
        + (
            "who opens it"
            if name == opened_by
            else f"who is enrolled here; {name} can then approve nothing in this incident"
        )
        for name in names
    ]


def _limit_sentence(count: int, where: str, most: int) -> str:
    return (
        f"{counted(count, 'account')}{where} within a day; more than {most:,} need a second person"
    )
