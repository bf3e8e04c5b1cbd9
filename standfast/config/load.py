"""Read `standfast.toml`, and say everything that is wrong with it at once.

Owns the way from a file to a `Config`, and the names in it that must name something. Leaves the
shape to `schema.py`, finding the file to `standfast/config_file.py`, the secrets to
`standfast/secrets.py`.

Rules
- Each problem has the file, the line, the key and what to do; none has a value that was written.
- Relative paths start at the file's folder, whatever folder the command runs in.
- Reading changes nothing and reaches nothing but the file.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from standfast.config.cross_references import dangling
from standfast.config.schema import Config
from standfast.config.toml_writer import key_text
from standfast.config.validation import Finding, validate
from standfast.errors import ConfigurationError, FileInvalid, Problem

_LARGEST_FILE_BYTES = 1024 * 1024


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises `FileInvalid`, a `ConfigurationError`, with every problem found, in line order, and a
    bare `ConfigurationError` when the file cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the configuration {path} cannot be read: {error.strerror}; mend its path or its mode"
        ) from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> Config:
    """Check the content of a configuration file that lies, or will lie, at `path`."""
    text, raw = _read(content, path)
    config = validate(Config, raw, path.absolute().parent)
    if not isinstance(config, Config):
        raise _invalid(path, text, config)
    if findings := list(dangling(config)):
        raise _invalid(path, text, findings)
    config.read_from(content, path)
    return config


def _read(content: bytes, path: Path) -> tuple[str, dict[str, Any]]:
    """Decode and parse; a problem here is the only one that can be told."""
    if len(content) > _LARGEST_FILE_BYTES:
        raise _sole(path, 0, "the file is larger than 1 MiB", "is this the right file?")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _sole(path, line, "not UTF-8 text", "save the file as UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _located(str(error), text)
        raise _sole(path, line, f"not TOML: {message}", _syntax_hint(message)) from None
    except RecursionError:
        raise _sole(path, 0, "nested too deeply", "no setting needs that") from None


def _syntax_hint(message: str) -> str:
    """Say what to do about what tomllib found; only a bad value may be text without its marks."""
    if message.startswith("Cannot declare "):
        return "this table stands above already; write below it"
    if message.startswith("Cannot overwrite a value"):
        return "this key stands above already; keep one of them"
    if message.startswith("Cannot mutate immutable namespace"):
        return "this stands above already as one value; write it in there: { key = value, … }"
    if message.startswith("Invalid value"):
        return "text needs quotation marks"
    return "a line is [table], or key = value with text in quotation marks"


def _located(message: str, text: str) -> tuple[str, int]:
    """Split tomllib's message into what and where; it may quote a single character, no value."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if found is None:
        return message, 0
    return message[: found.start()], int(found[1] or text.count("\n") + 1)


def _sole(path: Path, line: int, message: str, hint: str) -> FileInvalid:
    return FileInvalid([Problem(file=str(path), line=line, message=message, hint=hint)])


def _invalid(path: Path, text: str, findings: Iterable[Finding]) -> FileInvalid:
    from standfast.config.line_numbers import key_lines, line_of

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
