"""Who works here, who has left, and who of them still gets in somewhere.

Rules
- Taking a list changes the ledger and nothing outside. A leaver whose accounts still let anybody in
  is planned for the `leaver` playbook: a person carries it out.
- A list that would make most people leavers is refused unless it is meant: half a file looks so,
  and so does one that is empty.
- Whether somebody still gets in is asked of every directory, also for names that the list does not
  give: the account that nobody wrote down is the one that stays.
- A directory that cannot be read is said; it is never taken for "no access".
- Names are masked unless they are asked for, and then the look is noted.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from standfast.adapters.accounts import AccountState
from standfast.adapters.factory import Outside
from standfast.errors import ExitStatus, Refused, StandfastError
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.people.staff_list import Member, StaffChanges, StaffRow
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.records import JsonObject, Mode, timestamp
from standfast.reports.name_masking import mask_word
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import open_incident
from standfast.usecases.people.staff_lists import Listed

LEAVER = "leaver"
_FEW = 5  # so many may be gone without a question, from any list that names somebody


@dataclass(frozen=True, kw_only=True)
class Access:
    """What one directory says about one account of a leaver."""

    account: str  # "directory:name"
    is_listed: bool  # False: nobody wrote it down, and it was found by its name
    is_open: bool  # it lets somebody in, as far as the directory says
    problem: str = ""  # why nobody can say


@dataclass(frozen=True, kw_only=True)
class Leaver:
    """Somebody who has left, and every account that was found."""

    row: StaffRow
    access: tuple[Access, ...]

    @property
    def still_in(self) -> tuple[Access, ...]:
        return tuple(one for one in self.access if one.is_open)

    @property
    def unclear(self) -> tuple[Access, ...]:
        return tuple(one for one in self.access if one.problem)

    def as_json(self, *, is_masked: bool) -> JsonObject:
        """Give it for `--json`."""
        member = self.row.member
        return {
            "list": self.row.source,
            "name": shown(member, is_masked=is_masked),
            "left_at": _left_at(self.row),
            "still_in": [_account(one, is_masked=is_masked) for one in self.still_in],
            "not_listed": sum(not one.is_listed for one in self.still_in),
            "unclear": [
                {"account": _account(one, is_masked=is_masked), "problem": one.problem}
                for one in self.unclear
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Leavers:
    """Everybody who has left."""

    everybody: tuple[Leaver, ...]

    @property
    def exit_status(self) -> ExitStatus:
        """PARTIAL while somebody still gets in, or nobody can say."""
        is_over = not any(one.still_in or one.unclear for one in self.everybody)
        return ExitStatus.DONE if is_over else ExitStatus.PARTIAL


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What taking a list changed, or would change."""

    source: str
    changes: StaffChanges
    leaving: tuple[Member, ...]  # who has left, or is gone, by this list and was not before
    planned: Mapping[str, str]  # incident → masked name


