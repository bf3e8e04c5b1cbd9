"""The threads that follow Suricata's event files, one a file.

Rules
- What is meant is opened before the place in the file is written down, so a crash loses nothing.
- Alerts of one look that would open the same incident with the same inputs are one message: a scan
  of a thousand ports is one trigger.
- No more messages a minute than the trigger allows: the file waits, and nothing in it is lost. What
  other triggers mean in the same look goes before.
- An alert that does not fit its scenario is said and left out; the next one may fit. One that trips
  over what nobody foresaw is set aside, and so is one whose playbook cannot be opened, until that
  can be; those behind it go on.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standfast.console.limits import Allowance
from standfast.errors import StandfastError, UsageError
from standfast.operations.eve_tail import EveTail
from standfast.operations.place import Place
from standfast.operations.set_aside import dealt_with, set_aside, waiting
from standfast.operations.triggers import EveTrigger, PlaybookLacking, Trigger, receive
from standfast.triggers.payload import read_object
from standfast.triggers.suricata import key_of, line_id

log = logging.getLogger("standfast.serve")

LOOK_SECONDS = 0.5
TRY_AGAIN_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0
_END_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """An alert that is meant, and what means it."""

    trigger: EveTrigger
    event: Mapping[str, object]
    line: bytes

    def opened(self, place: Place) -> str:
        """Open its incident, or join it; give the id."""
        message, about = line_id(self.line), key_of(self.event)
        return receive(place, self.trigger, self.event, message_id=message, key=about).incident


@dataclass(kw_only=True)
class Tailing:
    """One file and every trigger that it feeds, for as long as `serve` lives."""

    place: Place
    file: Path
    triggers: Sequence[EveTrigger]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _allowed: dict[str, Allowance] = field(default_factory=dict)
    _trouble: str = ""
    _tried_again_at: float | None = None

    def __post_init__(self) -> None:
        for trigger in self.triggers:
            self._allowed[trigger.name] = Allowance(
                per_minute=trigger.per_minute, burst=trigger.per_minute
            )

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
        tail = EveTail(self.file, self.place.config.backup.send_log.parent)
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

    def _look(self, tail: EveTail) -> None:
        """Deal with everything that is there now, and with what waited for its playbook."""
        self._try_again()
        while not self._stop.is_set() and (batch := tail.read()) is not None:
            if not self._deal_with(batch.lines):
                return
            tail.keep(batch)

    def _deal_with(self, lines: Sequence[bytes]) -> bool:
        """Open what the lines mean; False when it was told to end meanwhile."""
        garbage = 0
        wanted: dict[tuple[str, str, str], _Opening] = {}
        for line in lines:
            try:
                event = read_object(line, is_strict=False)
            except ValueError:
                garbage += 1
                continue
            for trigger in self.triggers:
                try:
                    if trigger.rule.means(event):
                        same = (trigger.name, key_of(event), _inputs_of(trigger, event))
                        wanted.setdefault(same, _Opening(trigger=trigger, event=event, line=line))
                except Exception as error:
                    self._set_aside(trigger, line, error)
        if garbage:
            log.warning("%s: %d lines are no events; they were left out", self.file.name, garbage)
        too_many = [one for one in wanted.values() if not self._open_if_allowed(one)]
        for opening in too_many:
            while seconds := self._allowed[opening.trigger.name].take():
                if self._stop.wait(seconds):
                    return False
            self._open(opening)
        return True

    def _open_if_allowed(self, opening: _Opening) -> bool:
        if self._allowed[opening.trigger.name].take():
            return False
        self._open(opening)
        return True

    def _open(self, opening: _Opening) -> None:
        trigger = opening.trigger
        try:
            log.info("trigger %s: %s", trigger.name, opening.opened(self.place))
        except UsageError as error:
            log.warning("trigger %s: an alert does not fit: %s", trigger.name, error)
        except PlaybookLacking as error:
            self._set_aside(trigger, opening.line, error)
        except StandfastError:
            raise  # whatever it is, it may be well soon: the file waits
        except Exception as error:
            self._set_aside(trigger, opening.line, error)

    def _try_again(self) -> None:
        """Open what waited for its playbook, once that can be opened."""
        now = time.monotonic()
        if self._tried_again_at is not None and now - self._tried_again_at < TRY_AGAIN_SECONDS:
            return
        self._tried_again_at = now
        for trigger in self.triggers:
            for path, line in waiting(self.place.config, trigger):
                if self._allowed[trigger.name].take():
                    break  # as many as a minute allows; the others at the next look
                try:
                    event = read_object(line, is_strict=False)
                    opening = _Opening(trigger=trigger, event=event, line=line)
                    came_to = opening.opened(self.place)
                except PlaybookLacking:
                    break
                except UsageError as error:
                    came_to = f"it does not fit: {error}"
                except StandfastError:
                    raise
                except Exception as error:
                    self._set_aside(trigger, line, error)  # for good: it would trip again
                    path.unlink()
                    continue
                log.info("trigger %s: an alert that waited: %s", trigger.name, came_to)
                dealt_with(self.place, trigger, path, line, came_to)

    def _set_aside(self, trigger: EveTrigger, line: bytes, error: Exception) -> None:
        path = set_aside(self.place, trigger, line, error)
        is_ours = isinstance(error, StandfastError)
        why = error if is_ours else f"unexpected {type(error).__name__}"
        log.warning("trigger %s: an alert is set aside in %s: %s", trigger.name, path.name, why)

    def _tell_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("the events %s are not followed: %s", self.file.name, trouble)
        self._trouble = trouble


def tailings(place: Place, triggers: Mapping[str, Trigger]) -> list[Tailing]:
    """Give one for each file that a trigger names."""
    by_file: dict[Path, list[EveTrigger]] = {}
    for trigger in triggers.values():
        if isinstance(trigger, EveTrigger):
            by_file.setdefault(trigger.file, []).append(trigger)
    return [Tailing(place=place, file=file, triggers=fed) for file, fed in sorted(by_file.items())]


def _inputs_of(trigger: EveTrigger, event: Mapping[str, object]) -> str:
    """Give what the event would fill in, to be compared only; what does not fit is told later."""
    found = []
    for name, expression in trigger.inputs.items():
        try:
            found.append(f"{name}={expression.read(event)!r}")
        except ValueError:
            found.append(name)
    return "\n".join(found)
