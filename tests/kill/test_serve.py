"""`standfast serve` dies anywhere in an incident; the next one continues.

systemd starts the next `serve` at once, which needs no request. It checks for open incidents at
once and waits for no lease, because a process that died on this machine already counts as dead (for
another machine, see `test_prefect_exchanges` and `tests/flows/test_serve_loop.py`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from standfast.usecases.incidents import lifecycle
from tests.kill.deaths import die_everywhere
from tests.kill.ends import check_at_rest, check_end, check_recipients, settle_unknown_messages
from tests.kill.scenario import people_speak, serve
from tests.kill.tracing import ENDS_WITHIN_SECONDS, Death, own_process
from tests.kill.world import KILLED, NewWorld, World

POLL_SECONDS = 0.2


@contextmanager
def serving(world: World, death: Death | None = None) -> Iterator[BaseProcess]:
    """Serve until the block ends, or until a death before or at the end."""
    process = own_process(serve, world.case, death)
    try:
        yield process
        process.terminate()
        process.join(ENDS_WITHIN_SECONDS)
    finally:
        process.kill()
        process.join()


def carried_out(world: World, case: str, process: BaseProcess) -> None:
    """Answer for people when no other work is left, until done or dead."""
    installation = world.installation
    give_up_at = time.monotonic() + ENDS_WITHIN_SECONDS
    while process.is_alive():
        is_quiet = not installation.ledger.runners.live(case, installation.clock())
        if (
            is_quiet
            and not lifecycle.has_work(installation, case)
            and not people_speak(installation, world.case, case)
        ):
            return
        assert time.monotonic() < give_up_at, "serve carries the incident out"
        process.join(POLL_SECONDS)


def is_resumed(world: World, case: str, earlier: int) -> None:
    """Wait until `serve` works on the incident or has nothing to do."""
    give_up_at = time.monotonic() + ENDS_WITHIN_SECONDS
    while starts(world, case) == earlier and lifecycle.has_work(world.installation, case):
        assert time.monotonic() < give_up_at, "resumed without being asked"
        time.sleep(POLL_SECONDS)


def starts(world: World, case: str) -> int:
    return sum(
        event.action == "runner.started" for event in world.installation.ledger.timeline(case)
    )


def ends_as_the_clean_run(new_world: NewWorld, name: str) -> None:
    """Die at each point of a clean run, each time in a world of its own."""
    with new_world("clean") as world:
        case = world.case.opened(world.installation)
        with serving(world) as process:
            carried_out(world, case, process)
        check_end(world)
        points = world.trace

    def died(death: Death, name: str) -> bool:
        with new_world(name) as world:
            case = world.case.opened(world.installation)
            with serving(world, death) as process:
                carried_out(world, case, process)
            check_recipients(world)
            assert not world.installation.ledger.runners.live(case, world.installation.clock())
            earlier = starts(world, case)
            with serving(world) as next_process:
                is_resumed(world, case, earlier)
                carried_out(world, case, next_process)
                check_at_rest(world)
                if settle_unknown_messages(world):
                    carried_out(world, case, next_process)
            check_recipients(world)
            check_end(world)
            return process.exitcode == KILLED

    die_everywhere(points, died, name)


def test_killed_serve_is_continued_by_the_next(on_sqlite: NewWorld) -> None:
    ends_as_the_clean_run(on_sqlite, "serve")


def test_killed_serve_is_continued_on_postgresql(on_postgresql: NewWorld) -> None:
    ends_as_the_clean_run(on_postgresql, "serve on PostgreSQL")
