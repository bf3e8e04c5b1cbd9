"""The Prefect server dies at every exchange of an incident.

The trace has all that the `serve` of the incident sends to Prefect (`exchanges`): the probe before
each call of the response's flow, every request of that flow, and the log lines after it. At each of
them the real server is killed by SIGKILL, once before the request and once after its effect and
before its answer. It is restarted at once on its database. Several kills share an incident, at most
one for each call of the flow, because each call is a run of its own.

Between two exchanges the server has no part in the work, so a kill there is a kill before the next
one. `test_prefect` still kills it during a call and leaves its restart to `serve`.

Nobody requests that the incident continues: the call for which Prefect fails continues it, within
the time that it waits for Prefect.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flows.inline_response import BEGINS_WITHIN_SECONDS
from flows.prefect_server import PROBE_SECONDS
from flows.serve_loop import LOOK_SECONDS, TICK_SECONDS
from standfast.ledger.runs.run_store import LEASE
from standfast.records import EffectState
from standfast.usecases.incidents import lifecycle
from tests.flows.installations import plain_environment, ways
from tests.kill.ends import messages_done
from tests.kill.exchanges import Moment, Proxy, Script, running_proxy
from tests.kill.people import Agents, Changes
from tests.kill.prefect_client import (
    CARRIED_ON,
    FLOW_BEGUN,
    FLOW_OVER,
    WARM,
    noted,
    patience,
    serve_with_prefect,
)
from tests.kill.scenario import Case, people_speak
from tests.kill.tracing import own_process
from tests.kill.world import CUSTOMERS, World, fresh_world
from tests.sampling import sample
from tests.servers import wait_until
from tests.servers.prefect import STARTS_WITHIN_SECONDS, running_prefect

PROMISED_SECONDS = 30
AT_REST_WITHIN_SECONDS = 120  # on a busy machine
REACHED_WITHIN_SECONDS = 10  # log lines are sent every two seconds
MOST_TRIES = 4
POLL_SECONDS = 0.05
CALLS = 5  # in a clean run: contain, request approval, notify, request approval of the undo, undo
LEE = "lee@example.com"
LOG_LINES = "POST /logs/"

pytestmark = pytest.mark.xdist_group("prefect")


@dataclass(kw_only=True)
class Served:
    """One call centre that is served with Prefect, and its incidents."""

    world: World
    proxy: Proxy
    incidents: int = 0
    ways: list[str] = field(default_factory=list)  # how each call of the last incident was run

    def carried_out(self, *asked: str, moment: Moment = Moment.BEFORE) -> Script:
        """Open an incident, run it with the requested kill, and check it."""
        self.incidents += 1
        taken_over, innocent = self.world.agents.hire(2)
        case = replace(
            self.world.case,
            accounts=(taken_over, innocent),
            trigger=f"alert-{self.incidents}",
        )
        told = self.world.channel.taken()
        script = self.proxy.follow(frozenset(asked), moment)
        id_ = case.opened(self.world.installation)
        try:
            self._run_to_end(case, id_, script)
            self._check(case, id_, script, told)
        except BaseException as error:
            error.add_note(f"killed {moment} {sorted(script.done)}")
            raise
        self.ways = ways(self.world.installation, id_)
        lifecycle.close(self.world.installation, id_, by="dana")
        return script

    def clean_trace(self) -> list[str]:
        """Return the exchanges of an incident in which flows ran all calls."""
        patience(self.world.case.config_file).touch()
        trace = self.carried_out().trace
        patience(self.world.case.config_file).unlink()
        assert self.ways == ["prefect"] * CALLS
        return trace

    def _run_to_end(self, case: Case, id_: str, script: Script) -> None:
        """Answer for people when no other work is left, until all is done."""
        installation = self.world.installation

        def is_at_rest() -> bool:
            is_alone = not installation.ledger.runners.live(id_, installation.clock())
            return is_alone and not lifecycle.has_work(installation, id_)

        while True:
            assert self._wait_for(is_at_rest, AT_REST_WITHIN_SECONDS), f"{id_} is never at rest"
            self._wait_for(lambda: script.is_over_so_far, REACHED_WITHIN_SECONDS)
            if not people_speak(installation, case, id_):
                break
        if script.asked:
            self._wait_for(lambda: script.asked <= script.done, REACHED_WITHIN_SECONDS)
        else:
            self._wait_for(lambda: self._has_reported(id_, script), AT_REST_WITHIN_SECONDS)
        self._wait_for(lambda: self._noted(CARRIED_ON, id_) == CALLS, AT_REST_WITHIN_SECONDS)

    def _wait_for(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, with restarts of the server; return the result."""
        give_up_at = time.monotonic() + seconds
        while self.proxy.is_down.is_set() or not is_so():
            if self.proxy.is_down.is_set():
                self.proxy.start_again()
            if time.monotonic() > give_up_at:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _has_reported(self, id_: str, script: Script) -> bool:
        """Return whether Prefect received all states and log lines of the calls."""
        is_over = self._noted(FLOW_OVER, id_) == self._noted(FLOW_BEGUN, id_)
        return is_over and LOG_LINES in script.trace

    def _noted(self, what: str, id_: str) -> int:
        return noted(self.world.case.config_file)[f"{what} {id_}"]

    def _check(self, case: Case, id_: str, script: Script, told: Counter[str]) -> None:
        """Check that the directory, the channel and the ledger count all once."""
        ledger, agents = self.world.installation.ledger, self.world.agents
        taken_over, innocent = case.accounts
        assert not agents.signs_in(taken_over), "the old password is turned away"
        assert agents.signs_in(innocent), "what was taken back works again"
        assert agents.changes(taken_over) == Changes(locks=1, unlocks=0)
        assert agents.changes(innocent) == Changes(locks=1, unlocks=1)
        now_told = self.world.channel.taken() - told
        effects = ledger.effects.of_incident(id_)
        assert now_told == messages_done(effects), "no message without its effect"
        once = dict.fromkeys(CUSTOMERS, 1)
        assert now_told == {**once, LEE: 2}, "every recipient counts once"
        paged_for = sorted(row.step for row in effects if row.verb == "people.page")
        assert paged_for == ["tell_customers", "undo-1"], "the approver is paged once a step"
        ends = Counter(row.state for row in effects)
        assert ends.pop(EffectState.REFUSED) == 1, "of the customer who has no address"
        assert set(ends) == {EffectState.DONE}
        # The call for which Prefect failed continued the incident itself, so no second call was
        # needed.
        assert self._noted(CARRIED_ON, id_) == len(ways(self.world.installation, id_)) == CALLS


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, furnished: Path, agents: Agents
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("prefect")
    with (
        running_prefect(folder / "home", plain_environment()) as prefect,
        running_proxy(prefect) as proxy,
        fresh_world(folder / "world", furnished, agents, "smtp") as world,
    ):
        process = own_process(serve_with_prefect, world.case, proxy.url)
        try:
            wait_until(
                lambda: noted(world.case.config_file)[WARM] > 0,
                "it serves, with Prefect",
                seconds=STARTS_WITHIN_SECONDS,
            )
            yield Served(world=world, proxy=proxy)
        finally:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def points(served: Served) -> list[str]:
    """Return the exchanges of both of two clean runs; others are random.

    Events and late requests of earlier incidents are random too, even if both runs have them.
    """
    served.clean_trace()  # the first call of a process loads modules, which later calls do not
    first, again = served.clean_trace(), served.clean_trace()
    return [
        point
        for point in first
        if point in again and (point.startswith("call ") or point == LOG_LINES)
    ]


