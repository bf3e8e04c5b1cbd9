"""Time from opening an incident to the directory's first change.

The time ends at `lastModified`, which the directory itself sets: a request that was only sent has
locked no account.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from benchmarks.commands import STANDFAST
from benchmarks.directory import LOCK, Agents, new_agents, running_directory
from benchmarks.measure import Contender, Row, Setting, compare, expect
from standfast.records import Mode
from standfast.usecases.incidents import lifecycle
from tests.usecases.installations import furnish, installation_at

_WHAT = "first of 25 locked"
_COUNT = 25

# A minimal script: it looks nothing up and records nothing.
_SCRIPT = """
import sys, httpx
url, token, *ids = sys.argv[1:]
with httpx.Client(headers={"Authorization": "Bearer " + token}, trust_env=False) as client:
    for account_id in ids:
        client.patch(url + "/Users/" + account_id, json=LOCK).raise_for_status()
""".replace("LOCK", repr(LOCK))


def rows(setting: Setting) -> list[Row]:
    """Measure `standfast lock`, a process that already runs, and a script."""
    with running_directory() as server:

        def warm(number: int) -> Mapping[str, float]:
            agents = new_agents(server, _COUNT)
            config_file = furnish(setting.new_folder(f"warm-{number}"), scim_url=agents.server.url)
            with installation_at(config_file, token=server.token) as installation:
                begin = datetime.now(UTC)
                opened = lifecycle.open_incident(
                    installation,
                    "lock",
                    {"accounts": list(agents.names)},
                    mode=Mode.LIVE,
                    opened_by="dana",
                )
                lifecycle.advance(installation, opened.incident, "direct")
            return _since(begin, agents)

        def command(number: int) -> Mapping[str, float]:
            agents = new_agents(server, _COUNT)
            config_file = furnish(
                setting.new_folder(f"command-{number}"), scim_url=agents.server.url
            )
            env = {**os.environ, "SCIM_TOKEN": server.token}
            begin = datetime.now(UTC)
            subprocess.run(
                [*STANDFAST, "-c", str(config_file), "lock", *agents.names],
                env=env, check=True, timeout=60, capture_output=True,
            )  # fmt: skip
            return _since(begin, agents)

        def script(_number: int) -> Mapping[str, float]:
            agents = new_agents(server, _COUNT)
            begin = datetime.now(UTC)
            subprocess.run(
                [sys.executable, "-c", _SCRIPT, agents.server.url, server.token, *agents.ids],
                check=True, timeout=60, capture_output=True,
            )  # fmt: skip
            return _since(begin, agents)

        return compare(
            "first lock",
            {_WHAT: "s"},
            [
                Contender(subject="`standfast lock`", run=command),
                Contender(subject="standfast in a warm process", run=warm),
                Contender(subject="a script of five lines", run=script),
            ],
            setting,
        )


def _since(begin: datetime, agents: Agents) -> Mapping[str, float]:
    agents.expect_all_locked()
    seconds = (agents.first_change() - begin).total_seconds()
    expect(seconds > 0, "nothing was locked before it began")
    return {_WHAT: seconds}
