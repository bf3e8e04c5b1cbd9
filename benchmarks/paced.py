"""Locking 500 accounts of a directory limited to 20 writes a second.

An incident disables each account in one step and signs it out in another.

The directory is a fake: it has its own token bucket (20 a second, 20 at once) and refuses a request
that comes too soon, as a provider does with 429. Both steps share this limit. The peer is the
computed minimum: the writes after the first burst, divided by the rate. A round takes a minute, so
there are only two rounds.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.errors import ExitStatus
from standfast.records import EffectState, Limits, Mode, Order, Proof, Result
from standfast.usecases.incidents import lifecycle
from tests.usecases.installations import furnish, installation_at
from tests.usecases.twins import SimulatedInstallation, Twins

_PER_SECOND = 20.0
_BURST = 20
_ROUNDS = 2

_PLAYBOOK = """
playbook: shut
version: 1
title: Shut the accounts
use_when: How close to a provider's limit locking gets is being measured.
inputs:
  accounts: {type: accounts, required: true}
steps:
  lock:
    title: Lock the accounts
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
    undo: accounts.unlock
  sign_out:
    title: Sign them out
    do: accounts.revoke_sessions
    with: {accounts: "{{ inputs.accounts }}"}
"""


class _Paced(Connector):
    """A directory in memory that refuses a write that exceeds the rate."""

    proof = Proof.REFUSED

    def __init__(self, inner: SimulatedConnector) -> None:
        self.name, self._inner = inner.name, inner
        self.limits = Limits(batch=1, workers=16, per_second=_PER_SECOND, burst=_BURST)
        self.too_soon = 0
        self._level, self._filled_at = float(_BURST), time.monotonic()
        self._guard = threading.Lock()

    def _is_too_soon(self) -> bool:
        with self._guard:
            now = time.monotonic()
            grown = (now - self._filled_at) * _PER_SECOND
            self._level, self._filled_at = min(float(_BURST), self._level + grown), now
            if self._level < 1:
                self.too_soon += 1
                return True
            self._level -= 1
            return False

    def _write(self, verb: str, orders: Sequence[Order]) -> list[Result]:
        if self._is_too_soon():
            return [
                Result(
                    target=order.target,
                    state=EffectState.FAILED,
                    reason="429",
                    retry_after_seconds=1.0,
                )
                for order in orders
            ]
        done: list[Result] = getattr(self._inner, verb)(orders)
        return done

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        return self._inner.observe(names)

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        return self._write("lock", orders)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self._write("revoke", orders)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        return self._inner.prove(orders)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self._write("undo", orders)


def rows(setting: Setting) -> list[Row]:
    """Measure on SQLite only, because the rate limit determines the time.

    A faster or slower database, such as PostgreSQL, would not change it.
    """
    count = setting.size(500, 60)
    metric = f"disable + sign out {count} accounts, {_PER_SECOND:g} writes/s"
    least = (2 * count - _BURST) / _PER_SECOND

    def ours(number: int) -> Mapping[str, float]:
        names = [f"agent{index:04}" for index in range(count)]
        inner = SimulatedConnector("agents", dict.fromkeys(names, True))
        directory = _Paced(inner)
        with _installation(setting.new_folder(f"place-{number}"), directory) as installation:
            watch = Stopwatch()
            opened = lifecycle.open_incident(
                installation,
                "shut",
                {"accounts": [f"agents:{name}" for name in names]},
                mode=Mode.LIVE,
                opened_by="dana",
            )
            outcome = lifecycle.advance(installation, opened.incident, "direct")
            seconds = watch.seconds()
            expect(outcome.exit_status is ExitStatus.DONE, "the incident is done")
        expect(directory.too_soon == 0, f"no write came too soon, not {directory.too_soon}")
        expect(not any(inner.is_enabled(name) for name in names), "every account is locked")
        return {metric: seconds}

    return compare(
        "paced",
        {metric: "s"},
        [
            Contender(subject="standfast", run=ours),
            Contender(subject="arithmetic minimum", run=lambda _number: {metric: least}),
        ],
        setting,
        rounds=min(setting.rounds, _ROUNDS),
    )


@contextmanager
def _installation(folder: Path, directory: Connector) -> Iterator[SimulatedInstallation]:
    config_file = furnish(folder)
    (folder / "playbooks").mkdir()
    (folder / "playbooks/shut.yaml").write_text(_PLAYBOOK)
    with config_file.open("a") as file:
        file.write('\n[playbooks]\nfolder = "playbooks"\n')
        file.write("\n[limits]\naccounts_without_second_person = 10000\n")
    with installation_at(config_file) as installation:
        known = {
            field.name: getattr(installation, field.name) for field in fields(type(installation))
        }
        yield SimulatedInstallation(**known, twins=Twins(directory=directory))
