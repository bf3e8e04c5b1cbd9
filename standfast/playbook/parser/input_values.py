"""Conversion of input texts to the types that a playbook declares.

An input is a value that an incident receives when it is opened, such as the accounts to lock.

Rules
- The result has every input of the playbook: its value, its default, or null.
- A text with accounts is split at commas and line ends. A list comes from a file with one account a
  line, or from the message of a trigger such as a webhook. Each item of a list is one name, because
  names may contain commas. The order does not change, and duplicates are removed.
- An account may be written `DIRECTORY:ACCOUNT`, with the system that stores it. In a text, an entry
  `DIRECTORY:` without an account name is refused. In a list, such an entry is accepted: one invalid
  name in a message must not prevent the locks of the other accounts.
- Messages name the input and the valid values, never the given value: it may be personal.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime

from standfast.errors import UsageError
from standfast.playbook.model import Input, InputType, Playbook, Step, StepKind
from standfast.playbook.parser.field_reader import close_to
from standfast.records import Json, timestamp, typed_time_to_utc

LONGEST_ACCOUNT = 320  # the longest e-mail address; longer names are mistakes
LONGEST_TEXT = 2_000
MOST_ACCOUNTS = 100_000

_FLAGS = {"yes": True, "true": True, "on": True, "1": True}
_FLAGS |= {"no": False, "false": False, "off": False, "0": False}


def load_inputs(playbook: Playbook, raw: Mapping[str, str | list[str]]) -> dict[str, Json]:
    """Read the inputs of an incident; UsageError names every invalid input."""
    known = {given.name: given for given in playbook.inputs}
    problems = [
        f"playbook `{playbook.name}` has no input `{name}`; {close_to(name, known)}"
        for name in raw
        if name not in known
    ]
    typed: dict[str, Json] = {}
    for given in playbook.inputs:
        if given.name not in raw:
            if given.required:
                value = _describe_value(given).rstrip(".")
                problems.append(
                    f"input `{given.name}` is missing: {value}. Add --input {given.name}=VALUE."
                )
            typed[given.name] = given.default
            continue
        try:
            typed[given.name] = read_input(given, raw[given.name])
        except ValueError as error:
            problems.append(f"input `{given.name}`: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    return typed


def read_input(given: Input, value: str | Sequence[str] | Json) -> Json:
    """Convert a text or a YAML value to the type of the input.

    Raise ValueError, which describes the valid values, for a value that does not fit.
    """
    if given.type is InputType.ACCOUNTS:
        return _accounts(value)
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    match given.type, value:
        case InputType.FLAG, bool():
            return value
        case InputType.FLAG, str() if value.strip().lower() in _FLAGS:
            return _FLAGS[value.strip().lower()]
        case InputType.FLAG, _:
            raise ValueError("takes yes or no")
        case InputType.NUMBER, int() if not isinstance(value, bool):
            return value
        case InputType.NUMBER, str() if re.fullmatch(r"\s*-?[0-9]{1,15}\s*", value, re.ASCII):
            return int(value)
        case InputType.NUMBER, _:
            raise ValueError("takes a whole number")
        case InputType.CHOICE, str() if value.strip() in given.options:
            return value.strip()
        case InputType.CHOICE, _:
            raise ValueError("takes one of " + ", ".join(given.options))
        case InputType.TIME, str():
            return _time(value)
        case InputType.TEXT, str():
            return _text(value)
    raise ValueError(f"takes one {given.type}")


def read_answer(step: Step, text: str) -> str:
    """Return a person's answer to a step in its stored form.

    A decision accepts one of its options, in upper or lower case. A manual step accepts any text
    that is not empty. Raise UsageError for another answer.
    """
    if step.kind is StepKind.DECIDE:
        by_folded = {option.casefold(): option for option in step.options}
        option = by_folded.get(text.strip().casefold())
        if option is None:
            raise UsageError(f"step `{step.name}`: answer one of {', '.join(step.options)}")
        return option
    if step.kind is not StepKind.MANUAL:
        raise UsageError(f"step `{step.name}`: not a question. It needs no answer.")
    try:
        answer = _text(text)
    except ValueError as error:
        raise UsageError(f"answer to step `{step.name}`: {error}") from error
    if not answer:
        raise UsageError(f"answer to step `{step.name}`: empty. Describe the result.")
    return answer


def _accounts(value: object) -> Json:
    is_typed = isinstance(value, str)
    if isinstance(value, str):
        value = re.split(r"[,\n]", value)
    if not isinstance(value, list | tuple):
        raise ValueError("takes account names, separated by commas")
    names: dict[str, None] = {}
    for place, item in enumerate(value, start=1):
        name = item.strip() if isinstance(item, str) else None
        if name is None or len(name) > LONGEST_ACCOUNT or _has_controls(name):
            raise ValueError(f"entry {place} is not the name of an account")
        if is_typed and name.endswith(":"):
            raise ValueError(
                f"entry {place} has a directory without an account; write DIRECTORY:ACCOUNT"
            )
        if name:
            names[name] = None
    if not names:
        raise ValueError("has no account name")
    if len(names) > MOST_ACCOUNTS:
        raise ValueError(f"has more than {MOST_ACCOUNTS:,} accounts")
    return list(names)


def _text(value: str) -> str:
    text = value.strip()
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"takes at most {LONGEST_TEXT:,} characters")
    if _has_controls(text.replace("\n", "").replace("\t", "")):
        raise ValueError("has control characters")
    return text


def _time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise ValueError("takes a time such as 2026-03-01T02:30Z") from error
    if moment.tzinfo is None:
        raise ValueError("takes a time with its zone, such as 2026-03-01T02:30Z or …+01:00")
    try:
        return timestamp(typed_time_to_utc(moment))
    except ValueError as error:
        raise ValueError(f"takes a time such as 2026-03-01T02:30Z; {error}") from error


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def _describe_value(given: Input) -> str:
    return given.description or f"takes {given.type}"
