"""Types of settings (paths, secrets, cron, addresses), with validation.

`schema.py` and the modules in `sections/` use the types; `standfast/secrets.py` reads the
secrets that the settings refer to.

Rules
- A setting contains a reference to a secret, such as `env:NAME`, never the secret.
  `SecretReference` refuses a plain value, and its error message does not show the value.
- Relative paths start at the folder of the configuration file; they are made absolute once, while
  the file is loaded.
- An error message describes a valid value. It repeats the given value only if the value cannot be
  a secret.
"""

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    Strict,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

Item = TypeVar("Item")

# A list in the configuration file, as an immutable tuple.
Items = Annotated[tuple[Item, ...], Strict(False)]


class SecretReference(str):
    """Reference to a secret; never the secret itself.

    Valid forms are `env:NAME`, `file:PATH` and `keyring:SERVICE/USER`. Raises ValueError for any
    other text, without repeating it: it may be the secret itself.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not re.fullmatch(_REFERENCE, text):
            raise ValueError(
                "a secret is named here, never written: use env:NAME, file:PATH or "
                "keyring:SERVICE/USER"
            )
        return super().__new__(cls, text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, handler(str))

    @property
    def scheme(self) -> str:
        """`env`, `file` or `keyring`."""
        return self.partition(":")[0]

    @property
    def place(self) -> str:
        """The part after the scheme: a variable, a path, or `SERVICE/USER`."""
        return self.partition(":")[2]


_REFERENCE = r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00-\x1f]+|keyring:[^/\x00-\x1f]+/[^\x00-\x1f]+"


def _written_path(value: object) -> object:
    """Refuse an empty path, which `Path` would read as the current folder."""
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("a path is needed here; `.` is the folder of this file")
    return value


def _make_absolute(path: Path, info: ValidationInfo) -> Path:
    """Return an absolute path; a relative one starts at the file's folder."""
    try:
        return (info.context or Path()) / path.expanduser()
    except RuntimeError as error:
        raise ValueError("`~` has no home folder here; write the absolute path") from error


Place = Annotated[
    Path, Strict(False), BeforeValidator(_written_path), AfterValidator(_make_absolute)
]


def _require_inside(path: PurePosixPath) -> PurePosixPath:
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise ValueError("this path stays inside the restored tree: relative, without `..`")
    return path


InnerPath = Annotated[
    PurePosixPath, Strict(False), BeforeValidator(_written_path), AfterValidator(_require_inside)
]


def _database(url: str, info: ValidationInfo) -> str:
    """Make a SQLite file absolute, and refuse a password in the address."""
    if url.startswith("sqlite:///"):
        path = _make_absolute(Path(url.removeprefix("sqlite:///")), info)
        if "?" in str(path):
            raise ValueError("`?` in the path of a SQLite file would be read as an option")
        return f"sqlite:///{path}"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not a database address") from None  # the cause may quote a password
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError("the address must not contain a password: put a reference in `password`")
    if parts.scheme not in ("postgresql", "postgresql+psycopg") or not parts.path.strip("/"):
        raise ValueError(
            "use sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE as the address"
        )
    return url


DatabaseUrl = Annotated[str, AfterValidator(_database)]


def web_address(url: str) -> str:
    """Return a valid web address, without a slash at its end.

    Refuses an address that would send a token unencrypted or that may contain a secret.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_this_machine = host == "localhost" or _is_loopback(host)
    except ValueError:
        raise ValueError("not a web address; write https://host/path") from None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError("not a web address; write https://host/path")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("write the address without user, query or fragment: they may be secrets")
    if parts.scheme == "http" and not is_this_machine:
        raise ValueError("a token would travel unencrypted; use https (http only to this machine)")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


WebAddress = Annotated[str, AfterValidator(web_address)]


def _known_zone(name: str) -> str:
    if name == "UTC":  # most installations use UTC, which needs no time zone database
        return name
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("an unknown time zone; write it as Area/City or UTC") from error
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]

# L and # are extensions of other cron programs, which crontab(5) does not define.
_CRON_EXTENSIONS = re.compile(r"#|(?<![a-z])l", re.IGNORECASE)
_CRON_FIELDS = "minute 0-59, hour 0-23, day 1-31, month 1-12 or jan-dec, weekday 0-7 or sun-sat"


def _cron(text: str) -> str:
    parts = text.split()
    if len(parts) != 5:
        raise ValueError("a schedule has five fields: minute hour day month weekday")
    schedule = " ".join(parts)
    try:
        CronSim(schedule, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        wrong = str(error).removeprefix("Bad ")
        raise ValueError(f"the {wrong} of a schedule is not valid; {_CRON_FIELDS}") from None
    if _CRON_EXTENSIONS.search(schedule):
        raise ValueError(f"L and # are not valid in a schedule; {_CRON_FIELDS}")
    return schedule


CronSchedule = Annotated[str, AfterValidator(_cron)]


def matching(pattern: str, meaning: str) -> AfterValidator:
    """Return a validator for texts that match `pattern`.

    `meaning` is the message that describes the valid form.
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(meaning)
        return text

    return AfterValidator(check)


PublicKey = Annotated[
    str,
    matching(
        r"(age1[a-z0-9]+|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+)( [^\x00-\x1f]*)?",
        "a public key is written like age1…, ssh-ed25519 … or ssh-rsa …",
    ),
]


_NAME = r"[a-z][a-z0-9_-]{0,63}"
Name = Annotated[
    str, matching(_NAME, "a name has lower-case letters, digits, - and _, and begins with a letter")
]
Line = Annotated[
    str, matching(r"[^\x00-\x1f\x7f]{1,200}", "one line of text, at most 200 characters")
]
Language = Annotated[
    str, matching(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", "a language is written like en or pt-BR")
]
ObjectPrefix = Annotated[
    str,
    matching(
        r"([a-z0-9][a-z0-9._-]*/)*",
        "a prefix has a-z, 0-9, dot, dash and underscore, and each part of it ends with a slash",
    ),
]
AccountName = Annotated[
    str, matching(_NAME + r":[^\x00-\x1f\x7f]+", "an account is written as DIRECTORY:ACCOUNT")
]
RoleOrPerson = Annotated[
    str,
    matching(r"(person:)?[a-z][a-z0-9._-]{0,63}", "write a role, or person: and a sign-in name"),
]
KeyPrefix = Annotated[str, Field(max_length=1024)]  # prefix of the keys in a bucket
Text = Annotated[str, Field(min_length=1)]
Minutes = Annotated[int, Field(ge=1)]
Hours = Annotated[int, Field(ge=1, le=87600)]
Days = Annotated[int, Field(ge=1, le=36500)]
Count = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Workers = Annotated[int, Field(ge=1, le=64)]
