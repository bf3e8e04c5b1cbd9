"""List of all users of a SCIM directory: complete, or an error."""

import json
from collections.abc import Iterator

import pytest

from standfast.adapters.accounts.scim.user_list import list_users
from standfast.errors import Unavailable
from standfast.http_client import HttpClient
from standfast.retry_rules import RETRY_SECONDS
from tests.adapters.accounts.scripted import TOKEN, Scripted, replying, scripted_directory


@pytest.fixture
def directory() -> Iterator[Scripted]:
    with scripted_directory() as directory:
        for number in range(7):
            directory.add(f"agent{number}")
        yield directory


def listed(directory: Scripted) -> list[str]:
    http = HttpClient()
    try:
        return [str(user["userName"]) for user in list_users("staff", directory.url, TOKEN, http)]
    finally:
        http.close()


@pytest.mark.parametrize("page_size", [1, 3, 7, 100])
def test_every_page_is_read(directory: Scripted, page_size: int) -> None:
    directory.page_size = page_size
    assert listed(directory) == [f"agent{number}" for number in range(7)]
    assert directory.count("GET", "/Users") == -(-7 // page_size)


def test_incomplete_list_is_refused(directory: Scripted) -> None:
    """Missing people would count as leavers, or get no notice."""
    short = {"totalResults": 9, "Resources": [one.as_json() for one in directory.accounts]}
    empty = {"totalResults": 9, "Resources": []}
    directory.script("GET", *(replying(200, json.dumps(page).encode()) for page in (short, empty)))
    with pytest.raises(Unavailable, match="listed 7 of 9"):
        listed(directory)


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, b""), (200, b"{"), (200, b"[]"), (200, b'{"totalResults": 1, "Resources": [{}]}')],
)
def test_broken_page_makes_no_list(directory: Scripted, status: int, body: bytes) -> None:
    directory.page_size = 3
    directory.script("GET", lambda exchange: exchange.reply(*exchange.apply()))
    directory.script("GET", replying(status, body))
    with pytest.raises(Unavailable):
        listed(directory)


def test_absent_directory_is_named_and_retryable() -> None:
    http = HttpClient()
    try:
        with pytest.raises(
            Unavailable, match=r"'staff': cannot be read, .*\[accounts\.staff\]"
        ) as away:
            list_users("staff", "http://127.0.0.1:9/v2", TOKEN, http)
    finally:
        http.close()
    assert away.value.retry_after_seconds == RETRY_SECONDS
