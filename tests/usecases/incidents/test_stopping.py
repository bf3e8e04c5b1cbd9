"""A stop names each act in progress as done, failed or unknown."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.records import EffectState, Limits, Mode, Order, Result
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.watchdog import needs_runner
from standfast.usecases.incidents import lifecycle, step_expansion
from tests.ledger_schema import DATABASES
from tests.usecases.twins import (
    ACCOUNTS,
    SimulatedInstallation,
    Twins,
    simulated_installation,
    twin_directory,
)

pytestmark = pytest.mark.usefixtures("quick_looks")

QUEUE = EffectQueue(verb="accounts.lock", connector="agents")
MANY = tuple(f"agents:{name}" for name in ACCOUNTS)


class Slow(Connector):
    """A directory with locks that last until the test releases them."""

    def __init__(self, inner: SimulatedConnector) -> None:
        self.inner = inner
        self.name, self.limits, self.proof = inner.name, inner.limits, inner.proof
        self.began = threading.Semaphore(0)
        self.let_go = threading.Event()

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        return self.inner.observe(names)

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        self.began.release()
        assert self.let_go.wait(120)
        return self.inner.lock(orders)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self.inner.revoke(orders)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        return self.inner.prove(orders)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self.inner.undo(orders)


@pytest.fixture
def slow() -> Slow:
    limits = Limits(batch=1, workers=2, timeout_seconds=30)
    return Slow(twin_directory(*ACCOUNTS, limits=limits))


@pytest.fixture(params=DATABASES)
def installation(
    request: pytest.FixtureRequest, tmp_path: Path, slow: Slow
) -> Iterator[SimulatedInstallation]:
    """Live installation on each database with a slow directory."""
    url = "sqlite:///ledger.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_ledger_url")
    with simulated_installation(tmp_path, url, Twins(directory=slow)) as installation:
        yield installation


def locks(installation: SimulatedInstallation, case: str) -> Counter[EffectState]:
    rows = installation.ledger.effects.of_incident(case)
    return Counter(row.state for row in rows if row.verb == "accounts.lock")


def test_stop_ends_running_and_begins_nothing(
    installation: SimulatedInstallation, slow: Slow
) -> None:
    case = installation.open("lock", MANY)
    runner = threading.Thread(target=installation.advance, args=(case,))
    runner.start()
    assert slow.began.acquire(timeout=120)
    assert slow.began.acquire(timeout=120)
    lifecycle.stop(installation, case, by="dana")
    assert locks(installation, case)[EffectState.SUBMITTING] == 2, "the calls are under way"
    slow.let_go.set()
    runner.join(120)
    assert not runner.is_alive()
    assert locks(installation, case) == {EffectState.DONE: 2, EffectState.PLANNED: 3}
    assert sum(not slow.inner.is_enabled(name) for name in ACCOUNTS) == 2


@pytest.mark.parametrize("happened", [True, False])
def test_stopped_incident_looks_up_only(
    installation: SimulatedInstallation, slow: Slow, happened: bool
) -> None:
    case = installation.open("lock", MANY)
    name = claim_one_and_die(installation, case)
    lifecycle.stop(installation, case, by="dana")
    if happened:
        slow.inner.set_enabled(name, False)
    assert needs_runner(installation, case), "a watch looks it up without being asked"
    outcome = lifecycle.wait_until_still(installation, case)
    assert locks(installation, case) == (
        {EffectState.DONE: 1, EffectState.PLANNED: 4} if happened else {EffectState.PLANNED: 5}
    )
    assert outcome.state.is_stopped_or_closed
    assert not needs_runner(installation, case)
    assert not slow.began.acquire(blocking=False), "nothing was locked after the stop"


def claim_one_and_die(installation: Installation, case: str) -> str:
    """Claim one lock as a runner that then dies; return its target."""
    ledger, now = installation.ledger, installation.clock()
    state, adapters = (
        ledger.incidents.state(case),
        installation.adapters_for(ledger.incidents.get(case)),
    )
    step_expansion.expand_step(installation, state, adapters, "lock", 1)
    runner = ledger.runners.register(case, "direct", now)
    rows = ledger.effects.without_prior(case, QUEUE, now, 10)
    seen = list(zip(rows, adapters.observe(QUEUE, rows), strict=True))
    ledger.prior_states.keep(case, seen, runner, now)
    limits = Limits(batch=1, timeout_seconds=0.05)
    batch = ledger.attempts.claim(
        case, QUEUE, runner, Mode.LIVE, limits, now, settings=adapters.settings
    )
    ledger.runners.retire(runner, case, now)
    assert batch is not None
    return batch.orders[0].target
