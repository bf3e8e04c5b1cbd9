"""A message must be fresh and signed, as in the reference of the standard."""

import base64
import secrets as random
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from standfast.triggers.standard_webhooks import NotGenuine, read_headers, read_secret, verify

NOW = datetime(2026, 11, 25, 3, 0, 0, 600_000, tzinfo=UTC)
BODY = '{"user": "alice"}'


def secret() -> str:
    return "whsec_" + base64.b64encode(random.token_bytes(32)).decode()


def headers(text: str, *, at: datetime = NOW, body: str = BODY, **more: str) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(text).sign("msg_1", at, body),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


def is_genuine(given: dict[str, str], *texts: str, body: str = BODY) -> bool:
    try:
        found = read_headers(given.items(), NOW)
        verify(found, body.encode(), [read_secret(text) for text in texts])
    except NotGenuine:
        return False
    return True


def test_what_the_reference_signs_is_genuine() -> None:
    text = secret()
    assert is_genuine(headers(text), text)
    assert read_headers(headers(text).items(), NOW).id == "msg_1"


def test_two_secrets_are_accepted_during_replacement() -> None:
    old, new, other = secret(), secret(), secret()
    assert is_genuine(headers(old), new, old)
    assert is_genuine(headers(new), new, old)
    assert not is_genuine(headers(other), new, old)
    both = headers(old)["webhook-signature"] + " " + headers(new)["webhook-signature"]
    assert is_genuine(headers(old, webhook_signature=both), new)


def test_changed_body_id_or_time_is_refused() -> None:
    text = secret()
    assert not is_genuine(headers(text), text, body=BODY + " ")
    assert not is_genuine(headers(text, webhook_id="msg_2"), text)
    later = str(int(NOW.timestamp()) + 1)
    assert not is_genuine(headers(text, webhook_timestamp=later), text)


@pytest.mark.parametrize(("seconds", "is_in"), [(0, True), (299, True), (301, False)])
def test_clocks_may_differ_by_five_minutes_either_way(seconds: int, is_in: bool) -> None:
    text = secret()
    for moment in (NOW - timedelta(seconds=seconds), NOW + timedelta(seconds=seconds)):
        assert is_genuine(headers(text, at=moment), text) is is_in


@pytest.mark.parametrize(
    "bad",
    [
        {"webhook-id": ""},
        {"webhook-id": "a b"},
        {"webhook-id": "a\r\nb"},
        {"webhook-id": "x" * 257},
        {"webhook-timestamp": "1790000000.5"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "١٧٩"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,not base64"},
        {"webhook-signature": "v2," + base64.b64encode(b"x" * 32).decode()},
        {"webhook-signature": "v1," + "A" * 5000},
    ],
)
def test_a_header_that_is_none_is_not_genuine(bad: dict[str, str]) -> None:
    text = secret()
    assert not is_genuine({**headers(text), **bad}, text)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_or_repeated_header_is_refused(name: str) -> None:
    text = secret()
    given = list(headers(text).items())
    with pytest.raises(NotGenuine, match="not signed"):
        read_headers([one for one in given if one[0] != name], NOW)
    with pytest.raises(NotGenuine, match="repeated"):
        read_headers([*given, (name, dict(given)[name])], NOW)


def test_invalid_secret_is_refused_and_not_repeated() -> None:
    for text in ("whsec_", "whsec_c2hvcnQ=", "whsec_***", "whsec_" + "A" * 400):
        with pytest.raises(ValueError, match="secret") as refused:
            read_secret(text)
        assert text not in str(refused.value)
    assert read_secret(secret())
