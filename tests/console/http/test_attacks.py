"""Attacks on the HTTP port: opening, exhaustion, disclosure."""

import asyncio
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from standfast.console.http import connection_limits as connection_module
from standfast.console.http.work_queue import WORKERS, WorkQueue
from standfast.errors import Unavailable
from standfast.triggers.json_payload import LARGEST_BYTES
from tests.console import people
from tests.console import test_report_form as report_form
from tests.console.installations import (
    ALERTS,
    SECRET,
    SIEM,
    Site,
    about,
    furnish_with,
    signed,
    site_at,
)
from tests.console.wire import answer_to, connected, is_closed, rest_of, status_of
from tests.servers import growing, wait_until

HOST = b"Host: standfast\r\n"
wanted: dict[str, set[str]] = {}  # incidents that a test opened on purpose, by the place's address


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One installation for all attacks, which must survive each."""
    with site_at(furnish_with(tmp_path_factory.mktemp("attacked"), SIEM, ALERTS)) as found:
        yield found


@pytest.fixture(autouse=True)
def it_stands_afterwards(site: Site) -> Iterator[None]:
    """Assert that nothing was opened and valid requests are still answered."""
    before = set(site.incidents)
    yield
    assert set(site.incidents) - before == wanted.pop(site.url, set())
    wait_until(lambda: not site.app.queue._waiting, "all that was asked for is done")
    message = f"msg_after_{time.monotonic_ns()}"
    assert site.send(about(message), message).status_code == 202


def head(method: bytes = b"POST", path: bytes = b"/triggers/siem", more: bytes = b"") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + more + b"\r\n"


def signed_head(body: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed(body, "msg_x").items())
    return lines.encode()


def test_replayed_message_opens_no_second_incident(site: Site) -> None:
    body = json.dumps(about("replayed"))
    headers = signed(body, "msg_caught")
    first = site.post("siem", body.encode(), headers).json()["incident"]
    site.installation.ledger.incidents.close(first, "olga", site.installation.clock())
    again = site.post("siem", body.encode(), headers)
    assert again.json() == {"incident": first, "has_joined": True, "mode": "live"}
    wanted[site.url] = {first}


@pytest.mark.parametrize("announced", [LARGEST_BYTES + 1, 10**10, 10**18])
def test_announced_oversize_body_is_not_read(site: Site, announced: int) -> None:
    more = signed_head("{}") + f"Content-Length: {announced}\r\n".encode()
    answer = answer_to(site.port, head(more=more))
    assert status_of(answer) == 413
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("given", ["nothing", "both", "too much", "a part"])
def test_answers_do_not_reveal_trigger_names(site: Site, given: str) -> None:
    more, body = b"Content-Length: 2\r\n", b"{}"
    if given != "nothing":
        more += signed_head("another body")
    if given == "too much":
        more = more.replace(b"Length: 2", f"Length: {LARGEST_BYTES + 1}".encode())
    answers = []
    for name in (b"siem", b"alerts", b"nobody"):
        with connected(site.port) as connection:
            connection.sendall(head(path=b"/triggers/" + name, more=more))
            if given == "a part":  # an answer before the rest would reveal it
                connection.sendall(body[:1])
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(20)
                connection.sendall(body[1:])
            elif given != "too much":
                connection.sendall(body)
            answers.append(rest_of(connection))
    assert len(set(answers)) == 1


def test_oversize_chunked_body_is_not_read_further(site: Site) -> None:
    more = signed_head("{}") + b"Transfer-Encoding: chunked\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with connected(site.port) as connection:
        connection.sendall(head(more=more))
        sent = 0
        try:
            for _ in range(1000):
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass  # it was closed before all of it was sent
        assert sent < 1000 * len(chunk)


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 2, 3\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
def test_body_with_two_lengths_is_refused(site: Site, lengths: bytes) -> None:
    answer = answer_to(site.port, head(more=lengths + b"Connection: close\r\n") + b"{}0\r\n\r\n")
    assert status_of(answer) in (400, 401, 501)
    assert answer.count(b"HTTP/1.1") == 1  # the smuggled bytes are not a second request


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
        b"GET\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"\x00" * 1000,
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        head(more=b"X: " + b"a" * 100_000 + b"\r\n"),
        head(more=b"".join(b"X%d: y\r\n" % number for number in range(10_000))),
        head(more=b"X: a\r\n b\r\n"),
        head(more=b"X: a\x00b\r\n"),
        head(more=b"X\xff: a\r\n"),
        head(path=b"/triggers/siem\xff"),
        head(more=b"Webhook-Id: a\rWebhook-Id: b\r\n"),
    ],
)
def test_invalid_http_gets_400_or_nothing(site: Site, raw: bytes) -> None:
    answer = answer_to(site.port, raw)
    assert status_of(answer) in (0, 400, 401, 404, 431)
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"aaaa" not in answer


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"//triggers/siem",
        b"/triggers",
        b"/triggers/",
        b"/triggers/siem/",
        b"/triggers//siem",
        b"/triggers/../triggers/siem",
        b"/triggers/%2e%2e/siem",
        b"/triggers/siem%2f..%2fsiem",
        b"/triggers/siem%00",
        b"/triggers/siem%0d%0aX-Injected:%20yes",
        b"/triggers/%ff%fe",
        b"/TRIGGERS/siem",
        b"/report",
        b"/static/../../etc/passwd",
        b"http://elsewhere/triggers/nobody",
    ],
)
def test_other_path_spellings_lead_nowhere(site: Site, path: bytes) -> None:
    answer = answer_to(site.port, head(path=path, more=b"Connection: close\r\n"))
    assert status_of(answer) in (400, 401, 404)
    assert b"injected" not in answer.lower()


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"TRACE", b"OPTIONS", b"CONNECT"])
def test_trigger_accepts_only_post(site: Site, method: bytes) -> None:
    answer = answer_to(site.port, head(method, more=b"Connection: close\r\nX-Secret: s3cr3t\r\n"))
    assert status_of(answer) in (400, 405)
    assert b"s3cr3t" not in answer  # nothing is echoed


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 80_000,
        b'{"data": {"user": "alice"}, "data": {"user": "bob"}}',
        b'{"data": {"user": "alice", "user": "bob"}}',
        b'{"data": NaN}',
        b'{"data": ' + b"9" * 100_000 + b"}",
        b'"text"',
        b"",
        b'{"data": {"user": "a\\u0000b"}}',
        b'{"data": {"user": "\\ud800"}}',
        b'{"data": {"user": "' + b"x" * 3000 + b'"}}',
        b'{"data": {"user": {"user": "x"}}}',
    ],
)
def test_senseless_signed_message_opens_nothing(site: Site, body: bytes) -> None:
    answer = site.post("siem", body, _sign(body))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "alice" not in answer.text


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"data": {"user": "\xc3\x28"}}'])
def test_body_that_is_not_utf8_is_not_genuine(site: Site, body: bytes) -> None:
    # Standard Webhooks signs text, so bytes that are not text have no genuine signature.
    assert site.post("siem", body, _sign(body)).status_code == 401


def _sign(body: bytes, message_id: str = "msg_x") -> dict[str, str]:
    """Sign bytes, which the reference would have to decode."""
    import base64
    import hmac

    from standfast.triggers.standard_webhooks import read_secret

    moment = str(int(time.time()))
    signed_text = f"{message_id}.{moment}.".encode() + body
    mac = hmac.digest(read_secret(SECRET), signed_text, "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": moment,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }


def test_an_account_with_commas_is_one_strange_account(site: Site) -> None:
    answer = site.send(about("one,agents:two\u2028,three"), "msg_commas")
    incident = answer.json()["incident"]
    assert site.installation.ledger.incidents.get(incident).inputs["accounts"] == [
        "agents:one,agents:two\u2028,three"
    ]
    wanted[site.url] = {incident}


def is_well(connection: socket.socket) -> bool:
    """Ask for the health; return False if the connection was cut before."""
    connection.sendall(head(b"GET", b"/health"))
    answer = b""
    while not answer.endswith(b'"ok"}'):
        more = connection.recv(4096)
        if not more:
            return False
        answer += more
    return b"200" in answer


def drip(slow: socket.socket) -> None:
    """Send a byte now and then until the connection is cut off."""
    with suppress(OSError):
        while True:
            slow.sendall(b"X: y\r\n")
            time.sleep(0.05)


def test_slow_request_head_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in growing(0.5):
        monkeypatch.setattr(connection_module, "REQUEST_SECONDS", seconds)
        with (
            connected(site.port) as silent,
            connected(site.port) as slow,
            connected(site.port) as late,
        ):
            slow.sendall(b"POST /triggers/siem HTTP/1.1\r\n" + HOST)
            # A whole request first: the next one on the same connection has no more time than it.
            if not is_well(late):
                continue
            late.sendall(b"GET /hea")
            dripping = threading.Thread(target=drip, args=[slow], daemon=True)
            dripping.start()
            assert rest_of(silent) == b""
            assert rest_of(late) == b""
            assert rest_of(slow) == b""
            dripping.join(20)
            break
    wait_until(lambda: _connections(site) == 0, "none is held")


def test_slow_request_body_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "REQUEST_SECONDS", 0.5)
    with connected(site.port) as slow:
        slow.sendall(head(more=signed_head("{}") + b"Content-Length: 1000\r\n") + b"{")
        assert status_of(rest_of(slow)) in (0, 400)


def test_unread_answers_are_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "REQUEST_SECONDS", 1.0)
    console = '[serve]\nconsole = "https://standfast.example.com"\n'
    with site_at(furnish_with(tmp_path, console)) as site, socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        greedy.connect(("127.0.0.1", site.port))
        greedy.sendall(head(b"GET", b"/console") * 400)  # more than the kernel keeps of answers
        wait_until(lambda: _connections(site) == 1, "it is connected")
        wait_until(lambda: _connections(site) == 0, "nothing is held for who takes nothing")


@pytest.mark.parametrize("what", ["MOST_CONNECTIONS", "MOST_PER_ADDRESS"])
def test_excess_connections_are_closed_others_served(
    site: Site, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, what, 20)
    monkeypatch.setattr(connection_module, "is_loopback_proxy", lambda host: False)
    wait_until(lambda: _connections(site) == 0, "nobody is connected")
    with ExitStack() as stack:
        held = [stack.enter_context(connected(site.port)) for _ in range(60)]
        for one in held:
            one.setblocking(False)
        wait_until(lambda: sum(is_closed(one) for one in held) == 40, "the others are closed")
        assert _connections(site) == 20
    wait_until(lambda: _connections(site) == 0, "none is held")


def test_thousand_requests_are_answered_or_delayed(site: Site) -> None:
    """The queue is bounded, and each accepted request has an incident."""
    body = json.dumps(about("crowd"))
    headers = signed(body, "msg_crowd")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\n".encode()
    raw = head(more=lines + length) + body.encode()

    async def send() -> int:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(raw)
            answer = await reader.read()
            writer.close()
        except OSError:
            return 0  # beyond the connections that are held
        return status_of(answer)

    async def crowd() -> list[int]:
        return await asyncio.gather(*(send() for _ in range(1000)))

    with many_files():
        statuses = asyncio.run(crowd())
    assert set(statuses) <= {0, 202, 503}
    assert statuses.count(202) >= 64
    answer = site.post("siem", body.encode(), headers)
    wanted[site.url] = {answer.json()["incident"]}
    assert answer.json()["has_joined"] is True  # one message, however often: one incident


@contextmanager
def many_files() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_full_queue_returns_503_with_retry_after(tmp_path: Path) -> None:
    with site_at(furnish_with(tmp_path, SIEM)) as site:
        site.app.queue.close()
        site.app.queue = WorkQueue(most_waiting=0)
        answer = site.send(about())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("way", "hangs"),
    [("console", "sign_in.sign_in_pages.heading"), ("report", "report_form.receive")],
)
def test_busy_pages_do_not_delay_triggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, hangs: str
) -> None:
    """The attempt: strangers keep every thread busy that answers them."""
    released, held = threading.Event(), threading.Semaphore(0)

    def hang(*given: object, **more: object) -> None:
        held.release()
        released.wait(240)
        raise Unavailable("the ledger does not answer")

    def come(site: Site) -> None:
        if way == "report":
            report_form.send(site, report_form.filled(site))
        else:
            httpx.get(f"{site.url}/console", trust_env=False, timeout=240)

    console = people.CONSOLE.format(address=people.ADDRESS)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "seen.yaml").write_text(report_form.PLAYBOOK)
    own = report_form.FORM if way == "report" else console
    with site_at(furnish_with(tmp_path, SIEM, own)) as site:
        monkeypatch.setattr(f"standfast.console.{hangs}", hang)
        strangers = [threading.Thread(target=come, args=(site,)) for _ in range(2 * WORKERS)]
        for stranger in strangers:
            stranger.start()
        try:
            assert held.acquire(timeout=120)
            assert held.acquire(timeout=120)
            assert site.send(about()).status_code == 202
        finally:
            released.set()
            for stranger in strangers:
                stranger.join()


def test_hanging_ledger_does_not_delay_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(*given: object, **more: object) -> None:
        released.wait(20)

    with site_at(furnish_with(tmp_path, SIEM)) as site:
        site.app.queue.patience_seconds = 0.3
        with monkeypatch.context() as patched:
            patched.setattr("standfast.console.application.receive", hang)
            answer = site.send(about())
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert httpx.get(f"{site.url}/health", trust_env=False).status_code == 200
        released.set()
        assert site.send(about()).status_code == 202


def test_internal_error_reveals_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def break_(*given: object, **more: object) -> None:
        raise RuntimeError("agent01 has the password hunter2")

    with site_at(furnish_with(tmp_path, SIEM)) as site:
        monkeypatch.setattr("standfast.console.application.receive", break_)
        answer = site.send(about())
        assert answer.status_code == 500
        assert "hunter2" not in answer.text
    said = capfd.readouterr()
    assert "hunter2" not in said.out + said.err


def _connections(site: Site) -> int:
    server = site.server._server
    return len(server.server_state.connections) if server else 0
