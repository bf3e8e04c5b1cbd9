"""Loading of `standfast.toml`: all problems at once; hints on syntax.

This module turns a file into a `Config` and checks the names that refer to other sections.
`schema.py` defines the format, `standfast/config_file.py` finds the file, `standfast/secrets.py`
resolves the secrets.

Rules
- Each problem has the file, the line, the key and an action. No problem repeats a value of the
  file.
- Relative paths start at the folder of the file, not at the working directory.
- Loading changes nothing and reads no other file.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from standfast.config.cross_references import broken_references
from standfast.config.installation_set import with_installation_set
from standfast.config.line_numbers import key_lines, line_of
from standfast.config.schema import Config
from standfast.config.toml_writer import key_text
from standfast.config.validation import Finding, validate
from standfast.errors import ConfigurationError, FileInvalid, Problem

_LARGEST_FILE_BYTES = 1024 * 1024


def load(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises `FileInvalid` with every problem, in the order of the lines. Raises `ConfigurationError`
    if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"configuration {path}: cannot be read, {error.strerror}. Check its path and mode."
        ) from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> Config:
    """Validate the content of a configuration file, which need not exist."""
    text, raw = _read(content, path)
    config = validate(Config, raw, path.absolute().parent)
    if not isinstance(config, Config):
        raise _invalid(path, text, config)
    if findings := list(broken_references(config)):
        raise _invalid(path, text, findings)
    config.read_from(content, path)
    return with_installation_set(config, path)


def _read(content: bytes, path: Path) -> tuple[str, dict[str, Any]]:
    """Decode and parse the file; raise `FileInvalid` for the first problem."""
    if len(content) > _LARGEST_FILE_BYTES:
        raise _single_problem(path, 0, "the file is larger than 1 MiB", "is this the right file?")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _single_problem(path, line, "not UTF-8 text", "save the file as UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _message_and_line(str(error), text)
        raise _single_problem(path, line, f"not TOML: {message}", _syntax_hint(message)) from None
    except RecursionError:
        raise _single_problem(path, 0, "nested too deeply", "no setting needs that") from None


def _syntax_hint(message: str) -> str:
    """Return a hint for an error of tomllib.

    `tomllib` reports a text without quotation marks as an invalid value.
    """
    if message.startswith("Cannot declare "):
        return "this table exists above; write below it"
    if message.startswith("Cannot overwrite a value"):
        return "this key exists above; keep one of them"
    if message.startswith("Cannot mutate immutable namespace"):
        return "this exists above as one value; write it there: { key = value, … }"
    if message.startswith("Invalid value"):
        return "text needs quotation marks"
    return "a line is [table], or key = value with text in quotation marks"


def _message_and_line(message: str, text: str) -> tuple[str, int]:
    """Return the message of tomllib without its position, and the line.

    The message may quote a single character, but no value.
    """
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if found is None:
        return message, 0
    return message[: found.start()], int(found[1] or text.count("\n") + 1)


def _single_problem(path: Path, line: int, message: str, hint: str) -> FileInvalid:
    return FileInvalid([Problem(file=str(path), line=line, message=message, hint=hint)])


def _invalid(path: Path, text: str, findings: Iterable[Finding]) -> FileInvalid:
    lines = key_lines(text)
    problems = [
        Problem(
            file=str(path),
            line=line_of(finding.key, lines),
            message=f"{key_text(finding.key)}: {finding.message}",
            hint=finding.hint,
        )
        for finding in findings
    ]
    return FileInvalid(sorted(problems, key=lambda problem: problem.line))
