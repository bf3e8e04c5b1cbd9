"""Readers of staff lists from CSV, SCIM, LDAP: columns, roles, last day.

Rules
- A file with an invalid line is not imported. Every invalid line is reported by number and column,
  without its content.
- An unknown column is an error: if the heading `accounts` were mistyped and ignored, nobody would
  have accounts.
- The roles (SCIM) and groups (`memberOf` in LDAP) of a directory become roles in the spelling of
  Standfast, such as `duty-manager`. Names that cannot be converted to this spelling are ignored.
- A person whose account is `active: false` or disabled has left; the directory does not state when.
  A lock that expires is ignored, because an attacker who guesses passwords can cause it.
- The readers change nothing in a directory.
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

from standfast.adapters.accounts.base.ldap_connector import server_of
from standfast.adapters.accounts.scim.user_list import list_users
from standfast.adapters.clients.ldap.client import explained, sign_in
from standfast.adapters.clients.ldap.entries import LdapEntry, own_name
from standfast.config import Config
from standfast.config.sections.account_servers import ActiveDirectoryConfig, OpenldapDirectoryConfig
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.errors import ConfigurationError, FileInvalid, Problem, Unavailable, UsageError
from standfast.http_client import HttpClient
from standfast.ledger.people.staff_list import Member
from standfast.notices.mail_addresses import parse_address
from standfast.records import typed_time_to_utc
from standfast.secrets import Reveal
from standfast.spreadsheet_csv import CsvRows

COLUMNS = ("key", "name", "mail", "phone", "accounts", "roles", "left")
_REQUIRED = ("key", "name")
_LISTS = ("accounts", "roles")
_LARGEST_FILE_BYTES = 64 * 1024 * 1024
_MOST_PROBLEMS = 50
_LONGEST = 320
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LOCKED_FOR_GOOD = b"000001010000Z"  # OpenLDAP's pwdAccountLockedTime
_ACCOUNT_DISABLED = 0x2  # Active Directory's userAccountControl


@dataclass(frozen=True, kw_only=True)
class ListedPerson:
    """One person of a list; `has_left` is True for a leaver without a date."""

    member: Member
    has_left: bool = False


def read_csv(path: Path, config: Config, names: Mapping[str, str]) -> list[ListedPerson]:
    """Read a CSV file with a header.

    `names` maps names of `COLUMNS` to the names in the file. `spreadsheet_csv` accepts several
    encodings and separators. Several accounts or roles in one field are separated by `;`, spaces or
    line ends. `left` is a time with a zone, or a day: the person leaves at its end, in the
    organisation's time zone. Raise FileInvalid with every invalid line.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise UsageError(f"{path}: larger than 64 MiB. Check that it is the right file.")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}. Name a CSV file.") from None
    problems: list[Problem] = []
    found: list[ListedPerson] = []
    seen: dict[str, int] = {}
    rows: CsvRows | None = None
    try:
        rows = CsvRows(io.BytesIO(content))
        columns = _column_indexes(path, next(rows, []), names)
        before = rows.line
        for row in rows:
            line, before = before + 1, rows.line  # a field may contain line ends
            if not any(row):
                continue
            if len(row) != columns["width"]:
                problems.append(
                    _problem(path, line, "its number of fields differs from that of the first line")
                )
                continue
            given = {
                ours: row[column].strip() for ours, column in columns.items() if ours != "width"
            }
            try:
                person = _member(given, config)
            except ValueError as error:
                problems.append(_problem(path, line, str(error)))
                continue
            earlier = seen.setdefault(person.member.key, line)
            if earlier != line:
                problems.append(_problem(path, line, f"key: repeated, first on line {earlier}"))
            found.append(person)
    except UnicodeError:
        raise UsageError(
            f"{path}: neither UTF-8 nor UTF-16. Save it as UTF-8 (in Excel: CSV UTF-8)."
        ) from None
    except csv.Error:
        line = rows.line if rows else 1
        problems.append(_problem(path, line, "a quote is not closed or not doubled"))
    if problems:
        raise FileInvalid(problems[:_MOST_PROBLEMS])
    return found


def read_scim(name: str, config: Config, reveal: Reveal) -> list[ListedPerson]:
    """Read all users of the SCIM directory of this configured name, by page."""
    settings = config.accounts[name]
    if not isinstance(settings, ScimDirectoryConfig):
        raise UsageError(f"accounts.{name}: not a SCIM directory but {settings.kind}.")
    http = HttpClient(
        verify_tls=settings.verify_tls, ca_file=settings.ca_file, workers=settings.workers
    )
    try:
        users = list_users(name, settings.url, reveal(settings.token), http)
    finally:
        http.close()
    return [_scim_member(name, user) for user in users]


