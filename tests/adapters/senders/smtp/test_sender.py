import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from standfast.adapters.senders import Message
from standfast.adapters.senders.smtp.mime_message import written
from standfast.adapters.senders.smtp.sender import SmtpSender
from standfast.errors import ConfigurationError
from standfast.records import EffectState
from tests.adapters.senders.sender_contract import SenderContract, message
from tests.adapters.senders.smtp_senders import NOW, parsed, sender_for
from tests.servers import free_port, growing
from tests.servers.smtp import DROP, SmtpServer, running_smtp


class TestSmtpSender(SenderContract):
    @pytest.fixture
    def sender(self, smtp_server: SmtpServer) -> SmtpSender:
        self.server = smtp_server
        return sender_for(smtp_server)

    def arrived(self) -> Sequence[Message]:
        return [parsed(delivered) for delivered in self.server.delivered]

    def turn_away(self, address: str) -> None:
        self.server.answer_recipient(address, f"550 5.1.1 no mailbox {address}")

    def put_off(self, address: str) -> None:
        self.server.answer_recipient(address, f"451 4.7.1 {address} is greylisted")


def test_headers_state_sender_time_and_automation(
    smtp_server: SmtpServer,
) -> None:
    sender_for(smtp_server, reply_to="desk@shop.test").send([message()])
    (delivered,) = smtp_server.delivered
    mail = delivered.message
    assert delivered.sender == "security@shop.test"
    assert mail["From"].addresses[0].display_name == "Shop “Größe”, security"
    assert mail["From"].addresses[0].addr_spec == "security@shop.test"
    assert mail["To"] == "person1@customers.test"
    assert mail["Reply-To"] == "desk@shop.test"
    assert mail["Date"].datetime == NOW
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    assert delivered.greeting == "shop.test"
    assert delivered.raw.isascii()


def test_a_batch_travels_on_one_connection(smtp_server: SmtpServer) -> None:
    smtp_server.answer_recipient("person2@customers.test", "550 5.1.1 gone")
    sender_for(smtp_server).send([message(number) for number in range(1, 6)])
    assert smtp_server.sessions == 1
    assert len(smtp_server.delivered) == 4


def test_fresh_connection_is_reused(
    smtp_server: SmtpServer,
) -> None:
    now = [0.0]
    sender = sender_for(smtp_server, monotonic=lambda: now[0])
    smtp_server.answer_recipient("person2@customers.test", "550 5.1.1 gone")
    for number in (1, 2, 3):
        sender.send([message(number)])
    assert (smtp_server.sessions, len(smtp_server.delivered)) == (1, 2)
    now[0] += 60
    sender.send([message(4)])
    assert smtp_server.sessions == 2


def test_dead_kept_connection_loses_no_message(
    smtp_server: SmtpServer,
) -> None:
    sender = sender_for(smtp_server)
    sender.send([message(1)])
    kept = sender._relay._kept[0].connection.sock
    assert kept is not None
    kept.shutdown(socket.SHUT_RDWR)
    (result,) = sender.send([message(2)])
    assert result.state is EffectState.DONE
    assert smtp_server.sessions == 2


def test_broken_or_used_connection_is_dropped(smtp_server: SmtpServer) -> None:
    sender = sender_for(smtp_server)
    smtp_server.answer_next_data(DROP)
    sender.send([message(1)])
    assert sender._relay._kept == []
    sender.send([message(number) for number in range(100)])
    assert sender._relay._kept == []
    assert smtp_server.sessions == 2


def test_calls_at_once_have_a_connection_each(smtp_server: SmtpServer) -> None:
    sender = sender_for(smtp_server)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(sender.send, [message(number)]) for number in range(40)]
        states = {call.result()[0].state for call in calls}
    assert states == {EffectState.DONE}
    assert smtp_server.sessions <= 4
    tokens = sorted(parsed(one).token for one in smtp_server.delivered)
    assert tokens == sorted(f"token-{number}" for number in range(40))


class TestPipelining(SenderContract):
    """The same contract for a relay that accepts several commands at once."""

    @pytest.fixture
    def sender(self) -> Iterator[SmtpSender]:
        with running_smtp(extensions=("PIPELINING", "DSN")) as server:
            self.server = server
            yield sender_for(server)

    def arrived(self) -> Sequence[Message]:
        return [parsed(delivered) for delivered in self.server.delivered]

    def turn_away(self, address: str) -> None:
        self.server.answer_recipient(address, f"550 5.1.1 no mailbox {address}")

    def put_off(self, address: str) -> None:
        self.server.answer_recipient(address, f"451 4.7.1 {address} is greylisted")


