"""The thread that tells who is on call what triggers opened.

Rules
- It looks when the ledger has something new, and every half minute: another process may have opened
  an incident, or died before it told anybody.
- A quiet ledger costs one row a look.
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
_LATEST_LOOKS = 60  # so many quiet looks, then a whole one
_END_SECONDS = 2.0


@dataclass(kw_only=True)
class OnCallAlerts:
    """Telling people, for as long as `serve` lives."""

    installation: Installation
    triggers: Mapping[str, Trigger]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _seen: int = -1
    _looks: int = 0
    _trouble: str = ""

    def begin(self) -> None:
        """Tell in the background; gives back at once."""
        self._thread = threading.Thread(target=self._keep, name="paging", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Begin no more; a message that is under way is in the ledger."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _keep(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
                self._trouble = ""
            except StandfastError as error:
                self._tell_once(str(error))
            except Exception as error:
                # Only the class: a foreign error may quote an address. The thread goes on.
                self._tell_once(f"unexpected {type(error).__name__}")

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

    def _tell_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("people could not be told of incidents: %s", trouble)
        self._trouble = trouble
