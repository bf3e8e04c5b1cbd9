"""Reading who works here: from a file, from a SCIM directory, from an LDAP directory.

Owns the shape of each list. Leaves what a list changes to `staff`, and keeping it to the ledger.

Rules
- A file is taken whole or not at all: every line that does not fit is named, by number and column,
  without what stands in it.
- A column that is not known is an error: with a mistyped `accounts` nobody would have any.
- A directory's roles (SCIM) and groups (`memberOf` in LDAP) are roles, written as ours are; what
  cannot be written so is none.
- Who is `active: false`, or disabled, has left; since when, the directory does not say. A lock that
  runs out by itself disables nobody: whoever guesses at passwords would make leavers of all.
- Nothing is written anywhere but here.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from standfast.adapters.accounts.scim.user_list import list_users
from standfast.config import Config
from standfast.config.sections.account_servers import ActiveDirectoryConfig, OpenldapDirectoryConfig
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.errors import (
    ConfigurationError,
    FileInvalid,
    Problem,
    Unavailable,
    UsageError,
)
from standfast.http_client import HttpClient
from standfast.ledger.people.staff_list import Member
from standfast.notices.mail_addresses import parse_address
from standfast.records import meant
from standfast.secrets import Reveal
from standfast.spreadsheet_csv import CsvRows

COLUMNS = ("key", "name", "mail", "phone", "accounts", "roles", "left")
_REQUIRED = ("key", "name")
_LISTS = ("accounts", "roles")
_LARGEST_FILE_BYTES = 64 * 1024 * 1024
_MOST_PROBLEMS = 50
_LONGEST = 320
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LOCKED_FOR_GOOD = b"000001010000Z"  # in OpenLDAP's pwdAccountLockedTime
_ACCOUNT_DISABLED = 0x2  # userAccountControl, of Active Directory


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One person of a list; `has_left` without a date where the list tells no date."""

    member: Member
    has_left: bool = False


