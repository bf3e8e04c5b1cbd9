from collections.abc import Iterator, Sequence
from email.header import decode_header, make_header
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)

from standfast.adapters.senders import Message
from standfast.adapters.senders.ses import SesSender
from standfast.config.sections.senders import SesSenderConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState
from tests.adapters.senders.sender_context import context
from tests.adapters.senders.sender_contract import SenderContract, message
from tests.adapters.settings import settings_of
from tests.servers import free_port, growing
from tests.servers.ses import Ses

DONE, REFUSED = EffectState.DONE, EffectState.REFUSED
FAILED, UNKNOWN = EffectState.FAILED, EffectState.UNKNOWN
OPEN: list[SesSender] = []


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def sender_for(account: Ses, *, seconds: float = 10.0, **unchecked: Any) -> SesSender:
    values = {
        "region": "eu-west-1",
        "sender_address": "security@shop.test",
        "from_name": "Shop “Größe”",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "made-up",
        "endpoint_url": account.url,
        "timeout_seconds": seconds,
    }
    settings = settings_of(SesSenderConfig, **values).model_copy(update=unchecked)
    sender = SesSender("ses", settings, context())
    OPEN.append(sender)
    return sender


class TestSesSender(SenderContract):
    @pytest.fixture
    def sender(self, ses_server: Ses) -> SesSender:
        self.server = ses_server
        return sender_for(ses_server)

    def arrived(self) -> Sequence[Message]:
        found = []
        for one in self.server.taken:
            content = one["Content"]["Simple"]
            headers = {header["Name"]: header["Value"] for header in content["Headers"]}
            (tag,) = one["EmailTags"]
            found.append(
                Message(
                    token=tag["Value"],
                    address=one["Destination"]["ToAddresses"][0],
                    subject=content["Subject"]["Data"],
                    text=content["Body"]["Text"]["Data"],
                    html=content["Body"]["Html"]["Data"],
                    language=headers["Content-Language"],
                )
            )
        return found

    def turn_away(self, address: str) -> None:
        self.server.errors[address] = (400, "MessageRejected")

    def put_off(self, address: str) -> None:
        self.server.errors[address] = (429, "TooManyRequestsException")

    def test_one_turned_away_stops_nobody(self, sender: Any) -> None:
        """A throttled account refuses all later messages, too."""
        self.turn_away("person2@customers.test")
        self.put_off("person3@customers.test")
        results = sender.send([message(number) for number in (1, 2, 3, 4)])
        assert [result.state for result in results] == [DONE, REFUSED, FAILED, FAILED]
        assert all(result.retry_after_seconds for result in results[2:])
        assert [there.token for there in self.arrived()] == ["token-1"]


def test_a_call_says_who_writes(ses_server: Ses) -> None:
    (result,) = sender_for(ses_server, reply_to="desk@shop.test").send([message()])
    assert result.facts == {"ses_message_id": "made-up-1"}
    (call,) = ses_server.taken
    written, _, address = call["FromEmailAddress"].rpartition(" ")
    assert written.isascii()
    assert str(make_header(decode_header(written))) == "Shop “Größe”"
    assert address == "<security@shop.test>"
    assert call["ReplyToAddresses"] == ["desk@shop.test"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "AccountSuspendedException"),
        (400, "SendingPausedException"),
        (400, "MailFromDomainNotVerifiedException"),
        (403, "AccessDeniedException"),
    ],
)
def test_what_concerns_the_account_holds_for_everybody(
    ses_server: Ses, status: int, code: str
) -> None:
    ses_server.account_error = (status, code)
    results = sender_for(ses_server).send([message(1), message(2)])
    assert [(one.state, one.retry_after_seconds) for one in results] == [(FAILED, None)] * 2
    assert results[0].reason == f"SES answered {code}"
    with pytest.raises(Unavailable, match=code):
        sender_for(ses_server).reach()


def test_account_error_stops_the_batch(ses_server: Ses) -> None:
    ses_server.errors["person1@customers.test"] = (400, "SendingPausedException")
    results = sender_for(ses_server).send([message(1), message(2), message(3)])
    assert [one.state for one in results] == [FAILED] * 3
    assert ses_server.asked == ["person1@customers.test"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "Throttling"),
        (400, "ThrottlingException"),
        (429, "LimitExceededException"),
        (503, "ServiceUnavailable"),
    ],
)
def test_reached_limit_is_retryable(ses_server: Ses, status: int, code: str) -> None:
    ses_server.errors["person2@customers.test"] = (status, code)
    results = sender_for(ses_server).send([message(1), message(2), message(3)])
    assert [one.state for one in results] == [DONE, FAILED, FAILED]
    assert all(one.retry_after_seconds for one in results[1:])
    assert ses_server.asked == ["person1@customers.test", "person2@customers.test"]


