"""The time limit of an HTTP exchange, and whether its request was sent."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from standfast.http_client import HttpClient, NoAnswer, NotSent
from standfast.time_limit import Deadline
from tests.adapters.accounts.scripted import Scripted, scripted_directory


@pytest.fixture
def directory() -> Iterator[Scripted]:
    with scripted_directory() as directory:
        yield directory


@pytest.fixture
def http() -> Iterator[HttpClient]:
    http = HttpClient(workers=1)
    yield http
    http.close()


def join_errands() -> None:
    """Wait until no abandoned exchange is still in progress."""
    for thread in threading.enumerate():
        if thread.name == "bounded-call":
            thread.join(timeout=60)
            assert not thread.is_alive()


def test_unsent_request_did_not_arrive(directory: Scripted, http: HttpClient) -> None:
    has_arrived = threading.Event()

    def hold(exchange: Any) -> None:
        has_arrived.set()
        exchange.hang()

    directory.script("GET", hold)
    with ThreadPoolExecutor(max_workers=1) as pool:
        first = pool.submit(http.exchange, "GET", directory.url + "/first", Deadline(60))
        assert has_arrived.wait(60)
        with pytest.raises(NotSent):
            http.exchange("PATCH", directory.url + "/second", Deadline(0.2))
        directory.let_go.set()
        with pytest.raises(NoAnswer):
            first.result()
    join_errands()
    assert directory.count("PATCH") == 0


def test_hanging_name_resolution_sends_nothing(
    directory: Scripted, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver_answers = threading.Event()
    resolve = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        assert resolver_answers.wait(60)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(NotSent, match="time-out"):
        http.exchange("PATCH", directory.url + "/Users/1", Deadline(0.2))
    resolver_answers.set()
    join_errands()
    assert directory.count("PATCH") == 0


def test_unanswered_request_may_have_arrived(directory: Scripted, http: HttpClient) -> None:
    directory.script("PATCH", lambda exchange: exchange.drop())
    with pytest.raises(NoAnswer):
        http.exchange("PATCH", directory.url + "/Users/1", Deadline(10))
    assert directory.count("PATCH") == 1


def test_endless_exchange_is_ended(directory: Scripted, http: HttpClient) -> None:
    directory.script("GET", lambda exchange: exchange.drip_body())
    with pytest.raises(NoAnswer):
        http.exchange("GET", directory.url + "/Users/1", Deadline(1.0))
    join_errands()


def test_no_time_left_sends_nothing(directory: Scripted, http: HttpClient) -> None:
    with pytest.raises(NotSent):
        http.exchange("PATCH", directory.url + "/Users/1", Deadline(0))
    assert directory.count("PATCH") == 0


def test_an_errors_text_carries_neither_address_nor_parameters(http: HttpClient) -> None:
    with socket.socket() as reserved:  # bound and not listening, so every connection is refused
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/alice"
        with pytest.raises(NotSent) as caught:
            http.exchange("GET", url, Deadline(10), params={"filter": "alice"})
    assert "alice" not in str(caught.value)


def test_the_environments_proxy_is_not_asked(
    directory: Scripted, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert http.exchange("GET", directory.url + "/Users/1", Deadline(10)).status == 401
