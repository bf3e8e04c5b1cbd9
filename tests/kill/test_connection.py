"""The database's connection is cut at every statement and commit.

On PostgreSQL, `pg_terminate_backend` ends the session that is about to run a statement, or that has
just run it. Nobody asks for the incident to be resumed: the watch resumes it, as `standfast serve`
runs it.

A statement is identified by its function in the ledger and by its text. How often it runs is
random, because a runner polls while effect queues work; so each statement is cut once. Commits are
distinguished by their event. One incident is cut at several points in sequence.
"""

import functools
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.errors import StandfastError
from standfast.ledger.audit.transaction import Write
from standfast.ledger.runs import run_store
from standfast.records import EffectState, Limits, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.watchdog import resume_incidents
from standfast.usecases.incidents import effect_queues, lifecycle
from standfast.usecases.setup.installation_opening import open_installation
from tests.kill.ends import messages_done
from tests.kill.scenario import Case, people_speak
from tests.kill.world import CUSTOMERS, furnish
from tests.sampling import sample
from tests.servers.postgres import Postgres
from tests.usecases.twins import SimulatedInstallation, Twins, twin_directory

AT_REST_WITHIN_SECONDS = 120  # on a busy machine
POLL_SECONDS = 0.05
LEASE = timedelta(seconds=3)  # 15 seconds in production, where a dead runner is found within 25 s
MOST_TRIES = 4
CUTS_AN_INCIDENT = 8
_VALUES = re.compile(r"\(?%\(\w+\)s(::\w+)?\)?(, \(?%\(\w+\)s(::\w+)?\)?)*")


class Moment(StrEnum):
    BEFORE = "before"
    AFTER = "after"
    # Only at a commit: it is complete, and the client does not learn of it.
    ANSWER_LOST = "its answer lost"


@dataclass
class Cutter:
    """A cutter that names every point and cuts the connection at one of them."""

    server: Postgres
    points: frozenset[str]
    moment: Moment
    trace: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)
    _guard: Lock = field(default_factory=Lock)

    def is_here(self, point: str) -> bool:
        """Record the point; return whether to cut at it, for the first time."""
        with self._guard:
            if point not in self.trace:
                self.trace.append(point)
            is_now = point in self.points - self.done
            self.done |= {point} if is_now else set()
            return is_now

    def numbered(self, label: str) -> str:
        with self._guard:
            self._counts[label] += 1
            return f"{label} {self._counts[label]}"

    def cut(self, connection: Any) -> None:
        with psycopg.connect(self.server.url("postgres", driver="")) as superuser:
            superuser.execute(
                "SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,)
            )


def named(statement: str) -> str:
    """Return the name of a statement: its function and its text."""
    frame = sys._getframe()
    while frame.f_back and "/standfast/ledger/" not in frame.f_code.co_filename:
        frame = frame.f_back
    where = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"
    words = _VALUES.sub("?", statement)  # the number of values is random, so they are one "?"
    return f"{where} {words.split()[0]} {zlib.crc32(words.encode()):08x}"


@contextmanager
def cutting(patch: pytest.MonkeyPatch, cutter: Cutter) -> Iterator[None]:
    """Put the cutter at every statement and every writing commit."""

    def before(connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        connection.info["point"] = point = named(statement)
        if cutter.moment is Moment.BEFORE and cutter.is_here(point):
            cutter.cut(connection.connection.driver_connection)

    def after(connection: Any, *_more: Any) -> None:
        if cutter.moment is Moment.AFTER and cutter.is_here(connection.info["point"]):
            cutter.cut(connection.connection.driver_connection)

    finish = Write.finish
    do_commit: Callable[[Any, Any], None] = DefaultDialect.do_commit
    told = dict[Any, str]()

    def finished(self: Write) -> None:
        finish(self)
        about = self.detail.get("verb") or self.detail.get("step") or ""
        if self._touched or self.detail:
            raw = self.connection.connection.driver_connection
            told[raw] = f"commit {self.action} {about}".rstrip()

    @functools.wraps(do_commit)
    def committed(self: Any, dbapi_connection: Any) -> None:
        raw = dbapi_connection.driver_connection
        label = told.pop(raw, None)
        if label is None:
            do_commit(self, dbapi_connection)
            return
        # The number of heartbeats depends on time, so they have no number.
        is_beat = label == "commit runner.alive"
        is_here = cutter.is_here(label if is_beat else cutter.numbered(label))
        if is_here and cutter.moment is Moment.BEFORE:
            cutter.cut(raw)
        do_commit(self, dbapi_connection)
        if is_here and cutter.moment is not Moment.BEFORE:
            cutter.cut(raw)
        if is_here and cutter.moment is Moment.ANSWER_LOST:
            raw.execute("SELECT 1")  # raises the error that the commit would have raised

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    try:
        with patch.context() as here:
            here.setattr(Write, "finish", finished)
            here.setattr(DefaultDialect, "do_commit", committed)
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)


