"""`standfast serve`: the warm process that picks up incidents, watches, and keeps Prefect running.

Owns the loop and what it starts. Leaves every decision to `operations/`: this process may be killed
at any moment, and another one, or the command line, goes on from the ledger.

Rules
- Picking up an incident needs the ledger and nothing else: it works before Prefect is up, while it
  is down, and after it was killed. Prefect is started beside the loop, never in it.
- A quiet ledger costs one row a tick and nothing is written: what was looked at is remembered by
  the sequence of the newest audit event. What only time brings is looked for every ten seconds.
- A ledger that does not answer is waited for: a response must survive its restart.
- SIGTERM and SIGINT end it within seconds. What was under way is in the ledger as begun, and the
  next runner looks how it ended.
"""

import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from flows.in_this_process import carry_on
from flows.scheduling import Scheduling
from standfast.errors import ConfigurationError, ExitStatus, Refused, StandfastError
from standfast.ledger.runs import LEASE
from standfast.operations.incident import advance
from standfast.operations.place import Place, open_place
from standfast.operations.watch import keep_watch, needs_runner, resume_incidents

TICK_SECONDS = 0.2
LOOK_SECONDS = 10.0  # for what only time brings: a wait that is over, a runner that died
WATCH_SECONDS = 300.0  # dead runs, missed nights, a signed head
BEAT_SECONDS = LEASE.total_seconds() * 0.4
_END_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0

log = logging.getLogger("standfast.serve")


