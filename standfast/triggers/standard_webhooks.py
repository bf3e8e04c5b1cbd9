"""Signatures by Standard Webhooks 1: two secrets, clock, order of checks.

Standard Webhooks is a public specification of signed messages. This module defines the order and
the limits of the checks. The library `standardwebhooks` computes the signature. Its own `verify` is
not used, because it reads the clock, accepts headers of any length, and accepts only one secret.

Rules
- Two secrets can be valid at the same time, so that a secret can be replaced while messages that
  are signed with the old secret still arrive.
- The time of a message differs from now by at most five minutes.
- Every signature is compared with every secret, in constant time.
- The signed text has one meaning: a timestamp consists of digits only, and the body is one JSON
  object.
- The sender receives no reason for a refusal. The reason is written to the local log, and quotes no
  input.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"
_SIGNATURE_PREFIX = "v1,"
_LEAST_BYTES, _MOST_BYTES = 24, 64  # limits of the specification
_LONGEST_ID = 256
_LONGEST_SIGNATURES = 4096
_MOST_SIGNATURES = 20
_TIMESTAMP_DIGITS = 12


class NotGenuine(ValueError):
    """The message is not from its source, or it is too old.

    The text is only for the local log.
    """


@dataclass(frozen=True, kw_only=True)
class SigningHeaders:
    """The three headers, well-formed and current, but not yet verified."""

    id: str
    timestamp: str
    signatures: tuple[bytes, ...]


def read_secret(text: str) -> bytes:
    """Return the bytes of a secret `whsec_…`.

    Raise ValueError for an invalid secret; the message does not contain it.
    """
    encoded = text.removeprefix(_PREFIX).rstrip("=")
    try:
        secret = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret must be whsec_ and base64") from None
    if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise ValueError(f"a webhook secret needs {_LEAST_BYTES} to {_MOST_BYTES} bytes")
    return secret


def read_headers(headers: Iterable[tuple[str, str]], now: datetime) -> SigningHeaders:
    """Validate the three headers; raise NotGenuine if one is not valid.

    Call this function before the body is read, so that the body of an old message is never read.
    The names in `headers` are in lower case.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name in (ID, TIMESTAMP, SIGNATURE):
            if name in found:
                raise NotGenuine("a signature header is repeated")
            found[name] = value
    if len(found) != 3:
        raise NotGenuine("it is not signed")
    message_id, timestamp = found[ID], found[TIMESTAMP]
    if not 0 < len(message_id) <= _LONGEST_ID or not _is_visible(message_id):
        raise NotGenuine("its id is invalid")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS):
        raise NotGenuine("its time is invalid")
    if abs(now.astimezone(UTC).timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise NotGenuine("its time is more than five minutes from now")
    return SigningHeaders(
        id=message_id, timestamp=timestamp, signatures=_signatures(found[SIGNATURE])
    )


def verify(headers: SigningHeaders, body: bytes, secrets: Sequence[bytes]) -> None:
    """Raise NotGenuine if no signature was made with one of the secrets."""
    sent_at = datetime.fromtimestamp(int(headers.timestamp), UTC)
    try:
        text = body.decode()
    except ValueError:
        raise NotGenuine("its body is not text") from None
    is_genuine = False
    for secret in secrets:
        expected = Webhook(secret).sign(headers.id, sent_at, text).encode()
        for signature in headers.signatures:
            is_genuine |= hmac.compare_digest(expected, signature)
    if not is_genuine:
        raise NotGenuine("its signature is not by a secret of this trigger")


def sign(secret: bytes, message_id: str, at: datetime, text: str) -> dict[str, str]:
    """Return the headers that sign a message of this program."""
    return {
        ID: message_id,
        TIMESTAMP: str(int(at.timestamp())),
        SIGNATURE: Webhook(secret).sign(message_id, at, text),
    }


def _signatures(text: str) -> tuple[bytes, ...]:
    """Return the signatures of version 1; ignore other versions."""
    words = text.split(" ") if len(text) <= _LONGEST_SIGNATURES else []
    found = tuple(
        word.encode() for word in words[:_MOST_SIGNATURES] if word.startswith(_SIGNATURE_PREFIX)
    )
    if not found:
        raise NotGenuine("it has no signature of version 1")
    return found


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
