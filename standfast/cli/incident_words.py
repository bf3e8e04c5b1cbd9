"""The words of an incident's commands: which incident is meant, and what it is given."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from standfast.operations.place import Place

IncidentArgument = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="May be left out when one is open.", show_default=False),
]
CARRIED: dict[ExitStatus, str] = {
    ExitStatus.DONE: "every step is done",
    ExitStatus.FAILED: "a step reached no target, or an approver said no",
    ExitStatus.USAGE: "there is no such incident or step",
    ExitStatus.PARTIAL: "487 of 500 accounts are locked; each of the others has its reason",
    ExitStatus.REFUSED: "an approval does not count; nothing was done",
    ExitStatus.WAITS_FOR_PEOPLE: "a step waits for an answer or an approval",
    ExitStatus.DAMAGED: "what was approved is not what the ledger holds now",
}
_ID = re.compile(r"inc-\d{4}-\d+")


def the_incident(
    place: "Place", *words: str | None, least: int = 0, most: int = 0
) -> tuple[str, list[str]]:
    """Give the incident that is meant, and the words after it, `least` to `most` of them.

    The id may be left out when exactly one incident is open. Raises UsageError otherwise, and for
    a wrong number of words.
    """
    rest = [word for word in words if word is not None]
    named = rest.pop(0) if rest and (_ID.fullmatch(rest[0]) or len(rest) > most) else None
    if not least <= len(rest) <= most:
        raise UsageError(
            f"{len(rest)} words are given beside the incident's id, and this command takes "
            f"{least if least == most else f'{least} to {most}'}"
        )
    if named is not None:
        return place.ledger.incidents.get(named).id, rest
    there = [one.id for one in place.ledger.incidents.all(only_open=True)]
    if len(there) != 1:
        known = f"; open are: {', '.join(there)}" if there else ""
        raise UsageError(
            f"{len(there) or 'no'} incidents are open{known}; name the one that you mean, "
            "`standfast incident list` shows them all"
        )
    return there[0], rest


def inputs_of(given: Sequence[str]) -> dict[str, str | list[str]]:
    """Read `NAME=VALUE` and `NAME=@FILE`; UsageError for another form, or a name given twice."""
    inputs: dict[str, str | list[str]] = {}
    for number, text in enumerate(given, 1):
        name, equals, value = text.partition("=")
        if not equals or not name:
            # The text itself may be somebody's name.
            raise UsageError(f"--input number {number} is not of the form NAME=VALUE or NAME=@FILE")
        if name in inputs:
            raise UsageError(f"--input {name} is given twice; put commas between, or use @FILE")
        inputs[name] = _lines_of(name, Path(value[1:])) if value.startswith("@") else value
    return inputs


def _lines_of(name: str, file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"--input {name}: {file} cannot be read: {error.strerror}; name a file with one a line"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"--input {name}: {file} is not UTF-8; save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
