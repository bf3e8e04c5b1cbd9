"""Time from a command or a signed message to the first lock.

Two processes of `standfast serve` are measured, each with its own installation: one with a Prefect
server, in which the incident is a flow, and one without. Both have locked accounts before the first
round. The time of a lock is the directory's own `lastModified`, as in `first_lock`. The time until
a message is answered is measured as well; the first message after the start has its own row.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from benchmarks.commands import STANDFAST
from benchmarks.directory import Agents, more_agents, new_tenant, running_directory
from benchmarks.measure import Contender, Missing, Row, Setting, Stopwatch, compare, expect
from standfast.usecases.incidents.lifecycle import look
from tests.servers import free_port
from tests.servers.scim import ScimServer
from tests.usecases.installations import furnish, installation_at

_WHAT = "first of 25 locked, serve is warm"
_ANSWER = "a signed message answered"
_FIRST_ANSWER = "the first message after the start answered"
_COUNT = 25
_NOWHERE = "http://127.0.0.1:9/api"
_STARTS_WITHIN_SECONDS = 180.0  # Prefect's first start creates its database

_MORE = """
[limits]
accounts_without_second_person = 10000

[serve]
port = {port}
{prefect}

[triggers.siem]
kind = "webhook"
secrets = ["env:SIEM_SECRET"]
scenario = "lock"
mode = "live"
inputs = {{ accounts = "{{/accounts/*}}", reason = "{{/rule}}" }}
per_minute = 6000
"""


@dataclass(frozen=True, kw_only=True)
class _Served:
    """One installation, and the process that serves it."""

    config_file: Path
    tenant: ScimServer
    env: Mapping[str, str]
    url: str

    def by_command(self, agents: Agents) -> Mapping[str, float]:
        subprocess.run(
            [*STANDFAST, "-c", str(self.config_file), "lock", *agents.names],
            env=self.env, check=True, timeout=60, capture_output=True,
        )  # fmt: skip
        return {}

    def by_webhook(self, agents: Agents) -> Mapping[str, float]:
        """Send a SIEM's message and wait until the incident is over.

        Return the seconds until the answer.
        """
        from tests.console.installations import signed

        body = json.dumps({"accounts": list(agents.names), "rule": "impossible travel"})
        with httpx.Client(trust_env=False, timeout=30) as client:
            client.get(f"{self.url}/health")  # keeps the connection open, as a SIEM does
            headers = signed(body, f"msg_{agents.names[0]}")
            watch = Stopwatch()
            answer = client.post(f"{self.url}/triggers/siem", content=body, headers=headers)
            seconds = watch.seconds()
        case = answer.raise_for_status().json()["incident"]
        with installation_at(self.config_file, token=self.tenant.token) as installation:
            _wait_until(
                lambda: look(installation, case).summary.is_over, "the incident is over", 60
            )
        return {_ANSWER: seconds}


def rows(setting: Setting) -> list[Row]:
    """Measure the command and the webhook, with Prefect and without."""
    with (
        running_directory() as server,
        _serving(setting.new_folder("down"), server, prefect=f'prefect = "{_NOWHERE}"') as down,
        _serving(setting.new_folder("up"), server, prefect="") as up,
    ):

        def timed(
            served: _Served, way: Callable[[Agents], Mapping[str, float]], name: str
        ) -> Callable[[int], Mapping[str, float]]:
            def run(number: int) -> Mapping[str, float]:
                agents = more_agents(served.tenant, _COUNT, f"{name}-{number}-")
                begin = datetime.now(UTC)
                found = way(agents)
                agents.expect_all_locked()
                return {**found, _WHAT: (agents.first_change() - begin).total_seconds()}

            return run

        ways = {
            "`standfast lock`, Prefect up": timed(up, up.by_command, "command"),
            "`standfast lock`, Prefect down": timed(down, down.by_command, "command"),
            "signed webhook, Prefect up": timed(up, up.by_webhook, "webhook"),
            "signed webhook, Prefect down": timed(down, down.by_webhook, "webhook"),
        }
        # Send messages before commands: the first message must reach a `serve` without earlier
        # work.
        warmed = {subject: run(-1) for subject, run in reversed(ways.items())}
        first = [
            Row(
                benchmark="served",
                metric=_FIRST_ANSWER,
                subject=subject,
                unit="s",
                values=(seconds,),
            )
            for subject, found in warmed.items()
            if (seconds := found.get(_ANSWER)) is not None
        ]
        return first + compare(
            "served",
            {_WHAT: "s", _ANSWER: "s"},
            [Contender(subject=subject, run=run) for subject, run in ways.items()],
            setting,
        )


@contextmanager
def _serving(folder: Path, server: ScimServer, *, prefect: str) -> Iterator[_Served]:
    """Serve a new installation until the block ends.

    The block begins when `serve` responds and, if one is used, Prefect too.
    """
    try:
        from tests.console.installations import SECRET
    except ImportError as error:
        raise Missing(
            f"{error.name} is not installed; take the development requirements"
        ) from error
    tenant, port = new_tenant(server), free_port()
    config_file = furnish(folder, scim_url=tenant.url)
    with config_file.open("a") as file:
        file.write(_MORE.format(port=port, prefect=prefect))
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    served = _Served(
        config_file=config_file,
        tenant=tenant,
        env={**kept, "SCIM_TOKEN": tenant.token, "SIEM_SECRET": SECRET},
        url=f"http://127.0.0.1:{port}",
    )
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*STANDFAST, "serve", "-c", str(config_file)],
            env=served.env,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until(
            lambda: process.poll() is not None or _answers(served.url),
            "serve answers",
            _STARTS_WITHIN_SECONDS,
        )
        if not prefect:
            _wait_until(
                lambda: process.poll() is not None or "Prefect answers" in log.read_text(),
                "Prefect answers",
                _STARTS_WITHIN_SECONDS,
            )
        expect(process.poll() is None, f"serve runs: {log.read_text()[-500:]}")
        yield served
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


def _wait_until(is_so: Callable[[], bool], expectation: str, seconds: float) -> None:
    give_up_at = time.monotonic() + seconds
    while not is_so():
        expect(time.monotonic() < give_up_at, f"{expectation} within {seconds:g} s")
        time.sleep(0.05)
