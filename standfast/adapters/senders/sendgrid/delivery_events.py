"""Delivery events of SendGrid's Event Webhook: verification and meaning.

Rules
- Nothing is parsed before the signature over time and bytes is verified. A message older than 26
  hours is refused: SendGrid repeats messages for a day, and clocks may differ.
- Events with the same id in a message are one event. Ids of earlier messages need not be stored:
  the ledger (the database of the installation) merges events, so that a repeated event changes
  nothing (`ledger.messages.delivery_reports`).
- An event that cannot be parsed, or that is not about a mail of Standfast, is counted; the other
  events are processed.
- A spam report means that the mail was delivered, because a reader sends it. Opens, clicks and
  subscriptions are ignored.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from standfast.adapters.senders.sendgrid.sender import TOKEN_ARGUMENT
from standfast.errors import ConfigurationError
from standfast.records import DeliveryEvent, DeliveryState

LARGEST_BYTES = 4 * 1024 * 1024
SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
OLDEST = timedelta(hours=26)
MOST_AHEAD = timedelta(minutes=10)

_MEANS = {
    "processed": DeliveryState.TAKEN,
    "deferred": DeliveryState.DEFERRED,
    "delivered": DeliveryState.DELIVERED,
    "spamreport": DeliveryState.DELIVERED,
    "bounce": DeliveryState.BOUNCED,
    "dropped": DeliveryState.DROPPED,
}
_NOT_OURS = frozenset({"open", "click", "unsubscribe", "group_unsubscribe", "group_resubscribe"})
_TOKEN = re.compile(r"[0-9a-f]{32}")


class NotGenuine(ValueError):
    """The message has no recent signature by a known key.

    The text of the error is for the log only.
    """


@dataclass(frozen=True, kw_only=True)
class Events:
    """The events of one message, and the number that could not be parsed."""

    events: tuple[DeliveryEvent, ...]
    unread: int = 0


@dataclass(frozen=True, kw_only=True)
class Signed:
    """The headers of a message: time and signature."""

    signature: str
    timestamp: str


def read_headers(headers: Mapping[str, str], now: datetime) -> Signed:
    """Parse the headers, with names in lower case.

    Raises NotGenuine if one is missing, or if the time is too old.
    """
    signature, timestamp = headers.get(SIGNATURE, ""), headers.get(TIMESTAMP, "")
    if not signature or len(signature) > 500:
        raise NotGenuine("it has no signature")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise NotGenuine("it has no time")
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    if not now - OLDEST <= moment <= now + MOST_AHEAD:
        raise NotGenuine("its time differs too much from the clock of this host")
    return Signed(signature=signature, timestamp=timestamp)


def verify(signed: Signed, body: bytes, keys: Iterable[str]) -> None:
    """Raise NotGenuine unless one of the public keys signed the message.

    The keys are base64, as SendGrid shows them. ConfigurationError if a key is invalid.
    """
    from sendgrid.helpers.eventwebhook import EventWebhook

    try:
        base64.b64decode(signed.signature, validate=True)
        text = body.decode()
    except ValueError:
        raise NotGenuine("its signature or its body is not readable") from None
    for key in keys:
        try:
            webhook = EventWebhook(key.strip())
        except ValueError:
            raise ConfigurationError(
                "event_key: not a public key. Copy the verification key from SendGrid's page."
            ) from None
        if webhook.verify_signature(text, signed.signature, signed.timestamp):
            return
    raise NotGenuine("no configured key verifies its signature")


def read_events(body: bytes) -> Events:
    """Parse a verified message; ValueError if it is not a list of events."""
    found = json.loads(body)
    if not isinstance(found, list):
        raise ValueError("the message is not a list of events")
    by_id: dict[object, DeliveryEvent] = {}
    unread = 0
    for index, entry in enumerate(found):
        if not isinstance(entry, dict):
            unread += 1
            continue
        if not _is_about_an_effect(entry):
            continue
        event = _read(entry)
        if event is not None:
            event_id = entry.get("sg_event_id")
            by_id[event_id if isinstance(event_id, str) else index] = event
        else:
            unread += 1
    return Events(events=tuple(by_id.values()), unread=unread)


def _is_about_an_effect(event: Mapping[str, object]) -> bool:
    """Return whether an event is about a mail that the ledger has planned.

    Alarms are mails too, but the ledger does not plan them, and their tokens have another form.
    """
    token, kind = event.get(TOKEN_ARGUMENT), event.get("event")
    is_ours = isinstance(token, str) and _TOKEN.fullmatch(token) is not None
    return is_ours and not (isinstance(kind, str) and kind in _NOT_OURS)


def _read(event: Mapping[str, object]) -> DeliveryEvent | None:
    kind, at = event.get("event"), event.get("timestamp")
    if not (isinstance(kind, str) and kind in _MEANS):
        return None
    if not isinstance(at, int) or isinstance(at, bool) or not 0 < at < 10**11:
        return None
    return DeliveryEvent(
        token=str(event[TOKEN_ARGUMENT]),
        state=_MEANS[kind],
        at=datetime.fromtimestamp(at, UTC),
        is_complaint=kind == "spamreport",
    )
