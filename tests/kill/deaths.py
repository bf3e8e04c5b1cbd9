"""Kills at every point of a trace, in parallel copies of a world."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.kill.tracing import Death, Phase
from tests.sampling import sample

WORKERS = 4
# The order of the effect queues is random, so a point that was not reached is tried again.
MOST_TRIES = 4


def die_everywhere(
    points: Sequence[str], die_and_check: Callable[[Death, str], bool], name: str
) -> None:
    """Kill before, during and after each point of this run's part.

    `name` names the set of points. `die_and_check(death, name)` makes the world of that name,
    checks how it ends, and returns whether the process was killed.
    """
    deaths = sample([Death(point, phase) for point in points for phase in Phase], name)

    def died(number: int, death: Death) -> Death | None:
        try:
            for attempt in range(MOST_TRIES):
                if die_and_check(death, f"{number}-{attempt}"):
                    return death
        except BaseException as error:
            error.add_note(f"killed {death}")
            raise
        return None

    with ThreadPoolExecutor(WORKERS) as pool:
        found = [pool.submit(died, number, death) for number, death in enumerate(deaths, 1)]
        try:
            killed = {death for one in found if (death := one.result())}
        finally:
            pool.shutdown(cancel_futures=True)
    # Heartbeats follow the clock, so a run that is faster than the traced one has fewer of them.
    missed = {death for death in set(deaths) - killed if "runner.alive" not in death.point}
    assert not missed, "the process was killed at every other point of the trace"
