"""Exactly one process does the work, whatever Prefect does."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import flow_calls
from flows.inline_response import run_response
from flows.response_claim import ResponseClaim, calling_flow, claimed_response
from standfast.errors import Unavailable

CONFIG = Path("standfast.toml")


def test_without_prefect_the_work_is_done_here() -> None:
    done: list[str] = []
    way = run_response(
        CONFIG,
        "inc-1",
        is_prefect_available=lambda: False,
        without_prefect=lambda: done.append("here"),
    )
    assert (way, done) == ("serve", ["here"])


def test_flow_that_begins_in_time_works(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def respond(config: Path, incident: str) -> None:
        with claimed_response(incident):
            done.append("flow")

    monkeypatch.setattr(flow_calls, "respond", respond)
    way = run_response(
        CONFIG,
        "inc-2",
        is_prefect_available=lambda: True,
        without_prefect=lambda: done.append("here"),
        begins_within_seconds=3600,
    )
    assert (way, done) == ("prefect", ["flow"])


def test_a_flow_that_begins_too_late_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    go, was_refused = threading.Event(), threading.Event()

    def respond(config: Path, incident: str) -> None:
        go.wait(30)
        try:
            with claimed_response(incident):
                done.append("flow")
        except Unavailable:
            was_refused.set()

    monkeypatch.setattr(flow_calls, "respond", respond)
    way = run_response(
        CONFIG,
        "inc-3",
        is_prefect_available=lambda: True,
        without_prefect=lambda: done.append("here"),
        begins_within_seconds=0.05,
    )
    go.set()
    assert was_refused.wait(30)
    assert (way, done) == ("serve", ["here"])


def test_delayed_flow_takes_no_later_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    is_late, was_refused = threading.Event(), threading.Event()

    def held_up(config: Path, incident: str) -> None:
        is_late.wait(30)
        try:
            with claimed_response(incident):
                done.append("the first flow")
        except Unavailable:
            was_refused.set()

    def second(config: Path, incident: str) -> None:
        is_late.set()
        assert was_refused.wait(30), "the first is refused while the second is called"
        with claimed_response(incident):
            done.append("the second flow")

    def carried_on(respond: Callable[[Path, str], None], seconds: float) -> str:
        monkeypatch.setattr(flow_calls, "respond", respond)
        return run_response(
            CONFIG,
            "inc-8",
            is_prefect_available=lambda: True,
            without_prefect=lambda: done.append("here"),
            begins_within_seconds=seconds,
        )

    assert carried_on(held_up, 0.05) == "serve"
    assert carried_on(second, 3600) == "prefect"
    assert done == ["here", "the second flow"]


def test_flow_failing_early_is_not_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def respond(config: Path, incident: str) -> None:
        raise RuntimeError("Prefect failed before the flow began")

    monkeypatch.setattr(flow_calls, "respond", respond)
    way = run_response(
        CONFIG,
        "inc-4",
        is_prefect_available=lambda: True,
        without_prefect=lambda: done.append("here"),
        begins_within_seconds=3600,
    )
    assert (way, done) == ("serve", ["here"])


def test_hanging_prefect_is_not_awaited_after_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def respond(config: Path, incident: str) -> None:
        with claimed_response(incident):
            pass
        release.wait(60)  # as when the server dies before it learns of the end

    monkeypatch.setattr(flow_calls, "respond", respond)
    way = run_response(
        CONFIG,
        "inc-5",
        is_prefect_available=lambda: True,
        without_prefect=lambda: None,
        begins_within_seconds=3600,
    )
    assert way == "prefect"
    release.set()


def test_worker_flow_needs_no_claim() -> None:
    with claimed_response("inc-6"):
        pass


def test_abandoned_flow_is_reported_in_prefect() -> None:
    claim = ResponseClaim()
    assert not claim.belongs_to_flow(0)
    with (
        calling_flow(claim),
        pytest.raises(Unavailable, match="inc-7"),
        claimed_response("inc-7"),
    ):
        pytest.fail("it was not to begin")


def test_what_the_operation_raises_is_raised() -> None:
    def fail() -> None:
        raise Unavailable("the ledger is gone")

    with pytest.raises(Unavailable):
        run_response(CONFIG, "inc-8", is_prefect_available=lambda: False, without_prefect=fail)
