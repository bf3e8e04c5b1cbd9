"""Limits of locking without a second person, and the people concerned.

The people are those whose accounts a plan would touch.

Rules
- Two limits: of the whole incident, and of single directories. Over either, a second person is
  needed for the step; its reason says which limit, and how many.
- A call of a command or a request that names an account (`account_of`) counts as a lock there.
- New passwords and ended sessions count as locks do: of everybody at once, nobody works on.
- An account counts once, whatever is done to it: one that is signed out and then locked is one.
- What steps of the last day lock without having asked counts too, also where it failed, or many
  small incidents would lock everybody out. What was added to a step is counted by the step itself.
- A plan warns, by sign-in name, of people of this place whose own accounts would be locked: whoever
  opens it could lock themselves out, and an approver who is locked approves nothing.
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
    """Accounts that are locked already and count: handles by directory."""

    handles: Mapping[str, Set[str]] = field(default_factory=dict)
    handle_of: Callable[[str], str] = str  # gives the handle of a target


NOBODY = LockedAccounts()


def locked_today(
    ledger: Ledger,
    mode: Mode,
    now: datetime,
    config: Config,
    *,
    beside: tuple[str, str] | None = None,
) -> RecentLocks:
    """Return the locks of the last day that were made without approval.

    Those of one step are left out.

    `beside` is that step: its incident and its name.
    """
    began = now - timedelta(days=1)
    return ledger.effects.locked_lately(began, mode, called=[*_systems(config)], beside=beside)


def by_directory(locked: RecentLocks, ledger: Ledger, config: Config) -> LockedAccounts:
    """Return the locks by directory and by system of calls."""
    systems = _systems(config)
    found: dict[str, set[str]] = {}
    for name, handles in locked.by_connector.items():
        found.setdefault(systems.get(name, name), set()).update(handles)
    return LockedAccounts(
        handles=found, handle_of=lambda target: ledger.cipher.handle(INSTALLATION, target)
    )


def accounts_of(config: Config, procedure: str, parameters: Mapping[str, Json]) -> list[str]:
    """Return the accounts that a call names, as `SYSTEM:ACCOUNT`.

    Most calls name none.
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
    """Return the system of the locked accounts, by command or request."""
    return {
        f"{section}.{name}": parameter.account_of
        for section in SECTIONS
        for name, called in getattr(config, section).items()
        for parameter in called.parameters.values()
        if parameter.account_of
    }


def over_limit(drafts: Sequence[Draft], locked: LockedAccounts, config: Config) -> str:
    """Return the limit that these locks would exceed, or nothing.

    The accounts in `locked` count as well.
    """
    limits, new = config.limits, _kept_out(drafts, config)
    if not new:
        return ""
    both = with_planned(locked, drafts, config).handles
    count, most = sum(map(len, both.values())), limits.accounts_without_second_person
    if count > most:
        return _said(count, "", most)
    for name in new:
        most_there = limits.accounts_by_directory.get(name)
        if most_there is not None and len(both[name]) > most_there:
            return _said(len(both[name]), f" in {name}", most_there)
    return ""


def with_planned(locked: LockedAccounts, drafts: Sequence[Draft], config: Config) -> LockedAccounts:
    """Return `locked` with the locks of a step that asks nobody."""
    both = {name: set(handles) for name, handles in locked.handles.items()}
    for name, targets in _kept_out(drafts, config).items():
        both.setdefault(name, set()).update(map(locked.handle_of, targets))
    return replace(locked, handles=both)


def keeps_out(drafts: Sequence[Draft], config: Config) -> bool:
    """Would these keep anybody out of an account?"""
    return bool(_kept_out(drafts, config))


def _kept_out(drafts: Sequence[Draft], config: Config) -> Mapping[str, Set[str]]:
    """Give the targets that these would keep anybody out of, by directory."""
    systems = _systems(config)
    found: dict[str, set[str]] = {}
    for draft in drafts:
        is_counted = draft.verb in KEEPS_OUT or draft.connector in systems
        if draft.state is EffectState.PLANNED and is_counted:
            name = systems.get(draft.connector, draft.connector)
            found.setdefault(name, set()).add(draft.target)
    return found


def whose(drafts: Sequence[Draft], people: Sequence[Person], config: Config) -> list[str]:
    """Return the sign-in names of people with own accounts among these."""
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
    """Warn if a step would lock accounts of people of this installation."""
    found: list[str] = []
    for name in names:
        if name == opened_by:
            found.append(f"step {step} locks an account of {name}, who opens it")
        else:
            found.append(
                f"step {step} locks an account of {name}, who is enrolled here; {name} can then "
                "approve nothing in this incident"
            )
    return found


def _said(count: int, where: str, most: int) -> str:
    return (
        f"{counted(count, 'account')}{where} within a day; more than {most:,} need a second person"
    )