def carried_out(
    installation: SimulatedInstallation, case: Case, patch: pytest.MonkeyPatch, cutter: Cutter
) -> str:
    """Open the incident, and repeat watches and answers until all is done."""
    id_ = ""
    with cutting(patch, cutter):
        give_up_at = time.monotonic() + AT_REST_WITHIN_SECONDS
        while time.monotonic() < give_up_at:
            try:
                id_ = id_ or case.opened(installation)
                carried, troubles = resume_incidents(installation, "serve")
                if carried or troubles or people_speak(installation, case, id_):
                    continue
                if not lifecycle.has_work(installation, id_):
                    return id_
            except StandfastError:
                # The watch of `serve` logs the error and repeats; a person repeats the command.
                continue
            time.sleep(POLL_SECONDS)  # a runner that could not record its end keeps its lease
    raise AssertionError(f"{id_} is never at rest")


@contextmanager
def twins_on(folder: Path, ledger_url: str) -> Iterator[SimulatedInstallation]:
    furnish(folder, ledger_url)
    directory = twin_directory(limits=Limits(batch=2, workers=1, timeout_seconds=0.05))
    with open_installation(folder / "standfast.toml", env={}, actor="os:test") as installation:
        known = {one.name: getattr(installation, one.name) for one in fields(Installation)}
        twins = Twins(directory=directory, audiences={"customers": len(CUSTOMERS)})
        yield SimulatedInstallation(**known, twins=twins)


def check(installation: SimulatedInstallation, case: Case, id_: str, rounds: int) -> None:
    """Check that the directory and the channel count each act once."""
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    taken_over, innocent = case.accounts
    effects = installation.ledger.effects
    mine = effects.of_incident(id_)
    for row in mine:
        # A dead runner's lease may delay the page until the undo has been approved.
        is_moot = (row.step, row.verb, row.state) == ("undo-1", "people.page", EffectState.PLANNED)
        assert row.state is EffectState.DONE or is_moot, (row.step, row.verb, row.state)
    (undo,) = installation.ledger.incidents.state(id_).extra
    assert (undo.step, undo.state) == ("undo-1", StepState.DONE)
    assert not directory.is_enabled(taken_over)
    assert directory.is_enabled(innocent), "what was taken back works again"
    assert (directory.changes(taken_over), directory.changes(innocent)) == (1, 2)
    told = Counter(message.address for message in installation.twins.mail.messages)
    rows = [
        row for one in installation.ledger.incidents.all() for row in effects.of_incident(one.id)
    ]
    assert told == messages_done(rows), "no message without its effect"
    paged_for = sorted(row.step for row in mine if row.verb == "people.page")
    assert paged_for == ["tell_customers", "undo-1"], "the approver is paged once a step"
    assert rounds <= told.pop("lee@example.com") <= 2 * rounds
    once = {f"customers{number}@example.net": rounds for number in (1, 2)}
    assert told == once, "every recipient counts once"


@pytest.mark.parametrize("moment", Moment)
def test_cut_at_every_statement_ends_as_clean_run(
    moment: Moment,
    tmp_path: Path,
    postgres_url: str,
    postgres_server: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(effect_queues, "RECEIPT_PAUSES_SECONDS", (0.0, 0.01, 0.05, 0.1))
    for module in (run_store, lifecycle):
        monkeypatch.setattr(module, "LEASE", LEASE)
    with twins_on(tmp_path / "place", postgres_url) as installation:
        directory = installation.twins.directory
        assert isinstance(directory, SimulatedConnector)
        rounds = 0

        def cut_at(*points: str) -> Cutter:
            nonlocal rounds
            rounds += 1
            accounts = (f"taken{rounds}", f"innocent{rounds}")
            for name in accounts:
                directory.add(name)
            case = Case(
                config_file=tmp_path / "place/standfast.toml",
                accounts=accounts,
                env={},
                trigger=f"alert-{rounds}",
            )
            cutter = Cutter(postgres_server, frozenset(points), moment)
            try:
                id_ = carried_out(installation, case, monkeypatch, cutter)
                check(installation, case, id_, rounds)
                lifecycle.close(installation, id_, by="dana")
            except BaseException as error:
                error.add_note(f"cut {moment} {sorted(cutter.done)}")
                raise
            return cutter

        # A point that a second clean run does not meet, such as a heartbeat, was random.
        points = [*dict.fromkeys(cut_at().trace)]
        again = set(cut_at().trace)
        points = [point for point in points if point in again]
        left, tries = sample(points, f"connection {moment}"), 0
        while left and tries < MOST_TRIES:
            apart = max(1, len(left) // CUTS_AN_INCIDENT)
            done = cut_at(*left[::apart]).done
            tries = 0 if done else tries + 1
            left = [point for point in left if point not in done]
        assert left == [], "what was cut is the trace"
        assert installation.ledger.audit.verify().is_whole
