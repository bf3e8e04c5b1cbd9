"""Arguments of incident commands: the incident, times and inputs."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Mode, meant

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation

incident_argument = click.argument(
    "incident", required=False, metavar="[ID]", help="May be left out when one is open."
)
PROGRESS_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "every step is done",
    ExitStatus.FAILED: "a step reached no target, whatever else waits; or an approver said no",
    ExitStatus.USAGE: "there is no such incident or step",
    ExitStatus.PARTIAL: "487 of 500 accounts are locked; each of the others has its reason",
    ExitStatus.REFUSED: "an approval does not count; nothing was done",
    ExitStatus.WAITS_FOR_PEOPLE: "a step waits for an answer or an approval",
    ExitStatus.DAMAGED: "what was approved is not what the ledger holds now",
}
RECORDED_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is in the ledger",
    ExitStatus.USAGE: "there is no such incident",
}
UNSIGNED = "nobody signed in who may, and it is live"
_ID = re.compile(r"inc-\d{4}-\d+")
_LARGEST_FILE_BYTES = 16 * 1024 * 1024  # far more accounts than any directory has


def resolve_incident(
    installation: "Installation", *words: str | None, least: int = 0, most: int = 0, takes: str = ""
) -> tuple[str, list[str]]:
    """Return the incident and the `least` to `most` words after it.

    The id is optional if exactly one incident is open; plans do not count next to a live incident
    or an exercise. Raises UsageError otherwise, and for a wrong number of words; `takes` describes
    the words in that message.
    """
    rest = [word for word in words if word is not None]
    named = rest.pop(0) if rest and (is_incident_id(rest[0]) or len(rest) > most) else None
    if not least <= len(rest) <= most:
        raise UsageError(
            f"this command takes {takes or 'nothing'} after the incident's id, not "
            f"{counted(len(rest), 'word')}; put a text of several words in quotes"
        )
    if named is not None:
        return installation.ledger.incidents.get(named).id, rest
    opened = installation.ledger.incidents.all(only_open=True)
    acting = [incident for incident in opened if incident.mode is not Mode.PLAN]
    candidates = sorted(acting or opened, key=lambda incident: incident.mode is not Mode.LIVE)
    if len(candidates) != 1:
        named_with = [
            f"{incident.id} ({incident.scenario}, {incident.mode.value})" for incident in candidates
        ]
        count = f"{len(candidates)} incidents are open" if candidates else "no incident is open"
        known = f": {', '.join(named_with)}" if candidates else ""
        raise UsageError(
            f"{count}{known}; name the one that you mean, `standfast incident list` shows them all"
        )
    return candidates[0].id, rest


def is_incident_id(word: str) -> bool:
    """Return whether a word has the form of an incident id."""
    return _ID.fullmatch(word) is not None


def parse_moment(text: str | None) -> datetime | None:
    """Parse a time with its zone; UsageError for another form or age."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 takes a small t and z as well
    except ValueError:
        raise UsageError("write a time as 2026-03-02T14:20+01:00") from None
    if moment.tzinfo is None:
        raise UsageError("a time needs its zone: 2026-03-02T14:20+01:00, or Z for UTC")
    try:
        return meant(moment)
    except ValueError as error:
        raise UsageError(f"{error}; write a time as 2026-03-02T14:20+01:00") from None


def inputs_of(given: Sequence[str]) -> dict[str, str | list[str]]:
    """Parse `NAME=VALUE` and `NAME=@FILE`; UsageError for other forms."""
    inputs: dict[str, str | list[str]] = {}
    for number, text in enumerate(given, 1):
        name, equals, value = text.partition("=")
        if not equals or not name:
            # The text itself may be somebody's name.
            raise UsageError(f"--input number {number} is not of the form NAME=VALUE or NAME=@FILE")
        if name in inputs:
            raise UsageError(f"--input {name} is given twice; put commas between, or use @FILE")
        if value.startswith("@"):
            inputs[name] = lines_of(Path(value[1:]), f"--input {name}: ")
        else:
            inputs[name] = value
    return inputs


def lines_of(file: Path, said_of: str = "") -> list[str]:
    """Read the lines of a file; UsageError, with the prefix `said_of`."""
    try:
        with file.open("rb") as lines:  # a pipe as well, which has no size
            content = lines.read(_LARGEST_FILE_BYTES + 1)
        if len(content) > _LARGEST_FILE_BYTES:
            raise UsageError(f"{said_of}{file} is larger than 16 MiB; is it the right file?")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{said_of}{file} cannot be read: {error.strerror}; name a file with one a line"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{said_of}{file} is not UTF-8; save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
