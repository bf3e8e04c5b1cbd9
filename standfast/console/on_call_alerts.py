"""Thread that pages people about incidents that triggers opened.

Rules
- It checks when the ledger has a new event, and every half minute: another process may have opened
  an incident, or died before it sent a page.
- With a quiet ledger, a check reads one row.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation
from standfast.usecases.triggers.message_intake import Trigger
from standfast.usecases.triggers.on_call_pages import due, send

log = logging.getLogger("standfast.serve")

LOOK_SECONDS = 0.5
_LATEST_LOOKS = 60  # quiet checks before a full one
_END_SECONDS = 2.0


@dataclass(kw_only=True)
class OnCallAlerts:
    """The pages to people, while `serve` lives."""

    installation: Installation
    triggers: Mapping[str, Trigger]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _seen: int = -1
    _looks: int = 0
    _trouble: str = ""

    def begin(self) -> None:
        """Start in the background; return at once."""
        self._thread = threading.Thread(target=self._check_until_end, name="paging", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Start no more pages; a started one is in the ledger."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _check_until_end(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
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
        if newest == self._seen and self._looks < _LATEST_LOOKS:
            return
        self._seen, self._looks = newest, 0
        for page in due(self.installation):
            log.info(
                "trigger %s: %s",
                page.trigger,
                send(self.installation, page, self.triggers, "serve"),
            )

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("people could not be paged: %s", trouble)
        self._trouble = trouble