@dataclass(kw_only=True)
class _Response:
    """The work on one incident in this process, and when it may be begun again."""

    thread: threading.Thread | None = None
    not_before: float = 0.0
    pause: float = 0.0

    @property
    def is_under_way(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def has_ended(self, now: float, *, is_held_up: bool) -> None:
        """Wait longer each time that work is left at the end: something holds it up."""
        self.pause = min(self.pause * 2, _LONGEST_PAUSE_SECONDS) if is_held_up else 0.0
        self.pause = max(self.pause, _FIRST_PAUSE_SECONDS if is_held_up else 0.0)
        self.not_before = now + self.pause


@dataclass(kw_only=True)
class Serving:
    """The loop over one place; `scheduling` is Prefect, or None to do without."""

    place: Place
    config_file: Path
    scheduling: Scheduling | None
    stop: threading.Event = field(default_factory=threading.Event)
    _responses: dict[str, _Response] = field(default_factory=dict)
    _again: threading.Event = field(default_factory=threading.Event)  # look at the next tick
    _seen: int = -1
    _looked_at: float = float("-inf")
    _watched_at: float = float("-inf")
    _beaten_at: float = float("-inf")
    _missed: frozenset[str] = frozenset()
    _trouble: str = ""

    def run(self) -> None:
        """Serve until `stop` is set."""
        runners = self.place.ledger.runners
        token = runners.register(None, "serve", self.place.clock())
        self._beaten_at = time.monotonic()
        if self.scheduling is not None:
            self.scheduling.begin()
        log.info("serving as runner %s", token)
        try:
            while not self.stop.wait(TICK_SECONDS):
                self._tick(token)
        finally:
            if self.scheduling is not None:
                self.scheduling.end()
            self._wait_for_responses()
            runners.retire(token, None, self.place.clock())

    @property
    def is_quiet(self) -> bool:
        """Was everything looked at, and is nothing under way here?"""
        is_busy = any(response.is_under_way for response in list(self._responses.values()))
        is_due = self._again.is_set() or self._seen != self.place.ledger.newest_event()
        return not (is_busy or is_due)

    def _tick(self, token: str) -> None:
        now = time.monotonic()
        try:
            if now - self._beaten_at >= BEAT_SECONDS:
                self.place.ledger.runners.beat(token, None, self.place.clock())
                self._beaten_at = now
            if now - self._watched_at >= WATCH_SECONDS:
                self._watched_at = now
                self._watch()
            newest = self.place.ledger.newest_event()
            is_late = now - self._looked_at >= LOOK_SECONDS
            if newest != self._seen or is_late or self._again.is_set():
                self._seen, self._looked_at = newest, now
                self._again.clear()
                _, troubles = resume_incidents(self.place, "serve", self._respond)
                self._tell_once("; ".join(troubles))
        except StandfastError as error:
            self._again.set()
            self._tell_once(str(error))
        except Exception as error:
            # Only the class: a foreign error may quote an account. The loop goes on: it is what
            # picks up the next incident.
            self._again.set()
            self._tell_once(f"unexpected {type(error).__name__}")

    def _watch(self) -> None:
        outcome = keep_watch(self.place, "serve", self._respond)
        for kind, subject in outcome.died:
            log.warning("a %s of %s had died; it is marked as failed", kind, subject)
        missed = frozenset(outcome.missed)
        for name in sorted(missed - self._missed):
            log.warning("the scheduled backup of %s did not come", name)
        self._missed = missed
        if self.scheduling is not None:
            self.scheduling.catch_up_without_prefect(missed)

    def _respond(self, place: Place, incident: str, way: str) -> None:
        """Begin to carry an incident on in a thread of its own, unless one is at it."""
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
        scheduling = self.scheduling
        try:
            used = carry_on(
                self.config_file,
                incident,
                is_prefect_there=scheduling.is_there if scheduling else lambda: False,
                without_prefect=lambda: advance(self.place, incident, way),
            )
            log.info("%s was carried on, by way of %s", incident, used)
        except StandfastError as error:
            log.warning("%s: %s", incident, error)
        except Exception as error:
            log.warning("%s: unexpected %s", incident, type(error).__name__)
        finally:
            response.has_ended(time.monotonic(), is_held_up=self._is_left(incident))
            self._again.set()  # something may have come while this was ending

    def _is_left(self, incident: str) -> bool:
        try:
            return needs_runner(self.place, incident)
        except StandfastError:
            return True

    def _wait_for_responses(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        for response in self._responses.values():
            if response.thread is not None:
                response.thread.join(max(0.0, deadline - time.monotonic()))
        left = sum(response.is_under_way for response in self._responses.values())
        if left:
            log.warning("%d incidents were under way; the next runner goes on with them", left)

    def _tell_once(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble


def _log_to_stderr() -> None:
    """Say what we do, and only that: other libraries' lines may quote an address."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def _only_one_here(place: Place) -> Iterator[None]:
    """Hold what one `serve` a machine may hold; the kernel gives it back when the process dies.

    Two would each start a Prefect server in one home, and back everything up twice.
    """
    home = place.config.serve.prefect_home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = os.open(home / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {home} cannot be written: {error.strerror}; mend serve.prefect_home"
        ) from None
    try:
        fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(
            "a `standfast serve` of this place runs on this machine already; `standfast status` "
            "shows it"
        ) from None
    else:
        yield
    finally:
        os.close(line)


def serve(config_file: Path, *, env: Mapping[str, str] | None = None) -> int:
    """Serve in this process until SIGTERM or SIGINT; to be called from its main thread.

    Ends the process itself, with status 0: Prefect's threads wait for their server at the end of a
    process, and it may be gone. Raises `StandfastError` when the place cannot be opened, `Refused`
    when another one serves it on this machine.
    """
    _log_to_stderr()
    env = os.environ if env is None else env
    with open_place(config_file, env=env) as place, _only_one_here(place):
        scheduling = Scheduling(
            config_file=config_file.absolute(),
            home=place.config.serve.prefect_home,
            url=place.config.serve.prefect,
            env=env,
        )
        serving = Serving(place=place, config_file=config_file.absolute(), scheduling=scheduling)

        def end(number: int, frame: FrameType | None) -> None:
            serving.stop.set()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        serving.run()
        log.info("ended")
    logging.shutdown()
    os._exit(ExitStatus.DONE)