def read_csv(path: Path, config: Config, names: Mapping[str, str]) -> list[Listed]:
    """Read a CSV file with a header; `names` maps our columns to the file's where they differ.

    Encodings and separators as `spreadsheet_csv` says. Several accounts or roles in one field stand
    with `;`, spaces or line ends between. `left` is a day, whose end in the organisation's time
    zone counts, or a time with its zone. Raises FileInvalid with every line that does not fit.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise UsageError(f"{path} is larger than 64 MiB; is it the right file?")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    problems: list[Problem] = []
    found: list[Listed] = []
    seen: dict[str, int] = {}
    rows: CsvRows | None = None
    try:
        rows = CsvRows(io.BytesIO(content))
        places = _places(path, next(rows, []), names)
        before = rows.line
        for row in rows:
            line, before = before + 1, rows.line  # a field may hold line ends
            if not any(row):
                continue
            if len(row) != places["width"]:
                problems.append(_problem(path, line, "has not as many fields as the first line"))
                continue
            given = {ours: row[place].strip() for ours, place in places.items() if ours != "width"}
            try:
                one = _member(given, config)
            except ValueError as error:
                problems.append(_problem(path, line, str(error)))
                continue
            earlier = seen.setdefault(one.member.key, line)
            if earlier != line:
                problems.append(_problem(path, line, f"key: stands on line {earlier} already"))
            found.append(one)
    except UnicodeError:
        raise UsageError(
            f"{path} is neither UTF-8 nor UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from None
    except csv.Error:
        line = rows.line if rows else 1
        problems.append(_problem(path, line, "a quote is not closed or not doubled"))
    if problems:
        raise FileInvalid(problems[:_MOST_PROBLEMS])
    return found


def read_scim(name: str, config: Config, reveal: Reveal) -> list[Listed]:
    """Read everybody of a SCIM directory, page by page; `name` is its name in the configuration."""
    settings = config.accounts[name]
    if not isinstance(settings, ScimDirectoryConfig):
        raise UsageError(f"accounts.{name} is no SCIM directory; it is a {settings.kind}")
    http = HttpClient(
        verify_tls=settings.verify_tls, ca_file=settings.ca_file, workers=settings.workers
    )
    try:
        users = list_users(name, settings.url, reveal(settings.token), http)
    finally:
        http.close()
    return [_scim_member(name, user) for user in users]


def read_ldap(name: str, config: Config, reveal: Reveal) -> list[Listed]:
    """Read everybody of an LDAP directory that its `filter` lets through."""
    from standfast.adapters.accounts.base.ldap_connector import server_of
    from standfast.adapters.clients.ldap.client import LdapEntry, explained, own_name, sign_in

    settings = config.accounts[name]
    if not isinstance(settings, OpenldapDirectoryConfig | ActiveDirectoryConfig):
        raise UsageError(f"accounts.{name} is no LDAP directory; it is a {settings.kind}")
    server = server_of(settings, reveal)
    wanted = [
        *(server.attribute, "displayName", "cn", "mail", "telephoneNumber", "mobile"),
        *("memberOf", "userAccountControl", "pwdAccountLockedTime"),
    ]

    def person(entry: LdapEntry) -> Listed | None:
        account = own_name(entry, server.attribute)
        if not account:
            return None
        controls = entry.texts("userAccountControl")
        is_disabled = any(
            text.isdigit() and int(text) & _ACCOUNT_DISABLED for text in controls
        ) or _LOCKED_FOR_GOOD in entry.values("pwdAccountLockedTime")
        return Listed(
            member=Member(
                key=account.casefold(),
                full_name=_first(entry.texts("displayName"), entry.texts("cn"), [account]),
                mail=_first(entry.texts("mail"), [""]),
                phone=_first(entry.texts("telephoneNumber"), entry.texts("mobile"), [""]),
                accounts=(f"{name}:{account.casefold()}",),
                roles=_roles(map(_group, entry.texts("memberOf"))),
            ),
            has_left=is_disabled,
        )

    try:
        connection = sign_in(server, settings.timeout_seconds)
        try:
            entries = connection.search(server.base, server.filter, wanted)
        finally:
            connection.close()
    except Exception as error:
        if isinstance(error, Unavailable | ConfigurationError):
            raise
        if known := explained(error, server):
            raise known from None
        # The library's own text may quote a name.
        raise Unavailable(
            f"directory {name!r} could not be listed: {type(error).__name__}"
        ) from None
    found = [person(entry) for entry in entries]
    return [one for one in found if one is not None]


def _places(path: Path, header: Sequence[str], names: Mapping[str, str]) -> dict[str, int]:
    theirs = {names.get(ours, ours): ours for ours in COLUMNS}
    stripped = [column.strip() for column in header]
    problems = [
        _problem(path, 1, f"there is no column for `{ours}`; name it: --column {ours}=THEIRS")
        for ours in _REQUIRED
        if names.get(ours, ours) not in stripped
    ]
    # By number: in a file without a header, it is the first person.
    problems += [
        _problem(
            path,
            1,
            f"column {number} is not known; the columns are {', '.join(COLUMNS)}, and "
            "--column OURS=THEIRS names one of yours; take out what is not needed",
        )
        for number, column in enumerate(stripped, 1)
        if column not in theirs
    ]
    if len(set(stripped)) != len(stripped):
        problems.append(_problem(path, 1, "a column stands twice"))
    if problems:
        raise FileInvalid(problems)
    return {theirs[column]: place for place, column in enumerate(stripped)} | {
        "width": len(stripped)
    }


def _member(given: Mapping[str, str], config: Config) -> Listed:
    for column, value in given.items():
        if len(value) > _LONGEST * (10 if column in _LISTS else 1):
            raise ValueError(f"{column}: is too long")
        if not (" ".join(value.split()) if column in _LISTS else value).isprintable():
            raise ValueError(f"{column}: holds control characters")
    for column in _REQUIRED:
        if not given[column]:
            raise ValueError(f"{column}: is empty")
    mail = given.get("mail", "")
    if mail:
        try:
            parse_address(mail)
        except ValueError:
            raise ValueError("mail: is no mail address") from None
    roles = sorted(set(_several(given.get("roles", ""))))
    if not all(_ROLE.fullmatch(role) for role in roles):
        raise ValueError("roles: a role is written like duty-manager")
    accounts = list(dict.fromkeys(_several(given.get("accounts", ""))))
    for account in accounts:
        directory, colon, inner = account.partition(":")
        if not colon or not inner or directory not in config.accounts:
            there = ", ".join(config.accounts) or "none"
            raise ValueError(f"accounts: DIRECTORY:ACCOUNT; the directories here are: {there}")
    return Listed(
        member=Member(
            key=given["key"],
            full_name=given["name"],
            mail=mail,
            phone=given.get("phone", ""),
            accounts=tuple(accounts),
            roles=tuple(roles),
            leaves_at=_leaves_at(given.get("left", ""), config),
        )
    )


def _leaves_at(text: str, config: Config) -> datetime | None:
    """Read a day or a time; of a day its end counts, where the organisation is."""
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            day = datetime.fromisoformat(text).date() + timedelta(days=1)
            zone = ZoneInfo(config.organisation.time_zone)
            return meant(datetime.combine(day, time(), zone))
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return meant(moment)
    except (ValueError, OverflowError):
        pass
    raise ValueError("left: a day such as 2026-11-30, or a time with its zone")


def _several(text: str) -> Iterator[str]:
    return (one for one in re.split(r"[;\s]+", text) if one)


def _problem(path: Path, line: int, message: str) -> Problem:
    return Problem(file=str(path), line=line, message=message)


def _scim_member(name: str, resource: Mapping[str, object]) -> Listed:
    key, user = resource.get("id"), resource.get("userName")
    if not isinstance(key, str) or not isinstance(user, str) or not key or not user:
        raise Unavailable(f"directory {name!r} listed somebody without a name")
    named = resource.get("name")
    parts = named if isinstance(named, Mapping) else {}
    whole = " ".join(
        str(parts[part]) for part in ("givenName", "familyName") if isinstance(parts.get(part), str)
    )
    texts = [resource.get("displayName"), parts.get("formatted"), whole, user]
    return Listed(
        member=Member(
            key=key,
            full_name=_first([str(one) for one in texts if isinstance(one, str) and one]),
            mail=_first(_scim_values(resource.get("emails")), [""]),
            phone=_first(_scim_values(resource.get("phoneNumbers")), [""]),
            accounts=(f"{name}:{user.casefold()}",),
            roles=_roles(_scim_values(resource.get("roles"))),
        ),
        has_left=resource.get("active") is False,
    )


def _roles(names: Iterable[str]) -> tuple[str, ...]:
    """Write a directory's own names of roles as ours are; leave out what cannot be."""
    written = {re.sub(r"\s+", "-", name.strip().lower()) for name in names}
    return tuple(sorted(role for role in written if _ROLE.fullmatch(role)))


def _group(dn: str) -> str:
    """Give a group's own name out of its DN; one with an escape in it is cut, and is no role."""
    return dn.partition("=")[2].partition(",")[0]


def _scim_values(value: object) -> list[str]:
    """Give the values of a multi-valued attribute, the primary one first."""
    found: list[tuple[bool, str]] = []
    for one in value if isinstance(value, list) else ():
        with suppress(AttributeError):
            if isinstance(text := one.get("value"), str) and text:
                found.append((one.get("primary") is not True, text))
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def _first(*choices: Sequence[str]) -> str:
    return next(one[0] for one in choices if one)
