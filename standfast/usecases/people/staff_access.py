"""Import of a staff list; leavers and their open accounts in directories.

Rules
- A leaver is a former staff member. The import of a list changes only the ledger (the database of
  staff and incidents). For a leaver with open accounts, the playbook `leaver` (the file that
  describes how the accounts are locked) is only planned; a person decides to run it.
- A list that would make most people leavers is refused without confirmation: it may be a truncated
  or empty file.
- Access is checked in every directory (system that stores accounts). A leaver's names are looked up
  also in directories for which the list has no account, because an account that nobody recorded is
  the most likely to stay open.
- A directory that cannot be read is reported. A missing answer is never treated as "no access".
- Names are masked. If a user requests full names, the request is recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from standfast.adapters.accounts import AccountState
from standfast.adapters.factory import Adapters
from standfast.errors import ExitStatus, Refused, StandfastError
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.people.staff_list import Member, StaffChanges, StaffRow
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.records import JsonObject, Mode, timestamp
from standfast.reports.name_masking import mask_word
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import open_incident
from standfast.usecases.people.staff_lists import ListedPerson

LEAVER = "leaver"
_UNCONFIRMED_REMOVALS = 5  # people that a list, if not empty, may remove without confirmation


@dataclass(frozen=True, kw_only=True)
class Access:
    """The answer of one directory about one account of a leaver."""

    account: str  # "directory:name"
    is_listed: bool  # False: the list does not name the account; it may be of another person
    is_open: bool  # somebody can sign in, as far as the directory shows
    problem: str = ""  # why the state of the account is unknown


@dataclass(frozen=True, kw_only=True)
class Leaver:
    """A former staff member, with every account that was found."""

    row: StaffRow
    access: tuple[Access, ...]

    @property
    def still_in(self) -> tuple[Access, ...]:
        return tuple(account for account in self.access if account.is_open)

    @property
    def unclear(self) -> tuple[Access, ...]:
        return tuple(access for access in self.access if access.problem)

    def as_json(self, *, is_masked: bool) -> JsonObject:
        """Return the JSON form."""
        member = self.row.member
        return {
            "list": self.row.source,
            "name": display_name(member, is_masked=is_masked),
            "left_at": _left_at(self.row),
            "still_in": [_account(account, is_masked=is_masked) for account in self.still_in],
            "not_listed": sum(not account.is_listed for account in self.still_in),
            "unclear": [
                {"account": _account(account, is_masked=is_masked), "problem": account.problem}
                for account in self.unclear
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Leavers:
    """All former staff members."""

    everybody: tuple[Leaver, ...]

    @property
    def exit_status(self) -> ExitStatus:
        """PARTIAL while a leaver has access or may have it, else DONE."""
        is_over = not any(leaver.still_in or leaver.unclear for leaver in self.everybody)
        return ExitStatus.DONE if is_over else ExitStatus.PARTIAL


@dataclass(frozen=True, kw_only=True)
class StaffImport:
    """The changes of an import, made or planned."""

    source: str
    changes: StaffChanges
    leaving: tuple[Member, ...]  # people that this list makes leavers
    planned: Mapping[str, str]  # by id of the planned incident: the masked name of the leaver


def import_list(
    installation: Installation,
    source: str,
    listed: Sequence[ListedPerson],
    *,
    is_dry_run: bool,
    is_confirmed: bool,
) -> StaffImport:
    """Import a list; plan `leaver` for leavers with open accounts.

    With `is_dry_run`, return the changes without making them. Raise Refused if the list would make
    most people leavers and `is_confirmed` is False.
    """
    now = installation.clock()
    known_rows = {row.member.key: row for row in installation.ledger.staff.all(source)}
    members = [
        _with_leaving_time(person, known_rows.get(person.member.key), now) for person in listed
    ]
    changes = installation.ledger.staff.compare(source, members)
    known = sum(row.gone_at is None for row in known_rows.values())
    is_odd = len(changes.gone) > max(_UNCONFIRMED_REMOVALS, known // 2) or (
        changes.gone and not listed
    )
    if is_odd and not (is_confirmed or is_dry_run):
        raise Refused(
            f"list {source}: {len(changes.gone)} of {known} people would be gone. Check that the "
            "file is complete with --dry-run; import it anyway with --yes."
        )
    if not is_dry_run:
        changes = installation.ledger.staff.replace_list(source, members, installation.actor, now)
    were_gone = {key for key, row in known_rows.items() if row.has_left(now)}
    leaving = [
        member
        for member in (*changes.gone, *members)
        if member.key not in were_gone and (member in changes.gone or _has_left(member, now))
    ]
    planned = {} if is_dry_run else _plan_leavers(installation, source)
    return StaffImport(source=source, changes=changes, leaving=tuple(leaving), planned=planned)


def leavers(installation: Installation, *, source: str | None = None) -> Leavers:
    """Return all leavers, with the answers of all directories."""
    now = installation.clock()
    gone = [row for row in installation.ledger.staff.all(source) if row.has_left(now)]
    states: dict[str, AccountState | str] = {}
    with closing(installation.reading_adapters()) as adapters:
        names = {id(row): _names(row.member, adapters) for row in gone}
        for directory in adapters.config.accounts:
            wanted = dict.fromkeys(
                name for row in gone for name in names[id(row)].get(directory, ())
            )
            for name, state in _observed(directory, list(wanted), adapters).items():
                states[f"{directory}:{name}"] = state
    return Leavers(
        everybody=tuple(
            Leaver(row=row, access=tuple(_access(row.member, names[id(row)], states)))
            for row in gone
        )
    )


def display_name(member: Member, *, is_masked: bool) -> str:
    """Return a name, masked if requested."""
    if not is_masked:
        return member.full_name
    return " ".join(mask_word(part) for part in member.full_name.split())


def record_personal_data_view(installation: Installation, number: int) -> None:
    """Record in the audit log that somebody saw names."""
    installation.record_event("staff", "staff.viewed", {"count": number})


def _with_leaving_time(person: ListedPerson, before: StaffRow | None, now: datetime) -> Member:
    """Return the member, with a leaving time if the person has left.

    If the list states no time, it is the time of the first import in which the person had left.
    """
    if not person.has_left:
        return person.member
    since = before.member.leaves_at if before else None
    return replace(person.member, leaves_at=since if since and since <= now else now)


def _plan_leavers(installation: Installation, source: str) -> dict[str, str]:
    """Open a plan for each leaver with open accounts and without a plan."""
    planned: dict[str, str] = {}
    for leaver in leavers(installation, source=source).everybody:
        # Unlisted accounts may belong to a namesake: a person decides about them.
        accounts = [
            access.account for access in (*leaver.still_in, *leaver.unclear) if access.is_listed
        ]
        if not accounts:
            continue
        member = leaver.row.member
        about = f"leaver {source} {member.key} {_left_at(leaver.row)}"
        handle = installation.ledger.cipher.handle(INSTALLATION, about)
        opened = open_incident(
            installation,
            LEAVER,
            {"accounts": accounts},
            mode=Mode.PLAN,
            message=TriggerMessage(source=f"staff.{source}"[:64], handle=handle),
        )
        if not opened.has_joined:
            planned[opened.incident] = display_name(member, is_masked=True)
    return planned


def _names(member: Member, adapters: Adapters) -> dict[str, list[str]]:
    """Return the account names to query in each directory.

    They are the names that the list has for this directory, the names that it has for other
    directories, and the mail address.
    """
    inner = [account.partition(":")[2] for account in member.accounts]
    guesses = [*inner, *([member.mail] if member.mail else [])]
    found: dict[str, list[str]] = {}
    for directory in adapters.config.accounts:
        canonical: Callable[[str], str] = str.casefold
        with suppress(StandfastError):  # the query itself reports a missing secret
            canonical = adapters.connector(directory).canonical
        found[directory] = list(
            dict.fromkeys(map(canonical, [*_listed_names(member, directory), *guesses]))
        )
    return found


def _listed_names(member: Member, directory: str) -> list[str]:
    pairs = (account.partition(":") for account in member.accounts)
    return [name for where, _, name in pairs if where == directory]


def _observed(
    directory: str, names: Sequence[str], adapters: Adapters
) -> dict[str, AccountState | str]:
    """Return the state of each account, or the reason why it is unknown."""
    if not names:
        return {}
    try:
        states = adapters.connector(directory).observe(names)
    except StandfastError as error:
        return dict.fromkeys(names, str(error))
    return {
        state.name: state.reason if state.reason and not state.exists else state for state in states
    }


def _access(
    member: Member, names: Mapping[str, Sequence[str]], states: Mapping[str, AccountState | str]
) -> list[Access]:
    found: list[Access] = []
    for directory, asked in names.items():
        listed = {name.casefold() for name in _listed_names(member, directory)}
        for number, name in enumerate(asked):
            account, state = f"{directory}:{name}", states.get(f"{directory}:{name}")
            is_listed = name.casefold() in listed
            if isinstance(state, str):
                # If the list has no account of the person for this directory, report the error of
                # the directory once, and not for each name that was looked up.
                if is_listed or (not listed and number == 0):
                    found.append(
                        Access(account=account, is_listed=is_listed, is_open=False, problem=state)
                    )
            elif state is not None and state.exists:
                found.append(
                    Access(
                        account=account, is_listed=is_listed, is_open=state.is_enabled is not False
                    )
                )
    return found


def _has_left(member: Member, now: datetime) -> bool:
    return member.leaves_at is not None and member.leaves_at <= now


def _left_at(row: StaffRow) -> str:
    moment = row.member.leaves_at or row.gone_at
    return timestamp(moment) if moment else ""


def _account(access: Access, *, is_masked: bool) -> str:
    directory, _, name = access.account.partition(":")
    return f"{directory}:{mask_word(name)}" if is_masked else access.account