def take(
    installation: Installation,
    source: str,
    listed: Sequence[Listed],
    *,
    is_dry: bool,
    is_meant: bool,
) -> Taken:
    """Take a list over, and plan the leavers in it who still get in somewhere.

    With `is_dry` nothing is changed and nobody planned. Raises Refused when most people would be
    gone and it is not meant.
    """
    now = installation.clock()
    there = {row.member.key: row for row in installation.ledger.staff.all(source)}
    members = [_settled(one, there.get(one.member.key), now) for one in listed]
    changes = installation.ledger.staff.compare(source, members)
    known = sum(row.gone_at is None for row in there.values())
    is_odd = len(changes.gone) > max(_FEW, known // 2) or (changes.gone and not listed)
    if is_odd and not (is_meant or is_dry):
        raise Refused(
            f"{len(changes.gone)} of {known} people would be gone from the list {source}: is it "
            "whole? Look with --dry-run; --yes takes it all the same"
        )
    if not is_dry:
        changes = installation.ledger.staff.take(source, members, installation.actor, now)
    were_gone = {key for key, row in there.items() if row.has_left(now)}
    leaving = [
        one
        for one in (*changes.gone, *members)
        if one.key not in were_gone and (one in changes.gone or _has_left(one, now))
    ]
    planned = {} if is_dry else _plan_leavers(installation, source)
    return Taken(source=source, changes=changes, leaving=tuple(leaving), planned=planned)


def leavers(installation: Installation, *, source: str | None = None) -> Leavers:
    """Ask every directory about everybody who has left."""
    now = installation.clock()
    gone = [row for row in installation.ledger.staff.all(source) if row.has_left(now)]
    states: dict[str, AccountState | str] = {}
    with closing(installation.reader()) as outside:
        names = {id(row): _names(row.member, outside) for row in gone}
        for directory in outside.config.accounts:
            wanted = dict.fromkeys(one for row in gone for one in names[id(row)].get(directory, ()))
            for name, state in _observed(directory, list(wanted), outside).items():
                states[f"{directory}:{name}"] = state
    return Leavers(
        everybody=tuple(
            Leaver(row=row, access=tuple(_access(row.member, names[id(row)], states)))
            for row in gone
        )
    )


def shown(member: Member, *, is_masked: bool) -> str:
    """Give a name as it may be shown."""
    if not is_masked:
        return member.full_name
    return " ".join(mask_word(part) for part in member.full_name.split())


def record_personal_data_view(installation: Installation, number: int) -> None:
    """Note that somebody looked at names."""
    with installation.ledger.database.write(
        actor=installation.actor,
        subject="staff",
        action="staff.viewed",
        now=installation.clock(),
        detail={"count": number},
    ):
        pass  # the event is all there is to write


def _settled(one: Listed, before: StaffRow | None, now: datetime) -> Member:
    """Give somebody who has left without a date the moment at which that was seen first."""
    if not one.has_left:
        return one.member
    since = before.member.leaves_at if before else None
    return replace(one.member, leaves_at=since if since and since <= now else now)


def _plan_leavers(installation: Installation, source: str) -> dict[str, str]:
    """Open a plan for each leaver who still gets in; one who has a plan gets no other."""
    planned: dict[str, str] = {}
    for one in leavers(installation, source=source).everybody:
        # What the list does not name may be somebody else's of the same name: a person looks.
        accounts = [access.account for access in (*one.still_in, *one.unclear) if access.is_listed]
        if not accounts:
            continue
        member = one.row.member
        about = f"leaver {source} {member.key} {_left_at(one.row)}"
        handle = installation.ledger.cipher.handle(INSTALLATION, about)
        opened = open_incident(
            installation,
            LEAVER,
            {"accounts": accounts},
            mode=Mode.PLAN,
            message=TriggerMessage(source=f"staff.{source}"[:64], handle=handle),
        )
        if not opened.has_joined:
            planned[opened.incident] = shown(member, is_masked=True)
    return planned


def _names(member: Member, outside: Outside) -> dict[str, list[str]]:
    """Give every name to ask each directory for: those listed there, and those used elsewhere."""
    inner = [account.partition(":")[2] for account in member.accounts]
    guesses = [*inner, *([member.mail] if member.mail else [])]
    found: dict[str, list[str]] = {}
    for directory in outside.config.accounts:
        canonical: Callable[[str], str] = str.casefold
        with suppress(StandfastError):  # its secret is missing: said when it is asked
            canonical = outside.connector(directory).canonical
        found[directory] = list(
            dict.fromkeys(map(canonical, [*_listed(member, directory), *guesses]))
        )
    return found


def _listed(member: Member, directory: str) -> list[str]:
    pairs = (account.partition(":") for account in member.accounts)
    return [name for where, _, name in pairs if where == directory]


def _observed(
    directory: str, names: Sequence[str], outside: Outside
) -> dict[str, AccountState | str]:
    """Give each account's state, or why it cannot be told."""
    if not names:
        return {}
    try:
        states = outside.connector(directory).observe(names)
    except StandfastError as error:
        return dict.fromkeys(names, str(error))
    return {
        state.name: state.reason if state.reason and not state.exists else state for state in states
    }


def _access(
    member: Member,
    names: Mapping[str, Sequence[str]],
    states: Mapping[str, AccountState | str],
) -> list[Access]:
    found: list[Access] = []
    for directory, asked in names.items():
        listed = {name.casefold() for name in _listed(member, directory)}
        for number, name in enumerate(asked):
            account, state = f"{directory}:{name}", states.get(f"{directory}:{name}")
            is_listed = name.casefold() in listed
            if isinstance(state, str):
                if is_listed or (not listed and number == 0):  # once, of a directory that is away
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


def _account(one: Access, *, is_masked: bool) -> str:
    directory, _, name = one.account.partition(":")
    return f"{directory}:{mask_word(name)}" if is_masked else one.account
