"""What SendGrid tells of the mails it took on: its Event Webhook, read and verified.

Owns the signature and what each event means. Leaves the ledger and HTTP to others.

Rules
- Nothing is read before the signature over the moment and the bytes is verified, and that moment is
  near: SendGrid tries again for a day, so an honest message may be that old.
- An id that stands twice counts once. Across messages nothing needs to be remembered: what is heard
  is joined so that hearing it again changes nothing (`ledger.deliveries`).
- An event that we cannot read, or that is not about a mail of ours, is counted; the others stand.
- A report as spam is the reader's: it was delivered. Opens, clicks and subscriptions are not ours.
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
OLDEST = timedelta(hours=26)  # a day of trying again, and some clock drift
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
    """The message is not one that the owner of a key signed just now; says why, for our log."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """The events of one message, and how many of it could not be read."""

    events: tuple[DeliveryEvent, ...]
    unread: int = 0


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What stands in the headers of a message."""

    signature: str
    timestamp: str


def read_headers(headers: Mapping[str, str], now: datetime) -> Signed:
    """Read what must be there, names in lower case; NotGenuine when it is not, or is too old."""
    signature, timestamp = headers.get(SIGNATURE, ""), headers.get(TIMESTAMP, "")
    if not signature or len(signature) > 500:
        raise NotGenuine("it has no signature")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise NotGenuine("it has no time")
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    if not now - OLDEST <= moment <= now + MOST_AHEAD:
        raise NotGenuine("its time is too far from ours")
    return Signed(signature=signature, timestamp=timestamp)


def verify(signed: Signed, body: bytes, keys: Iterable[str]) -> None:
    """Raise NotGenuine unless one of the public keys (base64, as SendGrid shows them) signed it.

    ConfigurationError when a key is none.
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
                "event_key is no public key: copy the verification key from SendGrid's page"
            ) from None
        if webhook.verify_signature(text, signed.signature, signed.timestamp):
            return
    raise NotGenuine("no key of ours has signed it")


def read_events(body: bytes) -> Told:
    """Read a verified message; ValueError when it is no list of events."""
    found = json.loads(body)
    if not isinstance(found, list):
        raise ValueError("the message is no list of events")
    by_id: dict[object, DeliveryEvent] = {}
    unread = 0
    for place, one in enumerate(found):
        if not isinstance(one, dict):
            unread += 1
            continue
        if not _is_about_an_effect(one):
            continue
        event = _read(one)
        if event is not None:
            event_id = one.get("sg_event_id")
            by_id[event_id if isinstance(event_id, str) else place] = event
        else:
            unread += 1
    return Told(events=tuple(by_id.values()), unread=unread)


def _is_about_an_effect(one: Mapping[str, object]) -> bool:
    """Tell whether it is about what became of a mail that an effect sent; alarms are none."""
    token, kind = one.get(TOKEN_ARGUMENT), one.get("event")
    is_ours = isinstance(token, str) and _TOKEN.fullmatch(token) is not None
    return is_ours and not (isinstance(kind, str) and kind in _NOT_OURS)


def _read(one: Mapping[str, object]) -> DeliveryEvent | None:
    kind, at = one.get("event"), one.get("timestamp")
    if not (isinstance(kind, str) and kind in _MEANS):
        return None
    if not isinstance(at, int) or isinstance(at, bool) or not 0 < at < 10**11:
        return None
    return DeliveryEvent(
        token=str(one[TOKEN_ARGUMENT]),
        state=_MEANS[kind],
        at=datetime.fromtimestamp(at, UTC),
        is_complaint=kind == "spamreport",
    )
