"""What a browser's passkey is asked to sign where nothing is decided: signing in, and being added.

Rules
- A challenge says itself when it was given out and for what, under a key of this process: none is
  kept until it is used, so that asking for many costs nothing.
- It counts once, and for five minutes. Whoever stops `serve` voids all of them.
- It is longer than the hash that an approval signs, so that neither is ever taken for the other.
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
_ONCE_MORE = "the page had waited too long, or was sent before; press the button once more"
_BYTES = _NONCE_BYTES + _TIME.size + hashlib.sha256().digest_size


@dataclass(kw_only=True)
class Challenges:
    """All challenges of one `serve`. Usable from any thread."""

    monotonic: Callable[[], float] = time.monotonic
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _used: dict[bytes, float] = field(default_factory=dict)  # which, and until when it would last
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, purpose: str) -> str:
        """Give a new one, as base64url."""
        said = secrets.token_bytes(_NONCE_BYTES) + _TIME.pack(self.monotonic())
        return encoded(said + self._mac(purpose, said))

    def read(self, purpose: str, text: str) -> bytes:
        """Give what was asked; ApprovalRefused when it was not given for this."""
        try:
            given = decoded(text)
        except ValueError:
            given = b""
        said, mac = given[: _NONCE_BYTES + _TIME.size], given[_NONCE_BYTES + _TIME.size :]
        if len(given) != _BYTES or not hmac.compare_digest(mac, self._mac(purpose, said)):
            raise ApprovalRefused(_ONCE_MORE)
        return given

    def use(self, given: bytes) -> None:
        """Use up what was read; ApprovalRefused when it is over, or was used.

        Once it is answered as it has to be, so that what is kept are answers, and not tries.
        """
        said = given[: _NONCE_BYTES + _TIME.size]
        now, ends = self.monotonic(), _TIME.unpack(said[_NONCE_BYTES:])[0] + LASTS_SECONDS
        with self._lock:
            self._used = {one: until for one, until in self._used.items() if until > now}
            if ends <= now or given in self._used:
                raise ApprovalRefused(_ONCE_MORE)
            self._used[given] = ends

    def _mac(self, purpose: str, said: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + said, "sha256")
