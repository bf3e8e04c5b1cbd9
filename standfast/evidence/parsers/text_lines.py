"""Lines of text: syslog (RFC 3164, RFC 5424), access logs, dated lines.

Rules
- A line in the format of RFC 3164 has no year and no time zone. The newest year is used for which
  the line is not newer than its collection. UTC is assumed.
- In the message of a line, sign-ins are recognized in the forms of sshd, PAM and sudo. In other
  messages, the account is the value after `user=`, `account=` or `agent=`, and the address is the
  first address in the message.
- A line without a time is not a record.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

from standfast.evidence.parsers.log_record import (
    FAILURE,
    SIGN_IN,
    SUCCESS,
    LogTime,
    Record,
    find_time,
    parse_time,
    time_of_datetime,
)

# Text between quotes. Groups of characters are matched, which is faster than single characters.
_QUOTED = r'[^"\\]*(?:\\.[^"\\]*)*'
_ACCESS = re.compile(
    rf'(\S{{1,255}}) \S+ (\S{{1,255}}) \[([^\]]{{20,32}})\] "({_QUOTED})" (\d{{3}}) \S+'
    rf'(?: "{_QUOTED}" "({_QUOTED})")?'
)
_RFC_5424 = re.compile(
    r"<\d{1,3}>1 (\S+) (\S+) (\S+) (\S+) (\S+) "
    r"(-|(?:\[(?:[^\]\\\"]|\\.|\"(?:[^\"\\]|\\.)*\")*\])+) ?"
)
_RFC_3164 = re.compile(
    r"(?:<\d{1,3}>)?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) "
    r"(\S+) ([^\s:\[]+)(?:\[\d+\])?:? "
)
_ISO_LINE = re.compile(r"(?:<\d{1,3}>)?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*)")
_ACCOUNT = re.compile(
    r"""\b(?:user|username|user_name|account|login|agent|acct)["']?\s?[=:]\s?["']?([^\s"',;()\[\]]+)""",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(?<![\w.:])(\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}"
    r"|(?:[0-9a-fA-F]{1,4}:){1,6}(?::[0-9a-fA-F]{1,4}){1,6})(?![\w.]*[\w])"
)
_SSH = re.compile(
    r"(Accepted|Failed) \S+ for (?:invalid user )?(\S+) from (\S+)|Invalid user (\S+) from (\S+)"
)
_SESSION = re.compile(r"session opened for user ([^\s(]+)")
_SUDO = re.compile(r"\s*(\S+) : .*\bCOMMAND=(.*)")
_SECOND = re.compile(r":[0-5]\d", re.ASCII)
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr)}
Fields: TypeAlias = tuple[str, str, str, str, str]


def parse_text(number: int, line: str, collected_at: datetime) -> Record | None:
    """Parse a line in any of these formats; None if it has no time."""
    if access := _ACCESS.match(line):
        return _access_record(number, line, access)
    if (syslog := _RFC_5424.match(line)) and (time := parse_time(syslog[1])):
        return _message_record(number, line, time, syslog[3], line[syslog.end() :])
    if syslog := _RFC_3164.match(line):
        month, day, hour, minute, second, _, program = syslog.groups()
        if time := _without_year(month, day, hour, minute, second, collected_at):
            return _message_record(number, line, time, program, line[syslog.end() :])
    dated = _ISO_LINE.match(line)
    time = parse_time(dated[1]) if dated else find_time(line[:200])
    if time is None:
        return None
    return _message_record(number, line, time, "", line[dated.end() :] if dated else line)


def message_fields(program: str, message: str) -> Fields:
    """Return account, address, action, object and result of a message."""
    if ssh := _SSH.search(message):
        result = SUCCESS if ssh[1] == "Accepted" else FAILURE
        return ssh[2] or ssh[4], ssh[3] or ssh[5], SIGN_IN, program, result
    if program == "sudo" and (sudo := _SUDO.match(message)):
        return sudo[1], "", "sudo", sudo[2], ""
    if session := _SESSION.search(message):
        return session[1], "", "session", program, ""
    account, address = _ACCOUNT.search(message), _ADDRESS.search(message)
    return account[1] if account else "", address[1] if address else "", program, "", ""


def _message_record(number: int, line: str, time: LogTime, program: str, message: str) -> Record:
    at, is_zone_assumed = time
    account, address, action, target, result = message_fields(program, message)
    return Record(
        at, number, is_zone_assumed, account, address, action, target, result, "", "", line
    )


def _access_record(number: int, line: str, found: re.Match[str]) -> Record | None:
    address, account, written_at, request, status, device = found.groups()
    at = _parse_access_time(written_at)
    if at is None:
        return None
    method, _, rest = request.partition(" ")
    return Record(
        at,
        number,
        False,
        "" if account == "-" else account,
        address,
        method,
        rest.rpartition(" ")[0] or rest,
        status,
        "" if device in (None, "-") else device,
        "",
        line,
    )


def _parse_access_time(text: str) -> int | None:
    """Return the time of `25/Nov/2026:02:13:44 +0000`; strptime is slower."""
    minute, second = _access_minute(text[:17], text[20:]), text[17:20]
    if minute is None or not _SECOND.fullmatch(second):
        return None
    return minute + int(second[1:]) * 10**6


@lru_cache(maxsize=4096)
def _access_minute(text: str, zone: str) -> int | None:
    month = _MONTHS.get(text[3:6], 0)
    time = parse_time(f"{text[7:11]}-{month:02}-{text[:2]} {text[12:]}:00{zone}")
    return time[0] if time else None


@lru_cache(maxsize=4096)
def _without_year(
    month: str, day: str, hour: str, minute: str, second: str, collected_at: datetime
) -> LogTime | None:
    for year in (collected_at.year, collected_at.year - 1):
        try:
            read = datetime(
                year,
                _MONTHS.get(month, 0),
                int(day),
                int(hour),
                int(minute),
                int(second),
                tzinfo=UTC,
            )
        except ValueError:  # 29 February: search a leap year
            continue
        # Subtract a day from `read`, because a day after `collected_at` may be in the year 10000.
        if read - timedelta(days=1) <= collected_at:
            time = time_of_datetime(read)
            return (time[0], True) if time else None
    return None
