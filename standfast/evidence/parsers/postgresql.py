"""Entries of PostgreSQL's server log: csvlog and jsonlog."""

from collections.abc import Mapping, Sequence
from typing import Any

from standfast.evidence.parsers.log_record import (
    FAILURE,
    SIGN_IN,
    SUCCESS,
    Record,
    parse_time,
    text_of,
)

FEWEST_COLUMNS = 23  # number of columns in PostgreSQL 12; later versions have more
_REFUSED = ("28P01", "28000")  # SQLSTATE of a refused sign-in


def parse_row(number: int, row: Sequence[str]) -> Record | None:
    """Parse a row of csvlog; None for any other row."""
    if len(row) < FEWEST_COLUMNS:
        return None
    return _record(
        number,
        written_at=row[0],
        account=row[1],
        database=row[2],
        address=_host(row[4]),
        tag=row[7],
        severity=row[11],
        state=row[12],
        message=row[13],
        statement=row[19],
        program=row[22],
    )


def parse_json(number: int, entry: Mapping[str, Any]) -> Record | None:
    """Parse an object of jsonlog; None if it has no time."""
    return _record(
        number,
        written_at=text_of(entry.get("timestamp")),
        account=text_of(entry.get("user")),
        database=text_of(entry.get("dbname")),
        address=text_of(entry.get("remote_host")),
        tag=text_of(entry.get("ps")),
        severity=text_of(entry.get("error_severity")),
        state=text_of(entry.get("state_code")),
        message=text_of(entry.get("message")),
        statement=text_of(entry.get("statement")),
        program=text_of(entry.get("application_name")),
    )


def _record(
    number: int,
    *,
    written_at: str,
    account: str,
    database: str,
    address: str,
    tag: str,
    severity: str,
    state: str,
    message: str,
    statement: str,
    program: str,
) -> Record | None:
    time = parse_time(written_at)
    if time is None:
        return None
    at, is_zone_assumed = time
    action, result = tag or severity, state if state != "00000" else ""
    if message.startswith("connection authorized"):
        action, result = SIGN_IN, SUCCESS
    elif state in _REFUSED:
        action, result = SIGN_IN, FAILURE
    text = f"{severity}: {message} {statement}".rstrip()
    return Record(
        at, number, is_zone_assumed, account, address, action, database, result, program, "", text
    )


def _host(connection: str) -> str:
    """Return the host of HOST:PORT, or "" for a local connection."""
    host, _, port = connection.rpartition(":")
    return host if port.isdecimal() else connection.replace("[local]", "")