@pytest.mark.parametrize("code", ["MessageRejected", "BadRequestException"])
def test_refused_message_may_use_another_channel(ses_server: Ses, code: str) -> None:
    ses_server.errors["person2@customers.test"] = (400, code)
    beyond_ascii = message(3, address="größe@customers.test")
    results = sender_for(ses_server).send([message(1), message(2), beyond_ascii])
    assert [one.state for one in results] == [DONE, REFUSED, REFUSED]
    assert [one.may_go_elsewhere for one in results] == [False, True, True]
    assert "größe@customers.test" not in ses_server.asked


def test_a_code_that_is_none_is_not_repeated(ses_server: Ses) -> None:
    ses_server.errors["person1@customers.test"] = (400, "for.somebody@customers.test")
    (result,) = sender_for(ses_server).send([message(1)])
    assert result.reason == "SES answered 400"


def test_internal_error_leaves_one_message_unknown(
    ses_server: Ses,
) -> None:
    """SES may have accepted the message, and the SDK would send it again."""
    ses_server.errors["person1@customers.test"] = (500, "InternalFailure")
    results = sender_for(ses_server).send([message(1), message(2)])
    assert [one.state for one in results] == [UNKNOWN, DONE]
    assert ses_server.asked == ["person1@customers.test", "person2@customers.test"]


def test_connection_without_answer_leaves_message_unknown(
    ses_server: Ses,
) -> None:
    ses_server.dropped.add("person1@customers.test")
    results = sender_for(ses_server).send([message(1), message(2)])
    assert [one.state for one in results] == [UNKNOWN, DONE]
    assert ses_server.asked == ["person1@customers.test", "person2@customers.test"]


def test_without_tls_nothing_is_said_and_nothing_left(ses_server: Ses) -> None:
    address = ses_server.url.replace("http:", "https:")
    results = sender_for(ses_server, endpoint_url=address).send([message(1), message(2)])
    assert [(one.state, one.retry_after_seconds) for one in results] == [(FAILED, None)] * 2
    assert ses_server.asked == []


@pytest.mark.parametrize(
    ("error", "states", "is_worth_another_try"),
    [
        (ConnectTimeoutError(endpoint_url="https://ses.test"), [FAILED, FAILED], True),
        (EndpointConnectionError(endpoint_url="https://ses.test"), [FAILED, FAILED], True),
        (NoCredentialsError(), [FAILED, FAILED], False),
        (PartialCredentialsError(provider="env", cred_var="key"), [FAILED, FAILED], False),
        (ValueError("names somebody@customers.test"), [UNKNOWN, DONE], False),
    ],
)
def test_unsent_call_differs_from_sent_one(
    ses_server: Ses,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    states: list[EffectState],
    is_worth_another_try: bool,
) -> None:
    sender = sender_for(ses_server)
    send, met = sender._client.send_email, [error]

    def send_email(**given: Any) -> Any:
        if met:
            raise met.pop()
        return send(**given)

    monkeypatch.setattr(sender._client, "send_email", send_email)
    results = sender.send([message(1), message(2)])
    assert [one.state for one in results] == states
    assert bool(results[0].retry_after_seconds) is is_worth_another_try
    assert "somebody" not in results[0].reason


def test_mail_takes_no_way_that_the_environment_names(
    ses_server: Ses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    (result,) = sender_for(ses_server).send([message()])
    assert result.state is DONE


def test_silence_leaves_message_unknown_without_repeat(ses_server: Ses) -> None:
    ses_server.silent.add("person2@customers.test")
    for seconds in growing(0.6):
        ses_server.taken.clear()
        results = sender_for(ses_server, seconds=seconds).send([message(n) for n in (1, 2, 3)])
        if results[1].state is not FAILED:
            break
    assert [one.state for one in results] == [DONE, UNKNOWN, FAILED]
    ses_server.let_go.set()
    assert len(ses_server.taken) == 2


def test_refused_connection_is_retryable() -> None:
    nowhere = Ses(url=f"http://127.0.0.1:{free_port()}")
    results = sender_for(nowhere).send([message(1), message(2)])
    assert [one.state for one in results] == [FAILED, FAILED]
    assert all(one.retry_after_seconds for one in results)


def test_reaching_reads_the_account_and_sends_nothing(ses_server: Ses) -> None:
    sender_for(ses_server).reach()
    assert ses_server.taken == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sender_address": "nobody"}, "sender_address"),
        ({"reply_to": "a@b\r\nBcc: c@d.test"}, "reply_to"),
        ({"from_name": "a\r\nb"}, "from_name"),
        ({"from_name": "Shop =?utf-8?q?a=0d=0aBcc=3Av=40b.test?="}, "from_name"),
    ],
)
def test_unusable_settings_are_named_at_build(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        sender_for(Ses(url="http://127.0.0.1:1"), **changes)
