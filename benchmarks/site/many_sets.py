"""Work of one host for many backup sets, with simulated runs.

No data is backed up: the ledger (the shared database) gets one successful run for each set and day.
The runs have no events in the audit chain, so only reads are measured.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from flows.deployments import deployments
from flows.roles import ROLES
from standfast.config import load
from standfast.ledger.schema.row_ids import new_token
from standfast.ledger.schema.tables import run
from standfast.records import canonical
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import origin_of
from standfast.usecases.health.status import look
from standfast.usecases.health.watchdog import keep_watch
from tests.servers.postgres import running_postgres
from tests.usecases.installations import furnish, installation_at

_DAYS = 30
_SET = """
[backup.sets.{name}]
sources = [{{ kind = "files", name = "recordings", path = "/srv/{name}" }}]
"""
_LOAD, _STATUS = "load the configuration", "`standfast status`, without start-up"
_WATCH, _DEPLOY = (
    "one watch of `serve`, every five minutes",
    "deployments for Prefect, without its API",
)


def rows(setting: Setting) -> list[Row]:
    """Measure 10 to 10,000 sets on one host."""
    found: list[Row] = []
    for count in (10, 100) if setting.is_quick else (10, 100, 1_000, 10_000):
        found += _rows(setting, count)
    return found


def _rows(setting: Setting, count: int) -> list[Row]:
    def ours(number: int) -> Mapping[str, float]:
        folder = setting.new_folder(f"sets-{count}-{number}")
        with running_postgres() as server, server.database() as name:
            return _measure(folder, server.url(name), count)

    units = {f"{metric}, {count:,} sets": "s" for metric in (_LOAD, _STATUS, _WATCH, _DEPLOY)}
    contender = Contender(subject="standfast", run=ours, note=f"{_DAYS} days, simulated")
    return compare("site", units, [contender], setting, seconds_a_round=7200, rounds=1)


def _measure(folder: Path, ledger_url: str, count: int) -> Mapping[str, float]:
    config_file = furnish(folder, ledger_url=ledger_url)
    with config_file.open("a") as file:
        file.writelines(_SET.format(name=f"set-{number}") for number in range(count))
    with installation_at(config_file) as installation:
        _simulate_runs(installation)

        def timed(act: Callable[[], object]) -> float:
            watch = Stopwatch()
            act()
            return watch.seconds()

        watched = keep_watch(installation, "serve", on_alarm=lambda *_: True)
        expect(
            len(watched.sets) == count and not watched.missed, "each set is watched, none missed"
        )
        config = installation.config
        return {
            f"{metric}, {count:,} sets": timed(act)
            for metric, act in {
                _LOAD: lambda: load(config_file),
                _STATUS: lambda: look(config_file, {"SCIM_TOKEN": ""}, installation.clock()),
                _WATCH: lambda: keep_watch(installation, "serve", on_alarm=lambda *_: True),
                _DEPLOY: lambda: deployments(config_file, config, ROLES["worker"]),
            }.items()
        }


def _simulate_runs(installation: Installation) -> None:
    """Insert a successful run of each set for each of the last days."""
    now, origin = installation.clock(), origin_of(installation.config).as_json()
    with installation.ledger.engine.begin() as connection:
        for name in installation.config.backup.sets:
            connection.execute(
                run.insert(),
                [
                    {
                        "id": new_token(),
                        "kind": "backup",
                        "subject": name,
                        "way": "prefect",
                        "state": "done",
                        "started_at": at,
                        "ended_at": at,
                        "summary": canonical(
                            {
                                **origin,
                                "is_complete": True,
                                "files": 1000,
                                "consistent_at": at.isoformat(),
                            }
                        ).decode(),
                    }
                    for at in (now - timedelta(days=day) for day in range(_DAYS))
                ],
            )
