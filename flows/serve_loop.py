"""Loops of `standfast serve`: ticks, incidents, alarms, stamps, settings.

All decisions are made in `standfast.usecases` and recorded in the ledger (the database). So this
process may be killed at any moment, and another process, or a command, continues its work.

Rules
- The loop needs only the ledger to resume an incident. Therefore it can do so while Prefect starts
  or is down. Prefect is started in another thread, never in the loop.
- A tick is one pass of the loop. Without new events, a tick reads one row of the ledger: the number
  of the newest audit event shows whether everything was processed. The loop writes only to extend
  the lease of this process, a record with an end time that shows that the process is running. Work
  that becomes due without an event, only by time, is checked every ten seconds.
- The work on an incident that this process opened begins at once, without waiting for the next
  tick.
- An incident runs with the current configuration file, even if it was changed after this process
  began. For all other work, a change of the configuration needs a restart.
- Alarms are sent in their own thread, because a mail server may be slow. Time stamps for sealed
  evidence are requested in another thread, because an authority may be slow too, with growing
  delays after failures.
- If the ledger does not answer, the loop waits for it, so that a restart of the database does not
  end a response.
- For each backup, verification, drill (test restore) and retention run of this host that ends, one
  line is logged. The line is a warning if the run failed or is incomplete.
- The other parts of `serve`, such as the HTTP server, have their own threads. They share only the
  ledger with the loop. The loop does not wait for them, and they do not wait for the loop.
- A process with a role (`roles.py`) does only the part of this work that belongs to its role.
- SIGTERM and SIGINT end the process within seconds. In the ledger, unfinished work is recorded as
  begun, and the next process looks up its outcome.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flows.inline_response import run_response
from flows.prefect_supervisor import PrefectSupervisor
from flows.roles import EVERYTHING, Role
from flows.run_log import log_ended_runs
from standfast.config import load
from standfast.errors import StandfastError
from standfast.ledger.runs.run_store import SERVE_LEASE
from standfast.usecases.alarms.notification import Alarm, notify
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.time_stamp_requests import stamp_pending
from standfast.usecases.health.watchdog import keep_watch, needs_runner, resume_incidents
from standfast.usecases.incidents.lifecycle import advance
from standfast.usecases.setup.installation_opening import open_installation

TICK_SECONDS = 0.2
LOOK_SECONDS = 10.0  # between checks for work that is due by time: an ended wait, a dead process
WATCH_SECONDS = 300.0  # between checks of the watchdog, which also signs the audit chain
EXTEND_LEASE_SECONDS = SERVE_LEASE.total_seconds() * 0.4
_MOST_ALARMS = 1000
_END_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
STAMP_SECONDS = 5.0  # between two checks for missing time stamps, while events occur
FIRST_STAMP_PAUSE_SECONDS = 30.0
_LONGEST_STAMP_PAUSE_SECONDS = 900.0

log = logging.getLogger("standfast.serve")
BeginWork = Callable[[str], None]  # called with an incident that this process opened


class ServePart(Protocol):
    """A part that runs next to the loop, in threads of its own."""

    def begin(self) -> None:
        """Start in the background; return at once."""
        ...

    def end(self) -> None:
        """Stop within seconds."""
        ...


@dataclass(kw_only=True)
class _Response:
    """The work on one incident in this process, and its next start."""

    thread: threading.Thread | None = None
    not_before: float = 0.0
    pause: float = 0.0

    @property
    def is_under_way(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def note_end(self, now: float, *, is_held_up: bool) -> None:
        """Double the delay of the next start if work remains; else reset it."""
        self.pause = min(self.pause * 2, _LONGEST_PAUSE_SECONDS) if is_held_up else 0.0
        self.pause = max(self.pause, _FIRST_PAUSE_SECONDS if is_held_up else 0.0)
        self.not_before = now + self.pause


@dataclass(kw_only=True)
class Serving:
    """The loop of one installation; `prefect` is None if Prefect is not used."""

    installation: Installation
    config_file: Path
    prefect: PrefectSupervisor | None
    role: Role = EVERYTHING
    parts: Sequence[ServePart] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    _responses: dict[str, _Response] = field(default_factory=dict)
    _again: threading.Event = field(default_factory=threading.Event)  # check at the next tick
    _opened: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    _woken: threading.Event = field(default_factory=threading.Event)  # an opened incident waits
    _seen: int = -1  # the newest event that was processed
    _logged: int = -1  # the newest event whose ended runs are in the log
    _looked_at: float = float("-inf")
    _watched_at: float = float("-inf")
    _lease_extended_at: float = float("-inf")
    _missed: frozenset[str] = frozenset()
    _stale: frozenset[str] = frozenset()
    _alarms: queue.Queue[Alarm] = field(default_factory=lambda: queue.Queue(_MOST_ALARMS))
    _news: threading.Event = field(default_factory=threading.Event)  # evidence may have been sealed
    _trouble: str = ""
    _change: str = ""  # the last log text about a changed configuration

    def run(self) -> None:
        """Serve until `stop` is set."""
        runners = self.installation.ledger.runners
        token = runners.register(None, self.role.way, self.installation.clock())
        self._lease_extended_at = time.monotonic()
        if self.prefect is not None:
            self.prefect.begin()
        threading.Thread(target=self._notify_people, name="alarms", daemon=True).start()
        stamps = threading.Thread(target=self._stamp_seals, name="time-stamps", daemon=True)
        if self.role.responds and self.installation.config.custody.timestamp is not None:
            stamps.start()
        for part in self.parts:
            part.begin()
        log.info("serving as runner %s", token)
        try:
            while not self.stop.is_set():
                self._woken.wait(TICK_SECONDS)
                self._woken.clear()
                if not self.stop.is_set():
                    self._tick(token)
        finally:
            for part in self.parts:
                part.end()
            if self.prefect is not None:
                self.prefect.end()
            self._wait_for_responses()
            if stamps.is_alive():
                self._news.set()
                stamps.join(_END_SECONDS)
            runners.retire(token, None, self.installation.clock())

    def begin_work(self, incident: str) -> None:
        """Begin the work on an incident that this process opened.

        Any thread may call it.
        """
        self._opened.put(incident)
        self._woken.set()

    @property
    def is_quiet(self) -> bool:
        """Return whether everything was processed and nothing is in progress."""
        is_busy = self._alarms.unfinished_tasks > 0 or any(
            response.is_under_way for response in list(self._responses.values())
        )
        is_due = self._again.is_set() or self._seen != self.installation.ledger.newest_event()
        return not (is_busy or is_due)

    def _tick(self, token: str) -> None:
        now = time.monotonic()
        try:
            self._begin_opened()
            if now - self._lease_extended_at >= EXTEND_LEASE_SECONDS:
                self.installation.ledger.runners.extend_lease(
                    token, None, self.installation.clock()
                )
                self._lease_extended_at = now
            if self.role.watches and now - self._watched_at >= WATCH_SECONDS:
                self._watched_at = now
                self._watch()
            newest = self.installation.ledger.newest_event()
            is_late = now - self._looked_at >= LOOK_SECONDS
            if newest > self._logged >= 0:
                log_ended_runs(self.installation, self._logged)
            self._logged = newest
            if newest != self._seen or is_late or self._again.is_set():
                self._seen, self._looked_at = newest, now
                self._news.set()
                self._again.clear()
                if self.role.responds:
                    _, troubles = resume_incidents(self.installation, "serve", self._respond)
                    self._warn_once("; ".join(troubles))
        except StandfastError as error:
            self._again.set()
            self._warn_once(str(error))
        except Exception as error:
            # Log only the class: the text of an error that is not Standfast's may contain an
            # account. The loop continues, because it must resume the next incident.
            self._again.set()
            self._warn_once(f"unexpected {type(error).__name__}")

    def _begin_opened(self) -> None:
        with suppress(queue.Empty):
            while True:
                incident = self._opened.get_nowait()
                if needs_runner(self.installation, incident):
                    self._respond(self.installation, incident, "serve")

    def _watch(self) -> None:
        outcome = keep_watch(
            self.installation,
            "serve",
            self._respond,
            self._queue_alarm,
            only_drills=self.role.only_drills,
        )
        for kind, subject in outcome.died:
            log.warning(
                "the process of a %s of %s died; the run is marked as failed", kind, subject
            )
        missed = frozenset(outcome.missed)
        for name in sorted(missed - self._missed):
            log.warning("the scheduled backup of %s did not run", name)
        self._missed = missed
        stale = frozenset(outcome.stale)
        for name in sorted(stale - self._stale):
            log.warning("the newest complete recovery point of %s is too old", name)
        self._stale = stale
        if self.prefect is not None and self.role.backs_up:
            self.prefect.catch_up(
                {age.set_name: age.due_at for age in outcome.sets if age.is_missed}
            )

    def _queue_alarm(self, installation: Installation, alarm: Alarm, way: str) -> bool:
        """Queue an alarm for the thread that notifies people; return False.

        False means that nobody was notified yet. So if the alarm is not sent, the next check raises
        it again.
        """
        with suppress(queue.Full):
            self._alarms.put_nowait(alarm)
        return False

    def _notify_people(self) -> None:
        while True:
            alarm = self._alarms.get()
            try:
                if notify(self.installation, alarm, "serve"):
                    log.warning(
                        "alarm %s: sent; `standfast status` shows whether it reached anybody",
                        alarm.subject,
                    )
            except StandfastError as error:
                log.warning("alarm %s: %s", alarm.subject, error)
            except Exception as error:
                log.warning("alarm %s: unexpected %s", alarm.subject, type(error).__name__)
            finally:
                self._alarms.task_done()

    def _stamp_seals(self) -> None:
        """Request time stamps for new seals, with growing delays after failures.

        A seal is the signed statement over collected evidence.
        """
        pause, reported = 0.0, ""
        while not self.stop.is_set():
            self._news.clear()
            troubles, may_pass = list[str](), False
            try:
                for outcome in stamp_pending(self.installation):
                    troubles += [outcome.problem] if outcome.problem else []
                    may_pass = may_pass or outcome.may_pass
                    if outcome.stamp is not None:
                        source = outcome.folder.parent
                        log.info("%s, %s: %s", source.parent.name, source.name, outcome.sentence)
            except StandfastError as error:
                troubles, may_pass = [str(error)], True
            except Exception as error:
                troubles, may_pass = [f"unexpected {type(error).__name__}"], True
            trouble = "; ".join(dict.fromkeys(troubles))
            if trouble and trouble != reported:
                log.warning("time stamps: %s", trouble)
            reported = trouble
            pause = min(pause * 2 or FIRST_STAMP_PAUSE_SECONDS, _LONGEST_STAMP_PAUSE_SECONDS)
            pause = pause if may_pass else 0.0
            self.stop.wait(pause or STAMP_SECONDS)
            if not pause:
                self._news.wait(WATCH_SECONDS)

    def _respond(self, installation: Installation, incident: str, way: str) -> None:
        """Run an incident in a new thread, unless a thread runs it already.

        If the role of this process does not include the work on incidents, do nothing: a process
        with this work finds the event in the ledger.
        """
        if not self.role.responds:
            return
        response = self._responses.setdefault(incident, _Response())
        if response.is_under_way:
            return
        if time.monotonic() < response.not_before:
            self._again.set()
            return
        response.thread = threading.Thread(
            target=self._carry_on, args=(incident, way, response), name=incident, daemon=True
        )
        response.thread.start()

    def _carry_on(self, incident: str, way: str, response: _Response) -> None:
        prefect = self.prefect
        try:
            used = run_response(
                self.config_file,
                incident,
                is_prefect_available=prefect.is_available if prefect else lambda: False,
                without_prefect=lambda: self._advance(incident, way),
            )
            log.info("%s was resumed by `%s`", incident, used)
        except StandfastError as error:
            log.warning("%s: %s", incident, error)
        except Exception as error:
            log.warning("%s: unexpected %s", incident, type(error).__name__)
        finally:
            response.note_end(time.monotonic(), is_held_up=self._has_work_left(incident))
            self._again.set()  # an event may have occurred while this thread ended

    def _advance(self, incident: str, way: str) -> None:
        with self._installation_now() as installation:
            advance(installation, incident, way)

    @contextmanager
    def _installation_now(self) -> Iterator[Installation]:
        """Yield the installation with the current configuration, if it is valid."""
        with ExitStack() as stack:
            installation = self.installation
            try:
                if load(self.config_file).fingerprint != installation.config.fingerprint:
                    self._log_change(
                        "the configuration was changed: incidents use the new one at once, all "
                        "else after a restart of `standfast serve`"
                    )
                    opened = open_installation(
                        self.config_file,
                        env={},
                        clock=installation.clock,
                        actor=installation.actor,
                        resolver=installation.resolver,
                    )
                    installation = stack.enter_context(opened)
            except StandfastError as error:
                self._log_change(f"the previous configuration stays in use: {error}")
            yield installation

    def _log_change(self, trouble: str) -> None:
        if trouble != self._change:
            log.warning("%s", trouble)
        self._change = trouble

    def _has_work_left(self, incident: str) -> bool:
        try:
            return needs_runner(self.installation, incident)
        except StandfastError:
            return True

    def _wait_for_responses(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        for response in self._responses.values():
            if response.thread is not None:
                response.thread.join(max(0.0, deadline - time.monotonic()))
        left = sum(response.is_under_way for response in self._responses.values())
        if left:
            log.warning("%d incidents were running; the next runner resumes them", left)

    def _warn_once(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble
