"""Dying at every point of a trace: worlds side by side, since most of a death is waiting."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.kill.tracing import Death, Phase

WORKERS = 4
# Which lane looks first is left to chance: a point that was not reached is tried again.
MOST_TRIES = 4


def sample(points: Sequence[str], phase: Phase, every: int) -> list[str]:
    """Give the first point, the last, and of those between one of each `every`.

    Which ones is another matter in each phase, so that three phases come to thrice as many points.
    """
    between = [point for point in points[1:-1] if "runner.alive" not in point]  # comes by chance
    begins = [*Phase].index(phase) * every // len(Phase)
    return [points[0], *between[begins::every], points[-1]]


def die_everywhere(
    points: Sequence[str], phase: Phase, die_and_check: Callable[[Death, str], bool]
) -> set[str]:
    """Die at each point, in a world of its own; give the points where somebody died.

    `die_and_check(death, name)` makes the world of that name, checks how it ends, and says whether
    the death came.
    """

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
            return {point for one in found if (point := one.result())}
        finally:
            pool.shutdown(cancel_futures=True)
