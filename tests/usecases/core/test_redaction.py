"""Texts that leave the program contain no secret and no address."""

import json
import logging
from pathlib import Path

import pytest

from standfast.config.value_types import SecretReference
from standfast.secrets import SystemResolver
from standfast.usecases.core.redaction import (
    RedactedJsonLines,
    RedactedLines,
    RedactingResolver,
)


def resolver(**env: str) -> RedactingResolver:
    return RedactingResolver(resolver=SystemResolver(env=env, base_dir=Path()))


def record(message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("standfast.serve", logging.WARNING, "", 1, message, values, None)


@pytest.fixture
def secrets() -> RedactingResolver:
    found = resolver(TOKEN="s3cr3t-value", KEY="first line\nsecond line\n")
    for name in ("TOKEN", "KEY"):
        found.resolve(SecretReference(f"env:{name}"))
    return found


def test_lines_hide_secrets_and_addresses(secrets: RedactingResolver) -> None:
    message = record("sent %s to %s", "s3cr3t-value, second line", "anna@example.com")
    for lines in (RedactedLines(secrets), RedactedJsonLines(secrets)):
        text = lines.format(message)
        for hidden in ("s3cr3t", "second line", "anna"):
            assert hidden not in text


def test_json_line_has_its_event_without_values(secrets: RedactingResolver) -> None:
    line = json.loads(RedactedJsonLines(secrets).format(record("%s of %s", "alarm", "crm")))
    assert (line["event"], line["message"]) == ("%s of %s", "alarm of crm")
    assert (line["level"], line["logger"]) == ("warning", "standfast.serve")


def test_exception_is_named_by_its_class(secrets: RedactingResolver) -> None:
    error = ValueError("anna")
    message = record("broken")
    message.exc_info = (ValueError, error, None)
    text = RedactedJsonLines(secrets).format(message)
    assert json.loads(text)["exception"] == "ValueError"
    assert "anna" not in text


def test_short_secret_does_not_hide_words() -> None:
    secrets = resolver(PIN="be")
    secrets.resolve(SecretReference("env:PIN"))
    assert secrets.redact("backup begun") == "backup begun"
