"""The threads that follow Suricata's event files, one a trigger.

Rules
- What is meant is opened before the place in the file is written down, so a crash loses nothing.
- Alerts of one look that would open the same incident with the same inputs are one message: a scan
  of a thousand ports is one trigger.
- No more messages a minute than the trigger allows: the file waits, and nothing in it is lost. Each
  trigger has its own place in it, so that none waits for another.
- The file waits, too, while the ledger does not answer: nothing could be opened.
- An alert that does not fit its scenario is said and left out; the next one may fit. One that trips
  over what nobody foresaw is set aside, and so is one whose playbook or incident cannot be opened,
  until that can be; those behind it go on.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from standfast.console.http.rate_limits import Allowance
from standfast.errors import StandfastError, Unavailable, UsageError
from standfast.triggers.json_payload import read_object
from standfast.triggers.suricata import key_of, line_id, looks_like_event, may_be_alert
from standfast.usecases.core.installation import Installation
from standfast.usecases.triggers.dead_letters import delete_dead_letter, set_aside, waiting
from standfast.usecases.triggers.message_intake import (
    EveTrigger,
    PlaybookNotFound,
    Trigger,
    receive,
)
from standfast.usecases.triggers.suricata_tail import Batch, SuricataTail

log = logging.getLogger("standfast.serve")

LOOK_SECONDS = 0.5
TRY_AGAIN_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0
_END_SECONDS = 2.0


@dataclass(kw_only=True)
class SuricataWatcher:
    """One trigger and the file that feeds it, for as long as `serve` lives."""

    installation: Installation
    trigger: EveTrigger
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _allowed: Allowance = field(init=False)
    _trouble: str = ""
    _tried_again_at: float | None = None

    def __post_init__(self) -> None:
        most = self.trigger.per_minute
        self._allowed = Allowance(per_minute=most, burst=most)

    def begin(self) -> None:
        """Follow in the background; gives back at once."""
        self._thread = threading.Thread(target=self._keep, name="eve", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Read no more; what was not written down is read again by the next."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _keep(self) -> None:
        kept_in = self.installation.config.backup.send_log.parent
        tail = SuricataTail(self.trigger.file, kept_in, self.trigger.name)
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            try:
                self._look(tail)
                pause, self._trouble = LOOK_SECONDS, ""
            except StandfastError as error:
                self._tell_once(str(error))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except Exception as error:
                # Only the class: a foreign error may quote a line. The thread goes on.
                self._tell_once(f"unexpected {type(error).__name__}")
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _look(self, tail: SuricataTail) -> None:
        """Deal with everything that is there now, and with what waits for somebody to mend it."""
        self._try_again()
        while not self._stop.is_set() and (batch := tail.read()) is not None:
            if not self._deal_with(batch, tail):
                return
            tail.keep(batch)

    def _deal_with(self, batch: Batch, tail: SuricataTail) -> bool:
        """Open what the lines mean; False when it was told to end meanwhile."""
        garbage = 0
        wanted: dict[tuple[str, str], tuple[int, Mapping[str, object]]] = {}
        for installation, line in enumerate(batch.lines):
            if not may_be_alert(line):
                garbage += not looks_like_event(line)
                continue
            try:
                event = read_object(line, is_strict=False)
            except ValueError:
                garbage += 1
                continue
            try:
                if self.trigger.rule.means(event):
                    same = (key_of(event), _inputs_of(self.trigger, event))
                    wanted.setdefault(same, (installation, event))
            except Exception as error:
                self._set_aside(line, error)
        if garbage:
            log.warning(
                "trigger %s: of %s, %d lines are no events; they were left out",
                self.trigger.name,
                self.trigger.file.name,
                garbage,
            )
        for installation, event in wanted.values():  # in the order of the file
            while seconds := self._allowed.take():
                if installation:
                    tail.keep(batch.first(installation))  # whoever is stopped now begins no sooner
                if self._stop.wait(seconds):
                    return False
            self._open(event, batch.lines[installation])
        return True

    def _open(self, event: Mapping[str, object], line: bytes) -> None:
        name = self.trigger.name
        try:
            log.info("trigger %s: %s", name, self._incident_of(event, line))
        except UsageError as error:
            log.warning("trigger %s: an alert does not fit: %s", name, error)
        except PlaybookNotFound as error:
            self._set_aside(line, error)
        except Unavailable:
            raise  # nothing can be opened now: the file waits
        except Exception as error:
            self._set_aside(line, error)

    def _try_again(self) -> None:
        """Open what was set aside until somebody mends what it needs, once that is done."""
        now = time.monotonic()
        if self._tried_again_at is not None and now - self._tried_again_at < TRY_AGAIN_SECONDS:
            return
        self._tried_again_at = now
        trigger = self.trigger
        for path, line in waiting(self.installation.config, trigger):
            if self._allowed.take():
                return  # as many as a minute allows; the others at the next look
            try:
                event = read_object(line, is_strict=False)
                came_to = self._incident_of(event, line)
            except PlaybookNotFound:
                return
            except UsageError as error:
                came_to = f"it does not fit: {error}"
            except Unavailable:
                raise
            except StandfastError:
                path.touch()  # it waits on, and lets those go before that were tried longer ago
                continue
            except Exception as error:
                self._set_aside(line, error)  # for good: it would trip again
                path.unlink()
                continue
            log.info("trigger %s: an alert that waited: %s", trigger.name, came_to)
            delete_dead_letter(self.installation, trigger, path, line, came_to)

    def _incident_of(self, event: Mapping[str, object], line: bytes) -> str:
        """Open what an alert means, or join it; give the id."""
        message, about = line_id(line), key_of(event)
        return receive(
            self.installation, self.trigger, event, message_id=message, key=about
        ).incident

    def _set_aside(self, line: bytes, error: Exception) -> None:
        name = self.trigger.name
        path = set_aside(self.installation, self.trigger, line, error)
        is_ours = isinstance(error, StandfastError)
        why = error if is_ours else f"unexpected {type(error).__name__}"
        log.warning("trigger %s: an alert is set aside in %s: %s", name, path.name, why)

    def _tell_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            name, file = self.trigger.name, self.trigger.file.name
            log.warning("trigger %s: the events %s are not followed: %s", name, file, trouble)
        self._trouble = trouble


def suricata_watchers(
    installation: Installation, triggers: Mapping[str, Trigger]
) -> list[SuricataWatcher]:
    """Give one for each trigger that a file of events feeds."""
    return [
        SuricataWatcher(installation=installation, trigger=trigger)
        for trigger in triggers.values()
        if isinstance(trigger, EveTrigger)
    ]


def _inputs_of(trigger: EveTrigger, event: Mapping[str, object]) -> str:
    """Give what the event would fill in, to be compared only; what does not fit is told later."""
    found = []
    for name, expression in trigger.inputs.items():
        try:
            found.append(f"{name}={expression.read(event)!r}")
        except ValueError:
            found.append(name)
    return "\n".join(found)
