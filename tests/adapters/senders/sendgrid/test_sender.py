import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.sendgrid.sender import SendGridSender
from standfast.config.sections.senders import SendgridSenderConfig
from standfast.errors import ConfigurationError, Refused, Unavailable
from standfast.notices.prepared_notice import Piece, Prepared, PreparedParts
from standfast.records import EffectState
from tests.adapters.senders.sender_context import context
from tests.adapters.senders.sender_contract import SenderContract, message
from tests.adapters.settings import settings_of
from tests.servers import free_port, growing
from tests.servers.sendgrid import KEY, Fault, SendGrid, running_sendgrid

DONE, REFUSED = EffectState.DONE, EffectState.REFUSED
FAILED, UNKNOWN = EffectState.FAILED, EffectState.UNKNOWN


OPEN: list[SendGridSender] = []


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def sender_for(
    account: SendGrid, *, key: str = KEY, seconds: float = 10.0, **unchecked: Any
) -> Any:
    settings = settings_of(
        SendgridSenderConfig,
        key=key,
        sender_address="security@shop.test",
        from_name="Shop “Größe”",
        timeout_seconds=seconds,
    ).model_copy(update={"url": account.url, **unchecked})
    sender = SendGridSender("grid", settings, context())
    OPEN.append(sender)
    return sender


PREPARED = Prepared(
    template="t",
    languages={
        language: PreparedParts(
            subject=(Piece(text=hello), Piece(text="name", is_slot=True)),
            text=(
                Piece(text=hello),
                Piece(text="name", is_slot=True),
                Piece(text=". Data: "),
                Piece(text="data", is_slot=True),
                Piece(text="\n"),
            ),
            html=(
                Piece(text=f"<p>{hello}"),
                Piece(text="name", is_slot=True),
                Piece(text=": <b>"),
                Piece(text="data", is_slot=True),
                Piece(text="</b></p>\n"),
            ),
        )
        for language, hello in (("en", "Dear "), ("es", "Estimada "))
    },
    when_empty={},
)


def written(number: int, language: str = "en", **values: str) -> Message:
    """Return a message of this module's notice, as a plan contains it."""
    address = f"person{number}@customers.test"
    slots = {"name": f"Person {number}", "data": "your bill", **values}
    filled = PREPARED.fill(language, slots, f"token-{number}", address=address)
    return Message(
        token=f"token-{number}",
        address=address,
        subject=filled.subject,
        text=filled.text,
        html=filled.html,
        language=language,
        parts=PREPARED.languages[language],
        shown=filled.shown,
        escaped=filled.escaped,
    )


def states(results: Sequence[Any]) -> list[EffectState]:
    return [result.state for result in results]


class TestSendGridSender(SenderContract):
    @pytest.fixture
    def sender(self, sendgrid_server: SendGrid) -> SendGridSender:
        self.server = sendgrid_server
        made: SendGridSender = sender_for(sendgrid_server)
        return made

    def arrived(self) -> Sequence[Message]:
        return [
            Message(
                token=one.token,
                address=one.address,
                subject=one.subject,
                text=one.text,
                html=one.html,
                language=one.headers["Content-Language"],
            )
            for one in self.server.taken
        ]

    def turn_away(self, address: str) -> None:
        self.server.unknown_people.add(address)

    def put_off(self, address: str) -> None:
        self.server.put_off.add(address)

    def test_one_turned_away_stops_nobody(self, sender: Sender) -> None:
        """A rejection "not now" rejects a whole request.

        Messages that were accepted before it stay accepted.
        """
        self.turn_away("person2@customers.test")
        self.put_off("person3@customers.test")
        results = sender.send([message(number) for number in (1, 2, 3, 4)])
        assert states(results) == [DONE, REFUSED, FAILED, FAILED]
        assert results[2].retry_after_seconds
        assert [there.token for there in self.arrived()] == ["token-1"]


def test_one_request_carries_individual_values(sendgrid_server: SendGrid) -> None:
    batch = [written(number) for number in range(1, 1001)]
    results = sender_for(sendgrid_server).send(batch)
    assert set(states(results)) == {DONE}
    assert {result.facts["x_message_id"] for result in results} == {"made-up-0"}
    assert len(sendgrid_server.requests) == 1
    for sent, there in zip(batch, sendgrid_server.taken, strict=True):
        assert (there.token, there.address, there.subject) == (
            sent.token,
            sent.address,
            sent.subject,
        )
        assert (there.text, there.html) == (sent.text, sent.html)


