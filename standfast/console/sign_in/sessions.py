"""Sessions of the console, identified by a random cookie.

Rules
- Sessions are only in memory: when `serve` stops, everybody is signed out, and a copy of the
  database contains no session. The cookie has 32 random bytes; only its hash is stored.
- A session ends after 15 minutes without a request (PCI DSS 4.0.1, 8.2.8), and after 12 hours in
  any case.
- Each session has a token that its forms repeat, so that no other site can send a form.
- A page that refreshes itself does not restart the 15 minutes.
- A session alone cannot sign: each signature needs the passphrase or the device again.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

IDLE_SECONDS = 15 * 60.0
LONGEST_SECONDS = 12 * 3600.0
MOST = 200  # number of sessions; a further session ends the session with the oldest request

_BYTES = 32


@dataclass(kw_only=True)
class Session:
    """The session of one person in one browser."""

    person: str
    form_token: str
    passkey: str  # the id of the passkey that signed in; "" for a passphrase
    begun_at: float
    asked_at: float

    def is_own(self, form_token: str) -> bool:
        """Return whether a form with this token belongs to this session."""
        return hmac.compare_digest(form_token.encode(), self.form_token.encode())


@dataclass(kw_only=True)
class Sessions:
    """All sessions; safe for threads."""

    monotonic: Callable[[], float] = time.monotonic
    _sessions: OrderedDict[bytes, Session] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, person: str, passkey: str = "") -> str:
        """Begin a session, by passphrase or by `passkey`; return the cookie."""
        cookie, now = secrets.token_urlsafe(_BYTES), self.monotonic()
        word = secrets.token_urlsafe(_BYTES)
        with self._lock:
            self._sessions[_hash(cookie)] = Session(
                person=person, form_token=word, passkey=passkey, begun_at=now, asked_at=now
            )
            if len(self._sessions) > MOST:
                self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str, *, restarts_idle_time: bool = True) -> Session | None:
        """Return the session of a cookie; by default, restart its idle time."""
        key, now = _hash(cookie), self.monotonic()
        with self._lock:
            session = self._sessions.pop(key, None)
            if session is None:
                return None
            is_idle = now - session.asked_at > IDLE_SECONDS
            if is_idle or now - session.begun_at > LONGEST_SECONDS:
                return None
            if restarts_idle_time:
                session.asked_at = now
            self._sessions[key] = session
            return session

    def end(self, cookie: str) -> None:
        """End the session of a cookie."""
        with self._lock:
            self._sessions.pop(_hash(cookie), None)


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
