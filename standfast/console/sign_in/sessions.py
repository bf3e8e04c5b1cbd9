"""Who is signed in to the console, by a cookie that means nothing to anybody else.

Rules
- In memory only: whoever stops `serve` signs everybody out, and no copy of a ledger signs anybody
  in. The cookie is 32 random bytes; what is kept is its hash.
- A session ends after 15 minutes in which nothing was asked (PCI DSS 4.0.1, 8.2.8), and after 12
  hours whatever was asked.
- Each has a word that its forms repeat, so that no page elsewhere can send one.
- A page that refreshes itself does not restart the 15 minutes.
- A session looks; it signs nothing. Each signature takes the passphrase or the device anew.
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
MOST = 200  # of all people; of more, the one that asked longest ago is signed out

_BYTES = 32


@dataclass(kw_only=True)
class Session:
    """One browser of one person."""

    person: str
    form_word: str
    passkey: str  # the id of that which signed in; empty where the passphrase did
    begun_at: float
    asked_at: float

    def is_own(self, form_word: str) -> bool:
        """Was a form with this word given out in this session?"""
        return hmac.compare_digest(form_word.encode(), self.form_word.encode())


@dataclass(kw_only=True)
class Sessions:
    """Everybody who is signed in. Usable from any thread."""

    monotonic: Callable[[], float] = time.monotonic
    _there: OrderedDict[bytes, Session] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, person: str, passkey: str = "") -> str:
        """Sign somebody in, by a passkey where one is named; give the cookie."""
        cookie, now = secrets.token_urlsafe(_BYTES), self.monotonic()
        word = secrets.token_urlsafe(_BYTES)
        with self._lock:
            self._there[_hash(cookie)] = Session(
                person=person, form_word=word, passkey=passkey, begun_at=now, asked_at=now
            )
            if len(self._there) > MOST:
                self._there.popitem(last=False)
        return cookie

    def find(self, cookie: str, *, is_asked: bool = True) -> Session | None:
        """Return the session of a cookie, if it still lasts; `is_asked` restarts its idle time."""
        key, now = _hash(cookie), self.monotonic()
        with self._lock:
            session = self._there.pop(key, None)
            if session is None:
                return None
            is_idle = now - session.asked_at > IDLE_SECONDS
            if is_idle or now - session.begun_at > LONGEST_SECONDS:
                return None
            if is_asked:
                session.asked_at = now
            self._there[key] = session
            return session

    def end(self, cookie: str) -> None:
        """Sign out."""
        with self._lock:
            self._there.pop(_hash(cookie), None)


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