def test_commands_are_pipelined_before_the_message() -> None:
    with running_smtp(extensions=("PIPELINING",)) as server:
        sender_for(server).send([message(1), message(2)])
        flights = [one for one in server.flights if one.startswith(b"MAIL")]
        assert len(server.delivered) == 2
    assert flights == [
        b"MAIL FROM:<security@shop.test>\r\nRCPT TO:<person%d@customers.test>\r\nDATA\r\n" % number
        for number in (1, 2)
    ]


def test_dsn_is_requested_when_offered() -> None:
    with running_smtp(extensions=("DSN",)) as server:
        sender_for(server).send([message(1, address="ana+bank@customers.test")])
        (delivered,) = server.delivered
    assert delivered.recipients == ("ana+bank@customers.test",)
    assert delivered.asked == (
        "RET=HDRS ENVID=token-1 NOTIFY=FAILURE,DELAY ORCPT=rfc822;ana+2Bbank@customers.test"
    )


@pytest.mark.parametrize("is_taken", [True, False])
def test_pipelining_leaves_one_message_unknown(is_taken: bool) -> None:
    with running_smtp(extensions=("PIPELINING",)) as server:
        server.answer_recipient("person1@customers.test", "550 5.1.1 gone")
        server.answer_next_data("250 OK")
        if is_taken:
            server.drop_after_data()
        else:
            server.answer_next_data(DROP)
        results = sender_for(server).send([message(number) for number in (1, 2, 3, 4)])
    assert [result.state for result in results] == [
        EffectState.REFUSED,
        EffectState.DONE,
        EffectState.UNKNOWN,
        EffectState.DONE,
    ]


def test_relay_lost_at_rcpt_received_nothing() -> None:
    with running_smtp(extensions=("PIPELINING",)) as server:
        server.answer_recipient("person2@customers.test", DROP)
        results = sender_for(server).send([message(number) for number in (1, 2, 3)])
        assert len(server.delivered) == 2
    assert [result.state for result in results] == [
        EffectState.DONE,
        EffectState.FAILED,
        EffectState.DONE,
    ]


@pytest.mark.parametrize("answer", ["554 no valid recipients", "250 taken"])
def test_message_without_recipients_is_empty(answer: str) -> None:
    """RFC 2920 3.1: a relay may accept DATA although it refused every RCPT."""
    with scripted(to_nobody=answer) as (port, heard):
        sender = sender_for(SmtpServer(port))
        results = sender.send([message(1), message(2)])
        sender.close()
    assert [one.state for one in results] == [EffectState.REFUSED, EffectState.DONE]
    assert "550" in results[0].reason
    end = heard.index(b".\r\n")
    assert heard[end + 1] == b"rset\r\n"
    assert b"Dear person" not in b"".join(heard[:end])
    assert heard[-1] == b"quit\r\n"


@pytest.mark.parametrize("farewell", ["", "421 closing"])
def test_relay_hanging_up_stops_no_other_message(
    farewell: str,
) -> None:
    with scripted(hangs_up_after=b"rset\r\n", farewell=farewell) as (port, _):
        sender = sender_for(SmtpServer(port))
        results = sender.send([message(1), message(2), message(3)])
        sender.close()
    assert [one.state for one in results] == [
        EffectState.REFUSED,
        EffectState.DONE,
        EffectState.DONE,
    ]


def test_refused_sender_address_blames_no_recipient() -> None:
    with scripted(at_mail="553 5.7.1 not your domain") as (port, _):
        sender = sender_for(SmtpServer(port))
        results = sender.send([message(2), message(3)])
        sender.close()
    assert [one.state for one in results] == [EffectState.FAILED] * 2
    assert all("MAIL FROM with status 553" in one.reason for one in results)


