"""Locking many accounts of a real SCIM directory.

The whole incident is measured next to bare requests.

A bare client sends two requests for each account: PATCH, and GET to read the change back. Standfast
sends five: it finds the account by its name, reads the state for a later undo, finds the account
again before the change (a name may belong to another account now), changes it and reads it back. It
also commits the intent before the change and the result after it.

`python -m benchmarks.containment` prints this and the other measurements of an incident: the first
lock, a provider's limit, OpenLDAP, and the cost of recording each change.
"""

import sys
from collections.abc import Mapping

from benchmarks.directory import lock_bare, new_agents, running_directory
from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from standfast.errors import ExitStatus
from standfast.records import Mode
from standfast.usecases.incidents import lifecycle
from tests.usecases.installations import furnish, installation_at

_THREADS = 16  # the number of threads with which Standfast locks accounts of one directory


def rows(setting: Setting) -> list[Row]:
    """Lock as many accounts as one person may lock alone."""
    count = setting.size(200, 25)
    metric = f"lock {count} accounts"
    with running_directory() as server:

        def ours(number: int) -> Mapping[str, float]:
            agents = new_agents(server, count)
            folder = setting.new_folder(f"place-{number}")
            config_file = furnish(folder, scim_url=agents.server.url, timeout_seconds=30)
            with installation_at(config_file, token=server.token) as installation:
                watch = Stopwatch()
                opened = lifecycle.open_incident(
                    installation,
                    "lock",
                    {"accounts": list(agents.names)},
                    mode=Mode.LIVE,
                    opened_by="dana",
                )
                outcome = lifecycle.advance(installation, opened.incident, "direct")
                seconds = watch.seconds()
                expect(outcome.exit_status is ExitStatus.DONE, "the incident is done")
                expect(
                    installation.ledger.audit.verify().is_whole, "the ledger verifies afterwards"
                )
            agents.expect_all_locked()
            return {metric: seconds}

        def bare(threads: int) -> Mapping[str, float]:
            agents = new_agents(server, count)
            watch = Stopwatch()
            lock_bare(agents, threads)
            seconds = watch.seconds()
            agents.expect_all_locked()
            return {metric: seconds}

        return compare(
            "containment",
            {metric: "s"},
            [
                Contender(subject="standfast", run=ours),
                Contender(subject="bare httpx, one by one", run=lambda _: bare(1)),
                Contender(subject=f"bare httpx, {_THREADS} threads", run=lambda _: bare(_THREADS)),
            ],
            setting,
        )


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["incident", *sys.argv[1:]]))