def test_more_than_a_request_may_carry_becomes_several(sendgrid_server: SendGrid) -> None:
    results = sender_for(sendgrid_server).send([written(number) for number in range(2500)])
    assert set(states(results)) == {DONE}
    sizes = [len(request["personalizations"]) for request in sendgrid_server.requests]
    assert sizes == [1000, 1000, 500]
    assert [one.token for one in sendgrid_server.taken] == [f"token-{n}" for n in range(2500)]


def test_each_language_is_a_request_of_its_own(sendgrid_server: SendGrid) -> None:
    batch = [written(1), written(2, "es"), written(3), written(4, "es")]
    assert states(sender_for(sendgrid_server).send(batch)) == [DONE] * 4
    there = {one.token: one for one in sendgrid_server.taken}
    assert len(sendgrid_server.requests) == 2
    for sent in batch:
        assert there[sent.token].text == sent.text
        assert there[sent.token].headers["Content-Language"] == sent.language


def test_a_request_says_who_writes_and_tracks_nothing(sendgrid_server: SendGrid) -> None:
    sender_for(sendgrid_server, reply_to="desk@shop.test").send([written(1)])
    (request,) = sendgrid_server.requests
    assert request["from"] == {"email": "security@shop.test", "name": "Shop “Größe”"}
    assert request["reply_to"] == {"email": "desk@shop.test"}
    assert {name: one["enable"] for name, one in request["tracking_settings"].items()} == {
        "click_tracking": False,
        "open_tracking": False,
        "subscription_tracking": False,
        "ganalytics": False,
    }
    assert request["mail_settings"]["footer"] == {"enable": False}
    assert request["mail_settings"]["sandbox_mode"] == {"enable": False}
    assert request["headers"]["Auto-Submitted"] == "auto-generated"
    assert {"categories", "template_id", "asm", "custom_args"}.isdisjoint(request)
    (personal,) = request["personalizations"]
    assert personal["custom_args"] == {"standfast_token": "token-1"}


def test_mismatching_message_is_not_rebuilt(
    sendgrid_server: SendGrid,
) -> None:
    sent = written(1)
    altered = Message(
        **{
            **{name: getattr(sent, name) for name in sent.__dataclass_fields__},
            "text": "exactly this\n",
        }
    )
    assert states(sender_for(sendgrid_server).send([written(2), altered])) == [DONE, DONE]
    there = {one.token: one.text for one in sendgrid_server.taken}
    assert there == {"token-1": "exactly this\n", "token-2": written(2).text}


def test_too_large_values_use_own_request(
    sendgrid_server: SendGrid,
) -> None:
    pieces = tuple(Piece(text=f"s{number}", is_slot=True) for number in range(12))
    notice = Prepared(
        template="t",
        languages={"en": PreparedParts(subject=(Piece(text="S"),), text=pieces, html=pieces)},
        when_empty={},
    )
    batch = []
    for token, value in (("a", "&" * 200), ("b", "short")):
        slots = {f"s{number}": value for number in range(12)}
        filled = notice.fill("en", slots, token, address="a@b.test")
        batch.append(
            Message(
                token=token,
                address=f"{token}@customers.test",
                subject="S",
                text=filled.text,
                html=filled.html,
                language="en",
                parts=notice.languages["en"],
                shown=filled.shown,
                escaped=filled.escaped,
            )
        )
    assert states(sender_for(sendgrid_server).send(batch)) == [DONE, DONE]
    there = {one.token: (one.text, one.html) for one in sendgrid_server.taken}
    assert there == {one.token: (one.text, one.html) for one in batch}


def test_no_value_can_spell_the_mark_of_another(sendgrid_server: SendGrid) -> None:
    marks = iter(["aaaa", "bbbb", "cccc"])
    settings = settings_of(
        SendgridSenderConfig, key=KEY, sender_address="a@shop.test", url=sendgrid_server.url
    )
    sender = SendGridSender("grid", settings, context(), new_mark=lambda: next(marks))
    OPEN.append(sender)
    batch = [written(1, name="-aaaa.0.t-"), written(2, data="bbbb"), written(3)]
    assert states(sender.send(batch)) == [DONE] * 3
    for sent, there in zip(batch, sendgrid_server.taken, strict=True):
        assert (there.subject, there.text, there.html) == (sent.subject, sent.text, sent.html)
    assert "-cccc.0.t-" in sendgrid_server.requests[0]["content"][0]["value"]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=6))
