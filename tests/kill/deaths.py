"""Dying at every point of a trace: worlds side by side, since most of a death is waiting."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.kill.tracing import Death, Phase
from tests.sampling import sample

WORKERS = 4
# Which queue looks first is left to chance: a point that was not reached is tried again.
MOST_TRIES = 4


def die_everywhere(
    points: Sequence[str], phase: Phase, die_and_check: Callable[[Death, str], bool], name: str
) -> None:
    """Kill at each point of this run's part of the set `name`, in a world of its own.

    `die_and_check(death, name)` makes the world of that name, checks how it ends, and returns
    whether the process was killed.
    """
    points = sample(points, f"{name} {phase}")

    def died(number: int, point: str) -> str | None:
        death = Death(point, phase)
        try:
            for attempt in range(MOST_TRIES):
                if die_and_check(death, f"{phase}-{number}-{attempt}"):
                    return point
        except BaseException as error:
            error.add_note(f"killed {death}")
            raise
        return None

    with ThreadPoolExecutor(WORKERS) as pool:
        found = [pool.submit(died, number, point) for number, point in enumerate(points, 1)]
        try:
            killed = {point for one in found if (point := one.result())}
        finally:
            pool.shutdown(cancel_futures=True)
    # Heartbeats follow the clock, so a run that is quicker than the traced one has fewer of them.
    missed = {point for point in set(points) - killed if "runner.alive" not in point}
    assert not missed, "the process was killed at every other point of the trace"
