"""Overhead of a drill over the bare restore, and times of its planning.

A drill restores a recovery point (the result of one backup), checks it, measures the time, writes a
report, and removes the restored data.

Aims
- A drill takes at most 15 % longer than a bare restore of the same recovery point. The limit
  applies to the time until the checks of the drill passed, and to the total time with the report.
  The bare restore also removes its data before its total time ends.
- 200 services in five waves, each of which depends on the wave before, are planned and their
  recovery times predicted in 1 s.
- At most 10 restores find the newest of 365 recovery points that is older than an intrusion,
  wherever the intrusion began.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from standfast.continuity.service_order import recovery_order
from standfast.errors import ExitStatus
from standfast.records import Json
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.clean_point_search import CleanPoint, newest_clean
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.service_prediction import predict_recovery
from tests.usecases.backup_installation import furnish, identity, installation_at

_USABLE, _REMOVED, _PROCESSOR = "until usable", "until removed", "processor"
_LARGE, _SMALL = 60, 6_000  # files of 8 MiB and of 4 KiB
_LARGE_BYTES, _SMALL_BYTES = 8 * 1024 * 1024, 4 * 1024
_SERVICES, _WAVES, _DRILLS = 200, 5, 20
_POINTS = 365
_SERVICE = """
[services.{name}]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1560
sets = ["{set}"]
depends_on = [{depends_on}]

[[services.{name}.checks]]
kind = "command"
command = ["test", "-e", "recordings"]
"""
_SET = """
[[backup.sets.{name}.sources]]
kind = "files"
name = "files"
path = "recordings"
"""


def rows(setting: Setting) -> list[Row]:
    """Measure each aim."""
    return [*_overhead(setting), *_planning(setting), *_clean_point(setting)]


def _overhead(setting: Setting) -> list[Row]:
    folder = setting.new_folder("drill")
    config_file = furnish(folder, _service("crm", "main", ()))
    _fill(folder / "recordings", setting)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")

        def drill(_number: int) -> Mapping[str, float]:
            watch, used = Stopwatch(), _processor_seconds()
            outcome = run_drill(installation, "main", identity(folder))
            seconds = {_REMOVED: watch.seconds(), _PROCESSOR: _processor_seconds() - used}
            expect(outcome.exit_status is ExitStatus.DONE, "the drill passes")
            return {_USABLE: (outcome.rto_ms or 0) / 1000, **seconds}

        def bare(number: int) -> Mapping[str, float]:
            to = folder / f"restored-{number}"
            watch, used = Stopwatch(), _processor_seconds()
            restore(installation, "latest", to, identity(folder), set_name="main")
            usable = watch.seconds()
            expect((to / "recordings").is_dir(), "the folder is restored")
            shutil.rmtree(to)
            return {
                _USABLE: usable,
                _REMOVED: watch.seconds(),
                _PROCESSOR: _processor_seconds() - used,
            }

        return compare(
            "drill",
            {_USABLE: "s", _REMOVED: "s", _PROCESSOR: "s"},
            [
                Contender(subject="drill", run=drill, note="aim: at most 1.15 times the restore"),
                Contender(subject="bare restore", run=bare),
            ],
            setting,
        )


def _planning(setting: Setting) -> list[Row]:
    folder = setting.new_folder("services")
    names = [f"service-{number}" for number in range(_SERVICES)]
    a_wave = _SERVICES // _WAVES
    settings = ""
    for number, name in enumerate(names):
        wave_before = names[: number // a_wave * a_wave][-a_wave:]
        settings += _SET.format(name=f"set-{number}")
        settings += _service(name, f"set-{number}", wave_before[:3])
    with installation_at(furnish(folder, settings)) as installation:
        for number in range(_SERVICES):
            _record_drills(installation, f"set-{number}")

        def plan(_number: int) -> Mapping[str, float]:
            watch, used = Stopwatch(), _processor_seconds()
            waves = recovery_order(installation.config.services)
            predicted = predict_recovery(installation)
            seconds = {"plan": watch.seconds(), _PROCESSOR: _processor_seconds() - used}
            expect(len(waves) == _WAVES, "the services are in waves")
            expect(all(service.prediction for service in predicted), "all are predicted")
            return seconds

        note = f"{_SERVICES} services, {_SERVICES * _DRILLS} recorded drills; aim: 1 s"
        return compare(
            "drill",
            {"plan": "s", _PROCESSOR: "s"},
            [Contender(subject="plan", run=plan, note=note)],
            setting,
        )


def _clean_point(setting: Setting) -> list[Row]:
    def search(_number: int) -> Mapping[str, float]:
        most = 0
        for first_clean in range(_POINTS + 1):
            looks: set[int] = set()

            def is_clean(position: int, first: int = first_clean, seen: set[int] = looks) -> bool:
                seen.add(position)
                return position >= first

            found = newest_clean(_POINTS, is_clean, CleanPoint(points=_POINTS))
            expect(found == (first_clean if first_clean < _POINTS else None), "the newest is found")
            most = max(most, len(looks))
        return {"most restores": float(most)}

    note = f"{_POINTS} points, any begin of the intrusion; aim: 10"
    contender = Contender(subject="last clean point", run=search, note=note)
    return compare("drill", {"most restores": "restores"}, [contender], setting)


def _processor_seconds() -> float:
    """Return the processor time of this process and of its ended children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _service(name: str, set_name: str, depends_on: Sequence[str]) -> str:
    quoted = ", ".join(f'"{other}"' for other in depends_on)
    return _SERVICE.format(name=name, set=set_name, depends_on=quoted)


def _fill(folder: Path, setting: Setting) -> None:
    for number in range(setting.size(_LARGE, 6)):
        (folder / f"large-{number}.wav").write_bytes(os.urandom(_LARGE_BYTES))
    for number in range(setting.size(_SMALL, 600)):
        below = folder / f"folder-{number // 200}"
        below.mkdir(exist_ok=True)
        (below / f"{number}.txt").write_bytes(os.urandom(_SMALL_BYTES))


def _record_drills(installation: Installation, set_name: str) -> None:
    runs, now = installation.ledger.runs, installation.clock()
    clocks: dict[str, Json] = {
        "key obtained": 1,
        "provisioned": 2,
        "first byte": 10,
        "data complete": 5_000,
    }
    summary: dict[str, Json] = {"bytes": 10**9, "clocks_ms": clocks}
    for _ in range(_DRILLS):
        token = runs.start("drill", set_name, "direct", "bench", now)
        runs.finish(token, "drill", "done", summary, "bench", now)
    token = runs.start("backup", set_name, "direct", "bench", now)
    runs.finish(token, "backup", "done", {"bytes_total": 10**9}, "bench", now)
