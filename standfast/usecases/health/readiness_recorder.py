"""Daily recording of the readiness score by a thread of `serve`.

Rules
- Only a process that resumes incidents records the score. The checks need all secrets, and only
  such a process has them.
- The first check is made `PAUSE_SECONDS` after the start. Therefore a `serve` that restarts again
  and again does not call every external system each time.
- After a failure, the check is repeated. The same failure is logged once.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.readiness import readiness
from standfast.usecases.health.readiness_trend import has_score_of_today, record_score

PAUSE_SECONDS = 600.0

log = logging.getLogger("standfast.serve")


@dataclass(kw_only=True)
class ReadinessRecorder:
    """The thread that records the score of each day."""

    installation: Installation
    config_file: Path
    env: Mapping[str, str]
    _stop: threading.Event = field(default_factory=threading.Event)
    _trouble: str = ""

    def begin(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def end(self) -> None:
        """Stop the thread before its next check."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            try:
                trouble = self._record()
            except StandfastError as error:
                trouble = str(error)
            except Exception as error:
                # Log only the class: the text of an error of a library may contain an account.
                trouble = f"unexpected {type(error).__name__}"
            if trouble and trouble != self._trouble:
                log.warning("readiness score: %s", trouble)
            self._trouble = trouble

    def _record(self) -> str:
        if has_score_of_today(self.installation):
            return ""
        checked = check_installation(self.config_file, env=self.env, clock=self.installation.clock)
        return record_score(self.installation, readiness(self.installation, checked).score)