def test_hostile_names_reach_nobody_else(sendgrid_server: SendGrid, names: list[str]) -> None:
    sendgrid_server.taken.clear()
    batch = []
    for number, name in enumerate(names):
        try:
            batch.append(written(number, name=name, data=names[-number]))
        except Refused:
            continue  # cleaning leaves no visible character of the name
    results = sender_for(sendgrid_server).send(batch)
    sent = [one for one, result in zip(batch, results, strict=True) if result.state is DONE]
    assert {result.state for result in results} <= {DONE, REFUSED}
    there = {one.token: one for one in sendgrid_server.taken}
    assert there.keys() == {one.token for one in sent}
    for one in sent:
        found = there[one.token]
        assert (found.subject, found.text, found.html) == (one.subject, one.text, one.html)


def test_refused_recipient_does_not_stop_others(
    sendgrid_server: SendGrid,
) -> None:
    sendgrid_server.unknown_people |= {"person2@customers.test", "person5@customers.test"}
    results = sender_for(sendgrid_server).send([written(number) for number in range(1, 8)])
    assert states(results) == [DONE, REFUSED, DONE, DONE, REFUSED, DONE, DONE]
    assert [one.token for one in sendgrid_server.taken] == [
        f"token-{number}" for number in (1, 3, 4, 6, 7)
    ]


def test_a_refusal_that_names_nobody_is_narrowed_down(sendgrid_server: SendGrid) -> None:
    sendgrid_server.names_whom = False
    sendgrid_server.unknown_people.add("person37@customers.test")
    results = sender_for(sendgrid_server).send([written(number) for number in range(100)])
    assert states(results).count(DONE) == 99
    assert results[37].state is REFUSED
    assert sorted(one.token for one in sendgrid_server.taken) == sorted(
        f"token-{number}" for number in range(100) if number != 37
    )


def test_refusals_without_end_are_not_hunted_for_ever(sendgrid_server: SendGrid) -> None:
    sendgrid_server.names_whom = False
    sendgrid_server.unknown_people |= {f"person{number}@customers.test" for number in range(100)}
    results = sender_for(sendgrid_server).send([written(number) for number in range(100)])
    assert set(states(results)) == {REFUSED, FAILED}
    assert all(one.retry_after_seconds for one in results if one.state is FAILED)


def test_a_refused_sender_address_blames_no_recipient(sendgrid_server: SendGrid) -> None:
    sendgrid_server.faults.append(Fault(status=400, field="from.email"))
    results = sender_for(sendgrid_server).send([written(1), written(2, "es")])
    assert states(results) == [FAILED, FAILED]
    assert results[0].retry_after_seconds is None
    assert "about from" in results[0].reason


@pytest.mark.parametrize("is_wrong_key", [True, False])
def test_suspended_account_fails_all(sendgrid_server: SendGrid, is_wrong_key: bool) -> None:
    sendgrid_server.is_suspended = True
    sender = sender_for(sendgrid_server, key="SG.wrong" if is_wrong_key else KEY)
    results = sender.send([written(1), written(2, "es")])
    assert [(one.state, one.retry_after_seconds) for one in results] == [(FAILED, None)] * 2
    assert ("key" if is_wrong_key else "account") in results[0].reason
    assert "SG." not in results[0].reason


def test_too_large_a_request_is_halved(sendgrid_server: SendGrid) -> None:
    sendgrid_server.largest_bytes = 4000
    results = sender_for(sendgrid_server).send([written(number) for number in range(40)])
    assert set(states(results)) == {DONE}
    assert len(sendgrid_server.requests) > 1
    assert sorted(one.token for one in sendgrid_server.taken) == sorted(
        f"token-{number}" for number in range(40)
    )


def test_one_message_too_large_by_itself_is_refused(sendgrid_server: SendGrid) -> None:
    sendgrid_server.largest_bytes = 100
    (result,) = sender_for(sendgrid_server).send([written(1)])
    assert result.state is REFUSED
    assert "too large" in result.reason


