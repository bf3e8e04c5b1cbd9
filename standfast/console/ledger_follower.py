"""Thread that sends pages, call-outs and incident events when due.

A page is an urgent message, such as a mail, to a person that must act. A call-out pages one person
after another. An incident event is a message about an incident to another system. The ledger is the
database of incidents.

Rules
- The thread checks for due messages when the ledger has a new event, because another process may
  have opened an incident. It also checks every half minute, because another process may have died
  before it sent a page.
- Several hosts run the same thread. `send_due` therefore records each message in the ledger before
  it sends it, and sends it only if no other host has recorded it.
- If the ledger has no new event, a check reads one row.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation

log = logging.getLogger("standfast.serve")

_FULL_LOOK_SECONDS = 30.0  # longest time between two checks for due messages
_END_SECONDS = 2.0


@dataclass(kw_only=True)
class LedgerFollower:
    """One kind of messages, sent in its own thread while `serve` runs.

    `send_due` sends the messages that are due, and yields a line for the log about each.
    """

    installation: Installation
    name: str  # name of the thread
    send_due: Callable[[], Iterable[str]]
    look_seconds: float = 0.5
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _seen: int = -1
    _looks: int = 0
    _trouble: str = ""

    def begin(self) -> None:
        """Start in the background; return at once."""
        self._thread = threading.Thread(target=self._check_until_end, name=self.name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Send no more messages; each started message is in the ledger."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _check_until_end(self) -> None:
        while not self._stop.wait(self.look_seconds):
            try:
                self._look()
                self._trouble = ""
            except StandfastError as error:
                self._log_once(str(error))
            except Exception as error:
                # Only the class, because the text may contain an address. The thread continues.
                self._log_once(f"unexpected {type(error).__name__}")

    def _look(self) -> None:
        newest = self.installation.ledger.newest_event()
        self._looks += 1
        if newest == self._seen and self._looks * self.look_seconds < _FULL_LOOK_SECONDS:
            return
        self._seen, self._looks = newest, 0
        for line in self.send_due():
            log.info("%s", line)

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("%s: messages cannot be sent: %s", self.name, trouble)
        self._trouble = trouble
