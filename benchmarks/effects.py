"""Cost of the ledger for each effect.

An effect is one change of one target, such as one locked account; the ledger is the database that
records it. The cost is that of planning the effect, and of the two commits around the call that
makes the change: the intent before it and the result after it.

The call itself is a pause of 0 or 20 ms, executed by the queues and threads of real calls. The
peer, with which Standfast is compared, uses the bare database driver. It does the minimum of a
program that must not lose an intent: one commit with the rows before each call, and one after it.
It uses the same disk and as many threads. It has no audit chain, encrypts nothing, checks no
approval and reads nothing back.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.measure import Contender, Missing, Row, Setting, Stopwatch, compare, expect
from standfast.adapters.accounts import Connector
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.adapters.factory import Adapters
from standfast.adapters.procedures import Procedure
from standfast.adapters.senders import Sender
from standfast.ledger.effects.effect_rows import Batch, EffectQueue, EffectRow
from standfast.ledger.schema.tables import effect
from standfast.notices.audience import Audience
from standfast.playbook.planned_effects import Draft, Expansion, FrozenNotice
from standfast.records import EffectState, Limits, Mode, Observed, Result
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.effect_queues import EffectQueues
from tests.usecases.installations import furnish, installation_at

_THREADS = 16
_LANE = EffectQueue(verb="accounts.revoke_sessions", connector="agents")
_STEP = "lock"
_PLAN, _MANY, _SLOW_MANY, _ONE, _SLOW_ONE = (
    "plan, 1,000 at once",
    "claim + receipt, batch 1,000, call 0 ms",
    "claim + receipt, batch 1,000, call 20 ms",
    "claim + receipt, batch 1, call 0 ms",
    "claim + receipt, batch 1, call 20 ms",
)
_UNIT = "µs/effect"
_ON_POSTGRESQL = "standfast on PostgreSQL"


@dataclass(frozen=True, kw_only=True)
class _Case:
    metric: str
    batch: int
    pause_seconds: float
    count: int
    plan_metric: str = ""  # empty: the cost of the plan is not measured


_Carrying = Callable[[Path, Sequence[_Case]], Mapping[str, float]]


def rows(setting: Setting) -> list[Row]:
    """Measure on SQLite, then on PostgreSQL, each next to its bare driver."""
    many, few = setting.size(5_000, 1_000), setting.size(300, 40)
    cases = (
        _Case(metric=_MANY, batch=1000, pause_seconds=0, count=many, plan_metric=_PLAN),
        _Case(metric=_SLOW_MANY, batch=1000, pause_seconds=0.02, count=many),
        _Case(metric=_ONE, batch=1, pause_seconds=0, count=few),
        _Case(metric=_SLOW_ONE, batch=1, pause_seconds=0.02, count=few),
    )
    units = dict.fromkeys((_PLAN, *(case.metric for case in cases)), _UNIT)
    found = compare("effects", units, _on_sqlite(setting, cases), setting)
    found += _growth(
        setting,
        "standfast on SQLite",
        lambda number, grown: _ours(
            setting.new_folder(f"grown-{number}"), "sqlite:///ledger.db", grown
        ),
    )
    with _durable_postgres() as (ours, bare):
        found += compare("effects", units, _on_postgresql(setting, cases, ours, bare), setting)
        found += _growth(
            setting,
            _ON_POSTGRESQL,
            lambda number, grown: ours(setting.new_folder(f"grown-postgres-{number}"), grown),
        )
    return found


def _growth(
    setting: Setting, subject: str, ours: Callable[[int, Sequence[_Case]], Mapping[str, float]]
) -> list[Row]:
    """Measure the cost of one effect by the size of its incident.

    The cost should not grow. With `is_all`, measure a million effects as well.
    """
    sizes = [100, 1_000, 3_000] if setting.is_quick else [1_000, 10_000, 100_000]
    if setting.is_all:
        sizes.append(1_000_000)
    cases = [
        _Case(
            metric=f"claim + receipt, {count:,} effects",
            batch=1000,
            pause_seconds=0,
            count=count,
            plan_metric=f"plan, {count:,} effects",
        )
        for count in sizes
    ]
    metrics = [metric for case in cases for metric in (case.plan_metric, case.metric)]
    return compare(
        "effects",
        dict.fromkeys(metrics, _UNIT),
        [Contender(subject=subject, run=lambda number: ours(number, cases))],
        setting,
        seconds_a_round=7200 if setting.is_all else 600,
        rounds=1 if setting.is_all else 3,
    )


def _on_sqlite(setting: Setting, cases: Sequence[_Case]) -> list[Contender]:
    def ours(number: int) -> Mapping[str, float]:
        return _ours(setting.new_folder(f"sqlite-{number}"), "sqlite:///ledger.db", cases)

    def bare(number: int) -> Mapping[str, float]:
        file = setting.new_folder(f"bare-sqlite-{number}") / "bare.db"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(file, isolation_level=None, timeout=30)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            return connection

        return _bare(connect, "BEGIN IMMEDIATE", "?", cases)

    return [
        Contender(subject="standfast on SQLite", run=ours),
        Contender(subject="bare sqlite3", run=bare),
    ]


def _on_postgresql(
    setting: Setting, cases: Sequence[_Case], ours: _Carrying, bare: _Carrying
) -> list[Contender]:
    return [
        Contender(
            subject=_ON_POSTGRESQL,
            run=lambda number: ours(setting.new_folder(f"postgres-{number}"), cases),
        ),
        Contender(
            subject="bare psycopg",
            run=lambda number: bare(setting.new_folder(f"bare-postgres-{number}"), cases),
        ),
    ]


@contextmanager
def _durable_postgres() -> Iterator[tuple[_Carrying, _Carrying]]:
    """Start PostgreSQL on the disk; yield the runners of Standfast and peer.

    Tests use the same server in memory, without a sync of its commits. That would hide their cost.
    """
    try:
        import psycopg

        from tests.servers.postgres import running_postgres
    except ImportError as error:
        why = f"{error.name} is not installed; take the development requirements"

        def absent(_folder: Path, _cases: Sequence[_Case]) -> Mapping[str, float]:
            raise Missing(why)

        yield absent, absent
        return
    with running_postgres(is_on_disk=True) as server:
        server.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")

        def ours(folder: Path, cases: Sequence[_Case]) -> Mapping[str, float]:
            with server.database() as name:
                expect(_syncs(server.url(name, driver="")), "PostgreSQL syncs its commits")
                return _ours(folder, server.url(name), cases)

        def bare(_folder: Path, cases: Sequence[_Case]) -> Mapping[str, float]:
            with server.database() as name:
                url = server.url(name, driver="")
                return _bare(lambda: psycopg.connect(url, autocommit=True), "BEGIN", "%s", cases)

        yield ours, bare


def _syncs(url: str) -> bool:
    """Return whether commits reach the disk.

    Wait at most ten seconds until the server has read its settings.
    """
    import psycopg

    give_up_at = time.monotonic() + 10
    while time.monotonic() < give_up_at:
        with psycopg.connect(url, autocommit=True) as connection:
            settings = [
                connection.execute(f"SHOW {name}".encode()).fetchone()
                for name in ("fsync", "synchronous_commit", "full_page_writes")
            ]
        if settings == [("on",)] * 3:
            return True
    return False


def _ours(folder: Path, url: str, cases: Sequence[_Case]) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    with installation_at(furnish(folder, ledger_url=url)) as installation:
        for case in cases:
            planned, carried = _execute(installation, case)
            figures[case.metric] = carried / case.count * 1e6
            if case.plan_metric:
                figures[case.plan_metric] = planned / case.count * 1e6
        report = installation.ledger.audit.verify()
        expect(report.is_whole, f"the ledger verifies afterwards: {report.findings[:1]}")
    return figures


def _execute(installation: Installation, case: _Case) -> tuple[float, float]:
    """Plan and run one step of a new incident; return both durations.

    The durations are in seconds.
    """
    ledger, clock = installation.ledger, installation.clock
    case_id = lifecycle.open_incident(
        installation, "lock", {"accounts": ["agents:someone"]}, mode=Mode.LIVE, opened_by="dana"
    ).incident
    drafts = tuple(
        Draft(verb=_LANE.verb, connector=_LANE.connector, target=f"agents:agent{number}")
        for number in range(case.count)
    )
    watch = Stopwatch()
    for round_, start in enumerate(range(0, case.count, 1000), 1):
        expansion = Expansion(drafts=drafts[start : start + 1000])
        ledger.steps.expand(case_id, _STEP, round_, expansion, "dana", clock())
    planned = watch.seconds()
    adapters = _PausingAdapters(installation, case_id, case)
    runner = ledger.runners.register(case_id, "direct", clock())
    queues = EffectQueues(
        ledger=ledger, adapters=adapters, incident=case_id, runner=runner, clock=clock
    )
    watch = Stopwatch()
    try:
        queues.start(ledger.effects.open_work(case_id, clock()))
        while queues.is_busy:
            queues.wait(1)
    finally:
        queues.close()
    carried = watch.seconds()
    is_done_once = (effect.c.state == EffectState.DONE.value) & (effect.c.tries == 1)
    query = select(func.count()).where(effect.c.incident == case_id, is_done_once)
    with ledger.database.reading() as connection:
        done = connection.scalar(query)
    expect(done == case.count, f"{case.count} effects are done once, not {done}")
    # On PostgreSQL, a thread skips rows that another thread has locked. A call can therefore have
    # fewer effects than a batch.
    expect(max(adapters.calls) <= case.batch, "no call carried more than a batch")
    expect(sum(adapters.calls) == case.count, "each effect was in one call")
    return planned, carried


class _PausingAdapters(Adapters):
    """Adapters of external systems with successful calls of equal duration."""

    mode = Mode.LIVE

    def __init__(self, installation: Installation, case_id: str, case: _Case) -> None:
        custody = Custody(
            incident=case_id,
            collector=installation.actor,
            reason="benchmark",
            folder=installation.config.custody.folder,
        )
        super().__init__(installation.config, custody, _no_notice)
        self._limits = Limits(batch=case.batch, workers=_THREADS)
        self._pause_seconds = case.pause_seconds
        self.calls: list[int] = []

    def limits(self, queue: EffectQueue) -> Limits:
        return self._limits

    def observe(self, queue: EffectQueue, rows: Sequence[EffectRow]) -> list[Observed]:
        return [Observed(target=row.target) for row in rows]

    def call(self, batch: Batch) -> list[Result]:
        self.calls.append(len(batch.effects))
        if self._pause_seconds:
            time.sleep(self._pause_seconds)
        return [Result(target=row.target, state=EffectState.DONE) for row in batch.effects]

    def _build_connector(self, name: str) -> Connector:
        raise NotImplementedError

    def _build_source(self, name: str) -> EvidenceSource:
        raise NotImplementedError

    def _build_sender(self, name: str) -> Sender:
        raise NotImplementedError

    def _build_procedure(self, name: str) -> Procedure:
        raise NotImplementedError

    def _read_audience(self, name: str) -> Audience:
        raise NotImplementedError


def _no_notice(_incident: str, _step: str, _round: int) -> FrozenNotice:
    raise NotImplementedError


def _bare(
    connect: Callable[[], Any], begin: str, mark: str, cases: Sequence[_Case]
) -> Mapping[str, float]:
    """Measure the peer: commit the intent, pause, and commit the result.

    `connect` opens a connection of any driver. `begin` is its statement that begins a transaction
    for writing, and `mark` is its placeholder in a statement.
    """
    figures: dict[str, float] = {}
    setup = connect()
    for number, case in enumerate(cases):
        table = f"effect{number}"
        setup.execute(
            f"CREATE TABLE {table} (token TEXT PRIMARY KEY, target TEXT, state TEXT, attempt TEXT)"
        )
        tokens = [f"{installation:032x}" for installation in range(case.count)]
        watch = Stopwatch()
        for start in range(0, case.count, 1000):
            planned = [
                (token, f"agents:agent{token}", "planned", None)
                for token in tokens[start : start + 1000]
            ]
            setup.execute(begin)
            marks = ", ".join([mark] * 4)
            setup.cursor().executemany(f"INSERT INTO {table} VALUES ({marks})", planned)
            setup.execute("COMMIT")
        if case.plan_metric:
            figures[case.plan_metric] = watch.seconds() / case.count * 1e6
        batches = [tokens[start : start + case.batch] for start in range(0, case.count, case.batch)]
        own = threading.local()

        def execute(
            batch: Sequence[str],
            own: threading.local = own,
            table: str = table,
            pause_seconds: float = case.pause_seconds,
        ) -> None:
            if not hasattr(own, "connection"):
                own.connection = connect()
            change = f"UPDATE {table} SET state = {mark}, attempt = {mark} WHERE token = {mark}"
            for state in ("submitting", "done"):
                own.connection.execute(begin)
                own.connection.cursor().executemany(
                    change, [(state, batch[0], token) for token in batch]
                )
                own.connection.execute("COMMIT")
                if state == "submitting" and pause_seconds:
                    time.sleep(pause_seconds)

        watch = Stopwatch()
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(execute, batches))
        figures[case.metric] = watch.seconds() / case.count * 1e6
        done = setup.execute(f"SELECT count(*) FROM {table} WHERE state = 'done'").fetchone()[0]
        expect(done == case.count, f"{case.count} rows are done, not {done}")
    setup.close()
    return figures