def test_a_limit_says_when_to_come_again(sendgrid_server: SendGrid) -> None:
    reset = int(time.time()) + 40
    sendgrid_server.faults.append(Fault(status=429, headers=(("X-RateLimit-Reset", str(reset)),)))
    results = sender_for(sendgrid_server).send([written(1), written(2, "es")])
    assert states(results) == [FAILED, FAILED]
    assert all(30 < (one.retry_after_seconds or 0) <= 40 for one in results)
    assert sendgrid_server.taken == []


@pytest.mark.parametrize(
    ("status", "state"), [(500, UNKNOWN), (502, UNKNOWN), (503, FAILED), (200, UNKNOWN)]
)
@pytest.mark.parametrize("is_taken", [True, False])
def test_uncertain_error_is_unknown(
    sendgrid_server: SendGrid, status: int, state: EffectState, is_taken: bool
) -> None:
    sendgrid_server.faults.append(Fault(status=status, takes_place=is_taken))
    (result,) = sender_for(sendgrid_server).send([written(1)])
    assert result.state is state
    assert (result.retry_after_seconds is not None) == (state is FAILED)


@pytest.mark.parametrize("is_taken", [True, False])
def test_silence_is_unknown_and_not_repeated(sendgrid_server: SendGrid, is_taken: bool) -> None:
    sendgrid_server.faults.append(Fault(status=-1, takes_place=is_taken))
    for seconds in growing(0.4):
        sender = sender_for(sendgrid_server, seconds=seconds)
        results = sender.send([written(1), written(2), written(3, "es")])
        if not sendgrid_server.faults:
            break
    assert states(results) == [UNKNOWN, UNKNOWN, FAILED]
    assert results[2].retry_after_seconds
    sendgrid_server.let_go.set()
    assert len(sendgrid_server.taken) == (2 if is_taken else 0)
    assert sender.find(["token-1"]) == [None]


def test_dropped_connection_is_unknown(sendgrid_server: SendGrid) -> None:
    sendgrid_server.faults.append(Fault(takes_place=True))
    (result,) = sender_for(sendgrid_server).send([written(1)])
    assert result.state is UNKNOWN
    assert len(sendgrid_server.taken) == 1


def test_refused_connection_is_retryable() -> None:
    nowhere = SendGrid(url=f"http://127.0.0.1:{free_port()}")
    results = sender_for(nowhere).send([written(1), written(2, "es")])
    assert states(results) == [FAILED, FAILED]
    assert all(one.retry_after_seconds for one in results)


def test_non_ascii_local_part_is_refused(
    sendgrid_server: SendGrid,
) -> None:
    batch = [message(1, address="jörg@customers.test"), message(2, address="ana@bücher.test")]
    assert states(sender_for(sendgrid_server).send(batch)) == [REFUSED, DONE]
    assert sendgrid_server.taken[0].address == "ana@xn--bcher-kva.test"


def test_reaching_checks_the_key_and_sends_nothing(sendgrid_server: SendGrid) -> None:
    sender_for(sendgrid_server).reach()
    assert sendgrid_server.requests == []
    with pytest.raises(Unavailable, match="refuses the key"):
        sender_for(sendgrid_server, key="SG.other").reach()
    with (
        running_sendgrid(SendGrid(scopes=("stats.read",))) as other,
        pytest.raises(Unavailable, match="may"),
    ):
        sender_for(other).reach()


def test_the_region_decides_the_host() -> None:
    hosts = {
        region: SendGridSender(
            "grid",
            settings_of(SendgridSenderConfig, key=KEY, sender_address="a@shop.test", region=region),
            context(),
        )._host
        for region in ("eu", "global")
    }
    assert hosts == {"eu": "https://api.eu.sendgrid.com", "global": "https://api.sendgrid.com"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sender_address": "nobody"}, "sender_address"),
        ({"sender_address": "jörg@shop.test"}, "sender_address"),
        ({"reply_to": "a@b\r\nBcc: c@d.test"}, "reply_to"),
        ({"from_name": "a\r\nb"}, "from_name"),
        ({"from_name": "Shop =?utf-8?q?a=0d=0aBcc=3Av=40b.test?="}, "from_name"),
        ({"key": "two words"}, "key"),
    ],
)
def test_unusable_settings_are_named_at_build(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        sender_for(SendGrid(url="http://127.0.0.1:1"), **changes)
