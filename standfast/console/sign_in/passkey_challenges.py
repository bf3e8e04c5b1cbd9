"""Challenges for passkeys, for sign-in and registration.

A signed challenge proves only who signs in; it approves nothing.

Rules
- A challenge contains its time and purpose, authenticated by a key of this process. A challenge is
  stored only when it is used, so that many requests for challenges cost nothing.
- A challenge is valid once, for five minutes. Stopping `serve` invalidates all challenges.
- A challenge is longer than the hash that an approval signs, so that neither can be used as the
  other.
"""

import hashlib
import hmac
import secrets
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from standfast.errors import ApprovalRefused
from standfast.webauthn import decoded, encoded

LASTS_SECONDS = 300.0

_NONCE_BYTES = 16
_TIME = struct.Struct(">d")
_ONCE_MORE = "challenge: expired or used before. Press the button again"
_BYTES = _NONCE_BYTES + _TIME.size + hashlib.sha256().digest_size


@dataclass(kw_only=True)
class Challenges:
    """All challenges of one `standfast serve`; safe for threads."""

    monotonic: Callable[[], float] = time.monotonic
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _used: dict[bytes, float] = field(default_factory=dict)  # used challenges and their expiry
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self, purpose: str) -> str:
        """Return a new challenge, as base64url."""
        content = secrets.token_bytes(_NONCE_BYTES) + _TIME.pack(self.monotonic())
        return encoded(content + self._mac(purpose, content))

    def read(self, purpose: str, text: str) -> bytes:
        """Return the challenge; raise ApprovalRefused if its purpose differs."""
        try:
            given = decoded(text)
        except ValueError:
            given = b""
        content, mac = given[: _NONCE_BYTES + _TIME.size], given[_NONCE_BYTES + _TIME.size :]
        if len(given) != _BYTES or not hmac.compare_digest(mac, self._mac(purpose, content)):
            raise ApprovalRefused(_ONCE_MORE)
        return given

    def use(self, given: bytes) -> None:
        """Use up a challenge; raise ApprovalRefused if it expired or was used.

        Call this only after a correct response, so that failed attempts are not stored.
        """
        content = given[: _NONCE_BYTES + _TIME.size]
        now, ends = self.monotonic(), _TIME.unpack(content[_NONCE_BYTES:])[0] + LASTS_SECONDS
        with self._lock:
            self._used = {
                challenge: until for challenge, until in self._used.items() if until > now
            }
            if ends <= now or given in self._used:
                raise ApprovalRefused(_ONCE_MORE)
            self._used[given] = ends

    def _mac(self, purpose: str, content: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + content, "sha256")
