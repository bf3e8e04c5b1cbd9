"""Incidents from Suricata's alerts: repeats, rate limit, unusable alerts.

Suricata is a network intrusion detection system. A trigger is a configured way to open an incident
from outside; here, each trigger has one event file.

Rules
- An incident is opened before the position in the file is stored, so that a crash loses no alert.
- If several alerts of one read would open the same incident with the same inputs, only the first
  alert is used: a scan of a thousand ports opens one incident.
- The trigger limits the rate of messages. Above that rate, the rest of the file is read later; no
  alert is lost. Each trigger has its own position, so that no trigger waits for another.
- Reading also pauses while the ledger (the database) does not answer.
- An alert that does not fit its playbook is logged and skipped, because the next alert may fit. An
  alert becomes a dead letter (a stored alert) after an unexpected error, or if its playbook or
  incident cannot be opened. An alert whose playbook or incident could not be opened is tried again.
  Later alerts do not wait for a dead letter.
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
from standfast.usecases.triggers.dead_letters import delete_dead_letter, store_dead_letter, waiting
from standfast.usecases.triggers.message_intake import (
    EveTrigger,
    PlaybookNotFound,
    Trigger,
    receive,
)
from standfast.usecases.triggers.suricata_event_file import Batch, SuricataTail

log = logging.getLogger("standfast.serve")

LOOK_SECONDS = 0.5
TRY_AGAIN_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0
_END_SECONDS = 2.0


@dataclass(kw_only=True)
class SuricataWatcher:
    """The reader of one trigger's file, while `serve` runs."""

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
        """Start reading in the background; return at once."""
        self._thread = threading.Thread(target=self._read_until_end, name="eve", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop reading; lines after the stored position are read again next time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _read_until_end(self) -> None:
        kept_in = self.installation.config.backup.send_log.parent
        tail = SuricataTail(self.trigger.file, kept_in, self.trigger.name)
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            try:
                self._look(tail)
                pause, self._trouble = LOOK_SECONDS, ""
            except StandfastError as error:
                self._log_once(str(error))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except Exception as error:
                # Only the class, because the text may contain a line. The thread continues.
                self._log_once(f"unexpected {type(error).__name__}")
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _look(self, tail: SuricataTail) -> None:
        """Process all new lines, and dead letters that wait for a correction."""
        self._retry_dead_letters()
        while not self._stop.is_set() and (batch := tail.read()) is not None:
            if not self._process(batch, tail):
                return
            tail.keep(batch)

    def _process(self, batch: Batch, tail: SuricataTail) -> bool:
        """Open incidents for the lines; return False if the watcher was stopped."""
        garbage = 0
        wanted: dict[tuple[str, str], tuple[int, Mapping[str, object]]] = {}
        for index, line in enumerate(batch.lines):
            if not may_be_alert(line):
                garbage += not looks_like_event(line)
                continue
            try:
                event = read_object(line, is_strict=False)
            except ValueError:
                garbage += 1
                continue
            try:
                if self.trigger.rule.matches(event):
                    same = (key_of(event), _inputs_of(self.trigger, event))
                    wanted.setdefault(same, (index, event))
            except Exception as error:
                self._store_dead_letter(line, error)
        if garbage:
            log.warning(
                "trigger %s: in %s, %d lines are not events; they were skipped",
                self.trigger.name,
                self.trigger.file.name,
                garbage,
            )
        for index, event in wanted.values():  # in the order of the file
            while seconds := self._allowed.take():
                if index:
                    tail.keep(batch.first(index))  # a restart continues at this position
                if self._stop.wait(seconds):
                    return False
            self._open(event, batch.lines[index])
        return True

    def _open(self, event: Mapping[str, object], line: bytes) -> None:
        name = self.trigger.name
        try:
            log.info("trigger %s: %s", name, self._incident_of(event, line))
        except UsageError as error:
            log.warning(
                "trigger %s: an alert does not fit the inputs of the playbook: %s", name, error
            )
        except PlaybookNotFound as error:
            self._store_dead_letter(line, error)
        except Unavailable:
            raise  # no incident can be opened now: the rest of the file is read later
        except Exception as error:
            self._store_dead_letter(line, error)

    def _retry_dead_letters(self) -> None:
        """Try again to open the incidents of dead letters.

        The cause of the failure may have been corrected.
        """
        now = time.monotonic()
        if self._tried_again_at is not None and now - self._tried_again_at < TRY_AGAIN_SECONDS:
            return
        self._tried_again_at = now
        trigger = self.trigger
        for path, line in waiting(self.installation.config, trigger):
            if self._allowed.take():
                return  # the rate limit is reached; the other dead letters follow at the next read
            try:
                event = read_object(line, is_strict=False)
                result = self._incident_of(event, line)
            except PlaybookNotFound:
                return
            except UsageError as error:
                result = f"it does not fit the inputs of the playbook: {error}"
            except Unavailable:
                raise
            except StandfastError:
                path.touch()  # letters with an older attempt are tried again before this letter
                continue
            except Exception as error:
                self._store_dead_letter(line, error)  # never try it again: it would fail again
                path.unlink()
                continue
            log.info("trigger %s: a waiting alert: %s", trigger.name, result)
            delete_dead_letter(self.installation, trigger, path, line, result)

    def _incident_of(self, event: Mapping[str, object], line: bytes) -> str:
        """Open or join the incident of an alert; return its id."""
        message, about = line_id(line), key_of(event)
        return receive(
            self.installation, self.trigger, event, message_id=message, key=about
        ).incident

    def _store_dead_letter(self, line: bytes, error: Exception) -> None:
        name = self.trigger.name
        path = store_dead_letter(self.installation, self.trigger, line, error)
        is_ours = isinstance(error, StandfastError)
        why = error if is_ours else f"unexpected {type(error).__name__}"
        log.warning("trigger %s: an alert is kept as dead letter %s: %s", name, path.name, why)

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            name, file = self.trigger.name, self.trigger.file.name
            log.warning("trigger %s: the events %s are not read: %s", name, file, trouble)
        self._trouble = trouble


def suricata_watchers(
    installation: Installation, triggers: Mapping[str, Trigger]
) -> list[SuricataWatcher]:
    """Return a watcher for each trigger with an event file."""
    return [
        SuricataWatcher(installation=installation, trigger=trigger)
        for trigger in triggers.values()
        if isinstance(trigger, EveTrigger)
    ]


def _inputs_of(trigger: EveTrigger, event: Mapping[str, object]) -> str:
    """Return the event's inputs, for comparison only.

    Invalid inputs are reported later.
    """
    found = []
    for name, expression in trigger.inputs.items():
        try:
            found.append(f"{name}={expression.read(event)!r}")
        except ValueError:
            found.append(name)
    return "\n".join(found)
