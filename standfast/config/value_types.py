"""The kinds of value that a setting may have, each refused at the door when it does not fit.

Owns the types; `schema.py` and its neighbours say where they stand, `standfast/secrets.py` resolves
the references.

Rules
- A secret is named, never written: `SecretReference` refuses a plain value and does not repeat it.
- A relative path is relative to the file's folder; it is made absolute once, while loading.
- A message says what would fit. It repeats what was written only where that cannot be a secret.
"""

import math
import re
from collections.abc import Callable, Sized
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from standfast.config.section_reader import InFolder

Many = TypeVar("Many", bound=Sized)


class SecretReference(str):
    """Where a secret lies: `env:NAME`, `file:PATH` or `keyring:SERVICE/USER`; never the secret.

    Raises ValueError for anything else, without repeating it: it may be the secret itself.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not re.fullmatch(_REFERENCE, text):
            raise ValueError(
                "a secret is named here, never written: use env:NAME, file:PATH or "
                "keyring:SERVICE/USER"
            )
        return super().__new__(cls, text)

    @property
    def scheme(self) -> str:
        """`env`, `file` or `keyring`."""
        return self.partition(":")[0]

    @property
    def place(self) -> str:
        """What stands after the scheme: a variable, a path, or `SERVICE/USER`."""
        return self.partition(":")[2]


_REFERENCE = r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00-\x1f]+|keyring:[^/\x00-\x1f]+/[^\x00-\x1f]+"


def _placed(path: Path, folder: Path) -> Path:
    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise ValueError("`~` names nobody's home here; write the whole path") from error


Place = Annotated[Path, InFolder(_placed)]


def _inside(path: PurePosixPath) -> PurePosixPath:
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        raise ValueError("this path stays inside the restored tree: relative, without `..`")
    return path


InnerPath = Annotated[PurePosixPath, _inside]


def _database(url: str, folder: Path) -> str:
    """Make a SQLite file absolute, and refuse a password in the address."""
    if url.startswith("sqlite:///"):
        path = _placed(Path(url.removeprefix("sqlite:///")), folder)
        if "?" in str(path):
            raise ValueError("`?` in the path of a SQLite file would be read as an option")
        return f"sqlite:///{path}"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not a database address") from None  # the cause may quote a password
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError("a password does not stand in the address: put a reference in `password`")
    if parts.scheme not in ("postgresql", "postgresql+psycopg") or not parts.path.strip("/"):
        raise ValueError(
            "use sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE as the address"
        )
    return url


DatabaseUrl = Annotated[str, InFolder(_database)]


def web_address(url: str) -> str:
    """Refuse what would send a token unencrypted, or keep a secret in the address."""
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
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


WebAddress = Annotated[str, web_address]


def _known_zone(name: str) -> str:
    if name == "UTC":  # which every machine has, and most places are set to
        return name
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("an unknown time zone; write it as Area/City or UTC") from error
    return name


TimeZone = Annotated[str, _known_zone]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _CronField(NamedTuple):
    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()  # the first of them means `least`


_CRON = (  # crontab(5); Sunday is 0 and 7
    _CronField(name="minute", least=0, most=59),
    _CronField(name="hour", least=0, most=23),
    _CronField(name="day of the month", least=1, most=31),
    _CronField(name="month", least=1, most=12, words=_MONTHS),
    _CronField(name="day of the week", least=0, most=7, words=_DAYS),
)


def _cron(text: str) -> str:
    parts = text.split()
    if len(parts) != len(_CRON):
        raise ValueError("a schedule has five fields: minute hour day month weekday")
    for part, field in zip(parts, _CRON, strict=True):
        if not all(_fits_cron(item, field) for item in part.split(",")):
            raise ValueError(f"the {field.name} of a schedule is {field.least} to {field.most}")
    return " ".join(parts)


def _fits_cron(item: str, field: _CronField) -> bool:
    span, slash, step = item.partition("/")
    if slash and not (_is_number(step) and int(step) > 0):
        return False
    if span == "*":
        return True
    ends = []
    for end in span.lower().split("-"):
        if _is_number(end):
            ends.append(int(end))
        elif end in field.words:
            ends.append(field.words.index(end) + field.least)
        else:
            return False
    return (
        len(ends) <= 2
        and ends == sorted(ends)
        and field.least <= ends[0]
        and ends[-1] <= field.most
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


CronSchedule = Annotated[str, _cron]


def like(pattern: str, meaning: str) -> Callable[[str], str]:
    """Make the rule that a text is of a form, which `meaning` tells a person."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(meaning)
        return text

    return check


def between(least: float, most: float = math.inf) -> Callable[[float], float]:
    """Make the rule that a number is from `least` to `most`."""

    def check(number: float) -> float:
        if not least <= number <= most:
            most_too = f" and {most} at most" if most < math.inf else ""
            raise ValueError(f"it is {least} at least{most_too}")
        return number

    return check


def within(most: float) -> Callable[[float], float]:
    """Make the rule that a time or a rate is more than nothing, and `most` at most."""

    def check(number: float) -> float:
        if not 0 < number < math.inf:
            raise ValueError("it is more than 0, and has an end")
        if number > most:
            raise ValueError(f"it is {most} at most")
        return number

    return check


def not_empty(value: Many) -> Many:
    """The rule that a text or a list has something in it."""
    if not value:
        raise ValueError("it is empty; one at least belongs here")
    return value


_NAME = r"[a-z][a-z0-9_-]{0,63}"
Name = Annotated[
    str, like(_NAME, "a name has lower-case letters, digits, - and _, and begins with a letter")
]
Line = Annotated[str, like(r"[^\x00-\x1f\x7f]{1,200}", "one line of text, at most 200 characters")]
Language = Annotated[
    str, like(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", "a language is written like en or pt-BR")
]
ObjectPrefix = Annotated[
    str,
    like(
        r"([a-z0-9][a-z0-9._-]*/)*",
        "a prefix has a-z, 0-9, dot, dash and underscore, and each part of it ends with a slash",
    ),
]
AccountName = Annotated[
    str, like(_NAME + r":[^\x00-\x1f\x7f]+", "an account is written as DIRECTORY:ACCOUNT")
]
Rung = Annotated[
    str,
    like(r"(person:)?[a-z][a-z0-9._-]{0,63}", "a rung is a role, or person: and a sign-in name"),
]
Text = Annotated[str, not_empty]
Minutes = Annotated[int, between(1)]
Hours = Annotated[int, between(1, 87600)]
Days = Annotated[int, between(1, 36500)]
Count = Annotated[int, between(0)]
Port = Annotated[int, between(1, 65535)]
Seconds = Annotated[float, within(math.inf)]
Workers = Annotated[int, between(1, 64)]