def read_ldap(name: str, config: Config, reveal: Reveal) -> list[ListedPerson]:
    """Read all people of an LDAP directory that match its `filter`."""
    settings = config.accounts[name]
    if not isinstance(settings, OpenldapDirectoryConfig | ActiveDirectoryConfig):
        raise UsageError(f"accounts.{name}: not an LDAP directory but {settings.kind}.")
    server = server_of(settings, reveal)
    wanted = [
        *(server.attribute, "displayName", "cn", "mail", "telephoneNumber", "mobile"),
        *("memberOf", "userAccountControl", "pwdAccountLockedTime"),
    ]

    def person(entry: LdapEntry) -> ListedPerson | None:
        account = own_name(entry, server.attribute)
        if not account:
            return None
        controls = entry.texts("userAccountControl")
        is_disabled = any(
            text.isdigit() and int(text) & _ACCOUNT_DISABLED for text in controls
        ) or _LOCKED_FOR_GOOD in entry.values("pwdAccountLockedTime")
        return ListedPerson(
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
        # The text of the library's error may contain a name.
        raise Unavailable(f"directory {name!r}: cannot be listed: {type(error).__name__}") from None
    found = [person(entry) for entry in entries]
    return [listed for listed in found if listed is not None]


def _column_indexes(path: Path, header: Sequence[str], names: Mapping[str, str]) -> dict[str, int]:
    theirs = {names.get(ours, ours): ours for ours in COLUMNS}
    stripped = [column.strip() for column in header]
    problems = [
        _problem(path, 1, f"no column for `{ours}`; name it with --column {ours}=THEIRS")
        for ours in _REQUIRED
        if names.get(ours, ours) not in stripped
    ]
    # The message names columns by number: if the file has no header, the first line contains data
    # of a person.
    problems += [
        _problem(
            path,
            1,
            f"column {number} is unknown; the columns are {', '.join(COLUMNS)}. "
            "Map your column with --column OURS=THEIRS, or remove it",
        )
        for number, column in enumerate(stripped, 1)
        if column not in theirs
    ]
    if len(set(stripped)) != len(stripped):
        problems.append(_problem(path, 1, "a column is repeated"))
    if problems:
        raise FileInvalid(problems)
    return {theirs[column]: index for index, column in enumerate(stripped)} | {
        "width": len(stripped)
    }


def _member(given: Mapping[str, str], config: Config) -> ListedPerson:
    for column, value in given.items():
        if len(value) > _LONGEST * (10 if column in _LISTS else 1):
            raise ValueError(f"{column}: is too long")
        if not (" ".join(value.split()) if column in _LISTS else value).isprintable():
            raise ValueError(f"{column}: contains control characters")
    for column in _REQUIRED:
        if not given[column]:
            raise ValueError(f"{column}: is empty")
    mail = given.get("mail", "")
    if mail:
        try:
            parse_address(mail)
        except ValueError:
            raise ValueError("mail: not a valid mail address") from None
    roles = sorted(set(_several(given.get("roles", ""))))
    if not all(_ROLE.fullmatch(role) for role in roles):
        raise ValueError("roles: write a role like duty-manager")
    accounts = list(dict.fromkeys(_several(given.get("accounts", ""))))
    for account in accounts:
        directory, colon, inner = account.partition(":")
        if not colon or not inner or directory not in config.accounts:
            known = ", ".join(config.accounts) or "none"
            raise ValueError(
                f"accounts: write DIRECTORY:ACCOUNT; the directories here are: {known}"
            )
    return ListedPerson(
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
    """Parse a day or a time; a day means its end in the organisation's zone."""
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            day = datetime.fromisoformat(text).date() + timedelta(days=1)
            zone = ZoneInfo(config.organisation.time_zone)
            return typed_time_to_utc(datetime.combine(day, time(), zone))
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return typed_time_to_utc(moment)
    except (ValueError, OverflowError):
        pass
    raise ValueError("left: write a day such as 2026-11-30, or a time with its zone")


def _several(text: str) -> Iterator[str]:
    return (item for item in re.split(r"[;\s]+", text) if item)


def _problem(path: Path, line: int, message: str) -> Problem:
    return Problem(file=str(path), line=line, message=message)


def _scim_member(name: str, resource: Mapping[str, object]) -> ListedPerson:
    key, user = resource.get("id"), resource.get("userName")
    if not isinstance(key, str) or not isinstance(user, str) or not key or not user:
        raise Unavailable(f"directory {name!r}: it listed a user without a name")
    named = resource.get("name")
    parts = named if isinstance(named, Mapping) else {}
    whole = " ".join(
        str(parts[part]) for part in ("givenName", "familyName") if isinstance(parts.get(part), str)
    )
    texts = [resource.get("displayName"), parts.get("formatted"), whole, user]
    return ListedPerson(
        member=Member(
            key=key,
            full_name=_first([str(text) for text in texts if isinstance(text, str) and text]),
            mail=_first(_scim_values(resource.get("emails")), [""]),
            phone=_first(_scim_values(resource.get("phoneNumbers")), [""]),
            accounts=(f"{name}:{user.casefold()}",),
            roles=_roles(_scim_values(resource.get("roles"))),
        ),
        has_left=resource.get("active") is False,
    )


def _roles(names: Iterable[str]) -> tuple[str, ...]:
    """Return a directory's role names in valid spelling; omit other names."""
    written = {re.sub(r"\s+", "-", name.strip().lower()) for name in names}
    return tuple(sorted(role for role in written if _ROLE.fullmatch(role)))


def _group(dn: str) -> str:
    """Return the name of a group from its DN, without resolving escapes."""
    return dn.partition("=")[2].partition(",")[0]


def _scim_values(value: object) -> list[str]:
    """Return the values of a multi-valued attribute, first the primary value."""
    found: list[tuple[bool, str]] = []
    for item in value if isinstance(value, list) else ():
        with suppress(AttributeError):
            if isinstance(text := item.get("value"), str) and text:
                found.append((item.get("primary") is not True, text))
    return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def _first(*choices: Sequence[str]) -> str:
    return next(choice[0] for choice in choices if choice)