@pytest.mark.long
def test_clean_run_repeats_the_same_exchanges(points: list[str]) -> None:
    said = [
        [point.partition(": ")[2] for point in points if point.startswith(f"call {number}:")]
        for number in range(1, CALLS + 1)
    ]
    assert said == said[:1] * CALLS
    assert said[0][0] == "GET /health 1"
    assert said[0][-1] == "POST /flow_runs/{id}/set_state 2", "the last word is how it ended"
    assert len(points) == CALLS * len(said[0]) + len([LOG_LINES])


@pytest.mark.parametrize("moment", Moment)
def test_killed_at_every_exchange_ends_as_clean_run(
    moment: Moment, served: Served, points: list[str]
) -> None:
    asked = sample(points, f"prefect {moment}")
    killed, tries = set[str](), 0
    while (left := [point for point in asked if point not in killed]) and tries < MOST_TRIES:
        by_call = {point.partition(":")[0]: point for point in reversed(left)}
        done = served.carried_out(*by_call.values(), moment=moment).done
        killed |= done
        tries = 0 if done else tries + 1
    assert killed == set(asked), "the killed points equal the trace"
    assert served.world.installation.ledger.audit.verify().is_whole


def test_longest_wait_is_within_the_promise() -> None:
    assert PROBE_SECONDS + BEGINS_WITHIN_SECONDS < PROMISED_SECONDS, "where Prefect fails a call"
    looked_for = LEASE.total_seconds() + LOOK_SECONDS + TICK_SECONDS
    assert looked_for < PROMISED_SECONDS, "where a runner of another machine dies"
