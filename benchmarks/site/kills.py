"""Kills of the parts of a site in turn, while work is in progress.

The order depends on the seed alone. The moments depend on the progress of the work, so that kills
hit the same points of the work on a fast machine and on a slow one.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from benchmarks.measure import Wrong
from benchmarks.site.hosts import Host
from tests.servers.prefect_site import PrefectSite

_LOOK_SECONDS = 0.1
_TELL_SECONDS = 15.0
_LOOK_AT_WORK_SECONDS = 0.01
_MOST_WAIT_SECONDS = 30.0
_MOST_DOWN_SECONDS = 3.0  # systemd starts a process again soon
_RUN_MARK = "PREFECT__FLOW_RUN_ID="


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A part of the site that can be killed and started again."""

    name: str
    kill: Callable[[], object]
    restart: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Kills:
    """The victims of one run, and the number of kills."""

    victims: Sequence[Victim]
    count: int
    seed: int
    report_progress: Callable[[str], None]

    def during(self, progress: Callable[[], float], seconds: float) -> list[str]:
        """Kill the victims while work is in progress; return their names.

        Ends when the progress is 1 and all kills are done. Raise Wrong if this takes too long.
        """
        chosen = random.Random(self.seed)
        order: list[Victim] = []
        while len(order) < self.count:
            order += chosen.sample(self.victims, len(self.victims))
        order = order[: self.count]
        pauses = [chosen.uniform(0, _MOST_DOWN_SECONDS) for _ in order]
        restarts, killed = list[threading.Thread](), list[str]()
        deadline, told_at = time.monotonic() + seconds, time.monotonic()
        while (done := progress()) < 1 or len(killed) < len(order):
            if len(killed) < len(order) and done >= (len(killed) + 1) / (len(order) + 1):
                victim, pause = order[len(killed)], pauses[len(killed)]
                self.report_progress(f"  {done:.0%}: kill {victim.name}")
                victim.kill()
                killed.append(victim.name)
                restarts.append(threading.Thread(target=_restart, args=(victim, pause)))
                restarts[-1].start()
            if time.monotonic() - told_at > _TELL_SECONDS:
                told_at = time.monotonic()
                self.report_progress(f"  {done:.0%}")
            if time.monotonic() > deadline:
                raise Wrong(f"the work ends within {seconds:g} s; {done:.0%} is done")
            time.sleep(_LOOK_SECONDS)
        for thread in restarts:
            thread.join()
        return killed


def _restart(victim: Victim, pause_seconds: float) -> None:
    time.sleep(pause_seconds)
    victim.restart()


def victims_of_site(
    site: PrefectSite, hosts: Sequence[Host], has_work: Callable[[Host], bool] = lambda _: True
) -> list[Victim]:
    """Return the hosts, the running work of each, and the parts of Prefect.

    Runs are killed as soon as their host has work in progress, or after half a minute.
    """

    def kill_runs(host: Host) -> None:
        deadline = time.monotonic() + _MOST_WAIT_SECONDS
        pids = host.processes(_RUN_MARK)
        while not (pids and has_work(host)) and time.monotonic() < deadline:
            time.sleep(_LOOK_AT_WORK_SECONDS)
            pids = host.processes(_RUN_MARK)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    parts = {
        "api-0": lambda: site.start_api(0),
        "api-1": lambda: site.start_api(1),
        "services": site.start_services,
        "redis": site.start_redis,
    }
    return [
        *(Victim(name=f"worker {host.name}", kill=host.kill, restart=host.start) for host in hosts),
        *(
            Victim(
                name=f"runs of {host.name}",
                kill=partial(kill_runs, host),
                restart=lambda: None,  # Prefect or an operator starts others
            )
            for host in hosts
        ),
        *(
            Victim(name=name, kill=partial(site.kill, name), restart=restart)
            for name, restart in parts.items()
        ),
    ]