@contextmanager
def scripted(
    *,
    to_nobody: str = "554 no valid recipients",
    at_mail: str = "250 OK",
    hangs_up_after: bytes = b"",
    farewell: str = "",
) -> Iterator[tuple[int, list[bytes]]]:
    """Run a relay that rejects person 1 and asks for their message.

    It disconnects at the first command `hangs_up_after`, after `farewell` if there is one. Yield
    its port and the received lines.
    """
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as file:
            file.write(b"220 hello\r\n")
            file.flush()
            in_message, is_to_nobody = False, False
            for line in file:
                heard.append(line)
                if line == hangs_up_after and heard.count(line) == 1:
                    file.write(f"{farewell}\r\n".encode() if farewell else b"")
                    return
                if in_message:
                    answer = b""
                    if line == b".\r\n":
                        answer = f"{to_nobody}\r\n".encode() if is_to_nobody else b"250 OK\r\n"
                        in_message = False
                elif line.startswith(b"ehlo"):
                    answer = b"250-relay\r\n250 PIPELINING\r\n"
                elif line.startswith(b"MAIL"):
                    answer = f"{at_mail}\r\n".encode()
                elif line.startswith(b"RCPT"):
                    is_to_nobody = line.startswith(b"RCPT TO:<person1@")
                    answer = b"550 gone\r\n" if is_to_nobody else b"250 OK\r\n"
                elif line == b"DATA\r\n":
                    in_message, answer = True, b"354 go on\r\n"
                else:
                    answer = b"250 OK\r\n"
                file.write(answer)
                file.flush()

    def serve() -> None:
        with suppress(OSError):  # the connection is closed
            while True:
                talk(listening.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], heard
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def test_unwritable_message_leaves_others_certain(
    smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_but_not_2(one: Message, *given: Any, **more: Any) -> bytes:
        if one.token == "token-2":
            raise LookupError("unknown charset, says person2@customers.test")
        return written(one, *given, **more)

    monkeypatch.setattr("standfast.adapters.senders.smtp.sender.written", written_but_not_2)
    results = sender_for(smtp_server).send([message(number) for number in (1, 2, 3)])
    assert [one.state for one in results] == [
        EffectState.DONE,
        EffectState.REFUSED,
        EffectState.DONE,
    ]
    assert "person2" not in results[1].reason


def test_long_tokens_and_subjects_keep_their_form(smtp_server: SmtpServer) -> None:
    token, subject = "t" * 120, "Störung " * 30
    sender_for(smtp_server).send([message(1, token=token, subject=subject.strip())])
    there = parsed(smtp_server.delivered[0])
    assert (there.token, there.subject) == (token, subject.strip())


@pytest.mark.parametrize("is_taken", [True, False])
def test_connection_lost_after_data_leaves_one_unknown(
    smtp_server: SmtpServer, is_taken: bool
) -> None:
    smtp_server.answer_next_data("250 OK")
    if is_taken:
        smtp_server.drop_after_data()
    else:
        smtp_server.answer_next_data(DROP)
    results = sender_for(smtp_server).send([message(number) for number in (1, 2, 3)])
    assert [result.state for result in results] == [
        EffectState.DONE,
        EffectState.UNKNOWN,
        EffectState.DONE,
    ]
    tokens = [parsed(one).token for one in smtp_server.delivered]
    assert tokens == ["token-1", *(["token-2"] if is_taken else []), "token-3"]


def test_a_connection_lost_before_data_surely_sent_nothing(smtp_server: SmtpServer) -> None:
    smtp_server.answer_recipient("person2@customers.test", DROP)
    results = sender_for(smtp_server).send([message(number) for number in (1, 2, 3)])
    assert [result.state for result in results] == [
        EffectState.DONE,
        EffectState.FAILED,
        EffectState.DONE,
    ]
    assert results[1].retry_after_seconds
    assert len(smtp_server.delivered) == 2


@pytest.mark.parametrize("cut", [DROP, "421 4.7.0 too many messages on this connection"])
def test_frequent_disconnects_delay_one_message(smtp_server: SmtpServer, cut: str) -> None:
    smtp_server.answer_recipient("person3@customers.test", cut)
    smtp_server.answer_recipient("person6@customers.test", cut)
    results = sender_for(smtp_server).send([message(number) for number in range(1, 9)])
    held_up = [number for number, one in enumerate(results, 1) if one.state is EffectState.FAILED]
    assert held_up == [3, 6]
    assert smtp_server.sessions == 3
    tokens = [parsed(one).token for one in smtp_server.delivered]
    assert tokens == [f"token-{number}" for number in (1, 2, 4, 5, 7, 8)]


def test_early_broken_relay_is_left_alone(smtp_server: SmtpServer) -> None:
    smtp_server.answer_recipient("person1@customers.test", DROP)
    results = sender_for(smtp_server).send([message(number) for number in (1, 2, 3)])
    assert [result.state for result in results] == [EffectState.FAILED] * 3
    assert all(result.retry_after_seconds for result in results)
    assert (smtp_server.sessions, smtp_server.delivered) == (1, ())


@pytest.mark.parametrize(
    ("answer", "state", "is_worth_another_try"),
    [
        ("554 5.7.1 spam", EffectState.REFUSED, False),
        ("451 4.3.0 later", EffectState.FAILED, True),
        ("421 4.3.2 closing", EffectState.FAILED, True),
        ("199 what", EffectState.UNKNOWN, False),
    ],
)
def test_an_answer_after_data_is_about_that_message(
    smtp_server: SmtpServer, answer: str, state: EffectState, is_worth_another_try: bool
) -> None:
    smtp_server.answer_next_data(answer)
    (result,) = sender_for(smtp_server).send([message()])
    assert result.state is state
    assert (result.retry_after_seconds is not None) is is_worth_another_try


def test_required_sign_in_blames_no_recipient() -> None:
    with running_smtp(credentials=("relay", "right")) as server:
        (result,) = sender_for(server).send([message()])
    assert result.state is EffectState.FAILED
    assert "530" in result.reason


@pytest.mark.parametrize(
    "answer", ["530 5.7.0 sign in first", "538 5.7.11 not without TLS", "350 what"]
)
def test_answers_about_us_reject_no_recipient(smtp_server: SmtpServer, answer: str) -> None:
    """A relay may report a fault of the client in its answer to a recipient.

    Postfix does this.
    """
    smtp_server.answer_recipient("person2@customers.test", answer)
    results = sender_for(smtp_server).send([message(number) for number in (1, 2, 3)])
    assert [one.state for one in results] == [
        EffectState.DONE,
        EffectState.FAILED,
        EffectState.DONE,
    ]
    assert answer[:3] in results[1].reason


def test_absent_relay_is_retryable() -> None:
    server = SmtpServer(free_port())
    results = sender_for(server).send([message(1), message(2)])
    assert [result.state for result in results] == [EffectState.FAILED] * 2
    assert all(result.retry_after_seconds for result in results)


def test_silent_relay_is_cut_at_the_deadline(
    smtp_server: SmtpServer,
) -> None:
    smtp_server.hold("rcpt")
    results = sender_for(smtp_server, timeout_seconds=0.3).send([message(1), message(2)])
    assert [result.state for result in results] == [EffectState.FAILED] * 2
    smtp_server.release()
    assert smtp_server.delivered == ()


def test_silence_after_data_is_unknown(smtp_server: SmtpServer) -> None:
    smtp_server.hold("data")
    for seconds in growing(0.3):
        results = sender_for(smtp_server, timeout_seconds=seconds).send([message(1), message(2)])
        if results[0].state is not EffectState.FAILED:
            break
    assert [result.state for result in results] == [EffectState.UNKNOWN, EffectState.FAILED]
    smtp_server.release()


def test_a_call_begins_no_message_after_its_time(smtp_server: SmtpServer) -> None:
    # At the start, after the connection, then before each message.
    ticks = iter([0.0, 0.0, 1.0, 29.0, 30.0])
    sender = sender_for(smtp_server, monotonic=lambda: next(ticks), timeout_seconds=30.0)
    results = sender.send([message(number) for number in (1, 2, 3)])
    assert [result.state for result in results] == [
        EffectState.DONE,
        EffectState.DONE,
        EffectState.FAILED,
    ]


def test_non_ascii_local_part_needs_smtputf8(
    smtp_server: SmtpServer,
) -> None:
    written = message(1, address="jörg@customers.test")
    (result,) = sender_for(smtp_server).send([written])
    assert result.state is EffectState.DONE
    (delivered,) = smtp_server.delivered
    assert delivered.recipients == ("jörg@customers.test",)
    assert "To: jörg@customers.test\r\n".encode() in delivered.raw
    with running_smtp(smtputf8=False) as old:
        refused, done = sender_for(old).send([written, message(2)])
        assert (refused.state, done.state) == (EffectState.REFUSED, EffectState.DONE)
        assert "SMTPUTF8" in refused.reason
        assert refused.may_go_elsewhere
        assert len(old.delivered) == 1


def test_a_relay_that_greets_with_no_is_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = SmtpServer(listening.getsockname()[1])
        answer = _answering(listening, b"554 no service\r\n")
        (result,) = sender_for(server).send([message()])
        answer()
    assert result.state is EffectState.FAILED
    assert "554" in result.reason


def _answering(listening: socket.socket, words: bytes) -> Callable[[], None]:
    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(words)

    thread = threading.Thread(target=answer)
    thread.start()
    return lambda: thread.join(timeout=10)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sender_address": "nobody"}, "sender_address"),
        ({"sender_address": "jörg@shop.test"}, "sender_address"),
        ({"reply_to": "a@b\r\nBcc: c@d.test"}, "reply_to"),
        ({"from_name": "a\r\nBcc: c@d.test"}, "from_name"),
        ({"from_name": "Shop =?utf-8?q?a=0d=0aBcc=3Av=40b.test?="}, "from_name"),
    ],
)
def test_unusable_settings_are_named_at_build(changes: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        sender_for(SmtpServer(1), unchecked=changes)
