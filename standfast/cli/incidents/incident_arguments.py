"""Arguments of incident commands: the incident, times and inputs.

An input is a value that a playbook needs, such as the accounts to lock.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Mode, typed_time_to_utc

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation

incident_argument = click.argument(
    "incident", required=False, metavar="[ID]", help="The incident; optional if only one is open."
)
PROGRESS_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "every step is done",
    ExitStatus.FAILED: "a step failed for every target, or an approver refused it",
    ExitStatus.USAGE: "there is no such incident or step",
    ExitStatus.PARTIAL: "some targets were not done; the output counts them by reason",
    ExitStatus.REFUSED: "the approval does not count; nothing was done",
    ExitStatus.WAITS_FOR_PEOPLE: "a step waits for an answer or an approval",
    ExitStatus.DAMAGED: "the approved plan differs from the plan in the ledger",
}
RECORDED_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is recorded in the ledger",
    ExitStatus.USAGE: "there is no such incident",
}
UNSIGNED = "the incident is live, and nobody with a role signed in"
_TIME_FORM = "Write a time with its zone: 2026-03-02T14:20+01:00, or Z for UTC"
_ID = re.compile(r"inc-\d{4}-\d+")
_MAX_FILE_BYTES = 16 * 1024 * 1024  # far more accounts than any directory has


@contextmanager
def open_incident(
    call: Call,
    *words: str | None,
    takes: str = "",
    least: int | None = None,
    most: int | None = None,
) -> Iterator[tuple["Installation", str, list[str]]]:
    """Open the installation; yield it with the incident and the other words.

    `resolve_incident` explains `words`, `takes`, `least` and `most`.
    """
    with call.installation() as installation:
        incident_id, rest = resolve_incident(
            installation, *words, takes=takes, least=least, most=most
        )
        yield installation, incident_id, rest


def resolve_incident(
    installation: "Installation",
    *words: str | None,
    takes: str = "",
    least: int | None = None,
    most: int | None = None,
) -> tuple[str, list[str]]:
    """Return the incident, and the arguments after it.

    `words` are the arguments of a command; None stands for an omitted one. The id of the incident
    comes first. It may be omitted if exactly one live incident or exercise is open; if none is,
    exactly one open plan also suffices. By default, all arguments after the id are required;
    `least` and `most` permit another number of them. Raises UsageError for another number, or
    without one clear incident; `takes` describes the expected arguments in its message.
    """
    most = len(words) - 1 if most is None else most
    least = most if least is None else least
    rest = [word for word in words if word is not None]
    named = rest.pop(0) if rest and (is_incident_id(rest[0]) or len(rest) > most) else None
    if not least <= len(rest) <= most:
        raise UsageError(
            f"arguments: {counted(len(rest), 'word')} after the incident's id, expected "
            f"{takes or 'none'}. Put a text of several words in quotes"
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
        if not candidates:
            raise UsageError(
                "incident: none is open. To name a closed incident, add its id; `standfast "
                "incident list` shows all ids"
            )
        raise UsageError(
            f"incident: {len(candidates)} are open: {', '.join(named_with)}. Add the id of one of "
            "them"
        )
    return candidates[0].id, rest


def is_incident_id(word: str) -> bool:
    """Return whether a word has the form of an incident id."""
    return _ID.fullmatch(word) is not None


def parse_moment(text: str | None) -> datetime | None:
    """Parse a time with its zone; UsageError for another form or a wrong year."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 also allows a small t and z
        if moment.tzinfo is not None:
            return typed_time_to_utc(moment)
        cause = "it has no zone"
    except ValueError:
        cause = "not a plausible time"
    raise UsageError(f"time {text!r}: {cause}. {_TIME_FORM}")


def parse_inputs(given: Sequence[str]) -> dict[str, str | list[str]]:
    """Parse `NAME=VALUE` and `NAME=@FILE`; UsageError for other forms."""
    inputs: dict[str, str | list[str]] = {}
    for number, text in enumerate(given, 1):
        name, equals, value = text.partition("=")
        if not equals or not name:
            # The message does not quote the text, which may be the name of a person.
            raise UsageError(f"--input number {number}: the form is NAME=VALUE or NAME=@FILE")
        if name in inputs:
            raise UsageError(
                f"--input {name}: it is given twice. Separate values by commas, or use @FILE"
            )
        if value.startswith("@"):
            inputs[name] = read_lines(Path(value[1:]), f"--input {name}: ")
        else:
            inputs[name] = value
    return inputs


def read_lines(file: Path, prefix: str = "") -> list[str]:
    """Read the lines of a file; UsageError that starts with `prefix`."""
    try:
        with file.open("rb") as lines:  # it may be a pipe, which has no size
            content = lines.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise UsageError(f"{prefix}{file}: larger than 16 MiB. Check that it is the right file")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{prefix}{file}: cannot be read: {error.strerror}. Name a text file with one value a "
            "line"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{prefix}{file}: not UTF-8. Save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
