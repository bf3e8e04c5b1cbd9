"""The kinds of value: what each accepts, and what it refuses."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.validation import validate
from standfast.config.value_types import (
    CronSchedule,
    DatabaseUrl,
    ObjectPrefix,
    SecretReference,
    WebAddress,
)


class Example(Section):
    cron: CronSchedule = Field(default="* * * * *")
    web_address: WebAddress = Field(default="https://example.com")
    database_url: DatabaseUrl = Field(default="sqlite:///ledger.db")
    object_prefix: ObjectPrefix = Field(default="")
    number: Annotated[float, Field(gt=0, le=9)] = Field(default=1.0)


def kept(key: str, value: object) -> object:
    """Return the stored form of a value; ValueError if it is refused."""
    found = validate(Example, {key: value}, Path("/etc"))
    if isinstance(found, Example):
        return getattr(found, key)
    (finding,) = found
    assert finding.key == (key,)
    raise ValueError(finding.message)


@pytest.mark.parametrize("prefix", ["", "vault/", "call-centre/vault.1/"])
def test_prefix_is_empty_or_ends_with_slash(prefix: str) -> None:
    assert kept("object_prefix", prefix) == prefix


@pytest.mark.parametrize("prefix", ["vault", "/vault/", "a//", "../", "Vault/", "a b/", "{prefix}"])
def test_prefix_without_slash_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="ends with a slash"):
        kept("object_prefix", prefix)


@pytest.mark.parametrize(
    ("text", "scheme", "place"),
    [
        ("env:SCIM_TOKEN", "env", "SCIM_TOKEN"),
        ("file:keys/a token.txt", "file", "keys/a token.txt"),
        ("keyring:standfast/me@example.com/x", "keyring", "standfast/me@example.com/x"),
    ],
)
def test_a_reference_has_a_scheme_and_a_place(text: str, scheme: str, place: str) -> None:
    reference = SecretReference(text)
    assert (reference, reference.scheme, reference.place) == (text, scheme, place)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "env:",
        "env:9X",
        "env:A B",
        "file:",
        "keyring:service",
        "vault:x",
        " env:A",
        "file:a\nb",
    ],
)
def test_plain_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="named here, never written") as caught:
        SecretReference(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "schedule",
    [
        "30 2 * * *",
        "*/15 * * * *",
        "0 0 1,15 * *",
        "0 22 * jan-mar sun",
        "5-59/10 8-18 * * 1-5",
        "0 0 * * 7",
        " 0  1 * * * ",
    ],
)
def test_a_schedule_is_that_of_cron(schedule: str) -> None:
    assert kept("cron", schedule) == " ".join(schedule.split())


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "*/0 * * * *",
        "*/x * * * *",
        ", * * * *",
        "- * * * *",
        "* * * mon *",
        "² * * * *",
        "0 0 L * *",
        "0 0 * * 5#2",
        "0 0 30 2 *",
    ],
)
def test_what_cron_would_not_run_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError):
        kept("cron", schedule)


@given(st.text(alphabet="0123456789*/-, monja", max_size=30))
def test_no_schedule_is_more_than_refused(schedule: str) -> None:
    with suppress(ValueError):
        assert kept("cron", schedule) == " ".join(schedule.split())


@pytest.mark.parametrize(
    "address", ["https://example.com/scim/", "http://127.0.0.1:8080", "http://[::1]/x"]
)
def test_web_address_is_encrypted_or_local(address: str) -> None:
    assert kept("web_address", address) == address.rstrip("/")


@pytest.mark.parametrize(
    "address",
    [
        "example.com",
        "ftp://example.com",
        "http://example.com",
        "http://127.0.0.1.example.com",
        "https://user@example.com",
        "https://example.com?token=x",
        "https://example.com#x",
        "https://[broken",
        "https://",
    ],
)
def test_any_other_web_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        kept("web_address", address)


def test_a_database_address_without_a_password_is_kept() -> None:
    address = "postgresql+psycopg://standfast@db.example.com:5432/standfast?sslmode=verify-full"
    assert kept("database_url", address) == address


@pytest.mark.parametrize("number", [0, -1, 9.5, float("inf"), float("nan"), True, "1", 10**400])
def test_number_is_finite_and_within_bounds(number: object) -> None:
    assert kept("number", 9) == 9.0
    with pytest.raises(ValueError):
        kept("number", number)
