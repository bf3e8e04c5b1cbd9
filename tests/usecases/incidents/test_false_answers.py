"""A directory over HTTP that lies, stalls, disconnects or defers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from standfast.adapters.accounts.scim import connector
from standfast.errors import ExitStatus
from standfast.records import EffectState, Mode
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from tests.servers.over_http import Answering, listening
from tests.usecases.installations import furnish, installation_at

pytestmark = pytest.mark.usefixtures("quick_looks")


@dataclass
class Liar:
    """A directory over HTTP with scripted answers and a log of requests."""

    # From the method and its count.
    answer: Callable[[str, int], tuple[int, dict[str, str], bytes] | None]
    hits: list[tuple[str, float]] = field(default_factory=list)
    url: str = ""


@contextmanager
def lying(liar: Liar, clock: Callable[[], datetime]) -> Iterator[Liar]:
    class Handler(Answering):
        def _meet(self) -> None:
            self.body()
            liar.hits.append((self.command, clock().timestamp()))
            count = sum(method == self.command for method, _ in liar.hits)
            told = liar.answer(self.command, count)
            if told is None:
                self.close_connection = True
                return
            status, headers, body = told
            self.answer(status, body, headers)

        do_GET = do_PATCH = _meet

    with listening(Handler) as port:
        liar.url = f"http://127.0.0.1:{port}/v2"
        yield liar


def user(*, is_active: bool) -> dict[str, object]:
    return {"id": "1", "userName": "agent01", "active": is_active, "schemas": []}


def listed(*, is_active: bool) -> tuple[int, dict[str, str], bytes]:
    page = {"totalResults": 1, "Resources": [user(is_active=is_active)]}
    return 200, {"Content-Type": "application/scim+json"}, json.dumps(page).encode()


def locked_through(tmp_path: Path, liar: Liar) -> tuple[Outcome, str, EffectState]:
    """Lock agent01 in the directory; return outcome, reason and state."""
    config_file = furnish(tmp_path, timeout_seconds=20)
    with installation_at(config_file) as known, lying(liar, known.clock):
        config_file.write_text(config_file.read_text().replace("http://127.0.0.1:9/v2", liar.url))
        with installation_at(config_file) as installation:
            case = lifecycle.open_incident(
                installation,
                "lock",
                {"accounts": ["agents:agent01"]},
                mode=Mode.LIVE,
                opened_by="dana",
            ).incident
            outcome = lifecycle.advance(installation, case, "direct")
            (row,) = installation.ledger.effects.of_incident(case)
            return outcome, row.reason, row.state


def test_busy_directory_is_asked_later(tmp_path: Path) -> None:
    is_active = True

    def answer(method: str, count: int) -> tuple[int, dict[str, str], bytes]:
        nonlocal is_active
        if method == "GET":
            found = listed(is_active=is_active)
            return found if is_active else (200, {}, json.dumps(user(is_active=False)).encode())
        if count == 1:
            return 429, {"Retry-After": "1"}, b""
        is_active = False
        return 204, {}, b""

    liar = Liar(answer=answer)
    outcome, _, state = locked_through(tmp_path, liar)
    assert (outcome.exit_status, state) == (ExitStatus.DONE, EffectState.DONE)
    first, second = [when for method, when in liar.hits if method == "PATCH"]
    assert second - first >= 1.0, "Retry-After was honoured"


def test_false_success_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(method: str, count: int) -> tuple[int, dict[str, str], bytes]:
        if method == "PATCH":
            return 204, {}, b""
        # The first two reads are by name; each attempt reads by name, then reads back by id.
        is_by_name = count < 3 or count % 2 == 0
        body = json.dumps(user(is_active=True)).encode()
        return listed(is_active=True) if is_by_name else (200, {}, body)

    monkeypatch.setattr(connector, "REPLICA_SECONDS", 0.05)
    _, reason, state = locked_through(tmp_path, Liar(answer=answer))
    assert state is EffectState.FAILED
    assert "unchanged" in reason


@pytest.mark.parametrize("body", [b"<html>agent01 oops</html>", b"\xff\x00", b"[]", b"{", b""])
def test_garbage_locks_nobody_and_is_not_quoted(tmp_path: Path, body: bytes) -> None:
    outcome, reason, state = locked_through(
        tmp_path, Liar(answer=lambda _method, _count: (200, {}, body))
    )
    assert (outcome.exit_status, state) == (ExitStatus.FAILED, EffectState.FAILED)
    assert reason
    assert "agent01" not in reason
    assert "oops" not in reason


@pytest.mark.usefixtures("calls_settle_at_once")
def test_cut_connection_leaves_no_false_success(tmp_path: Path) -> None:
    def answer(method: str, _count: int) -> tuple[int, dict[str, str], bytes] | None:
        return None if method == "PATCH" else listed(is_active=True)

    outcome, _, state = locked_through(tmp_path, Liar(answer=answer))
    assert (outcome.exit_status, state) == (ExitStatus.FAILED, EffectState.FAILED)
