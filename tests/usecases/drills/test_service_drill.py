"""Drills of services restore dependencies first, from one declaration."""

import json
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, UsageError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.service_drill import ServiceDrillOutcome, drill_services
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at

SERVICES = (
    SERVICE.replace("rpo_minutes = 1560", 'rpo_minutes = 1560\ndepends_on = ["telephony"]')
    + """
[services.telephony]
owner = "Head of telephony"
rto_minutes = 30
rpo_minutes = 1560
sets = ["other"]

[[services.telephony.checks]]
kind = "command"
command = ["test", "-f", "scripts/greeting.txt"]

[services.wallboard]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1560
sets = ["other"]

[[services.wallboard.checks]]
kind = "command"
command = ["test", "-f", "scripts/greeting.txt"]
"""
)


def drilled(
    folder: Path, *names: str, more: str = SERVICES, sets: tuple[str, ...] = ("main", "other")
) -> ServiceDrillOutcome:
    with installation_at(furnish(folder, more)) as installation:
        for name in sets:
            run_backup(installation, name, "direct")
        outcome = drill_services(installation, names, identity(folder))
        assert list_drills(installation).problems == ()
        assert [path.name for path in (folder / "drills").iterdir()] == ["reports"]
    return outcome


def test_service_is_drilled_after_its_dependency(tmp_path: Path) -> None:
    outcome = drilled(tmp_path, "crm")
    assert outcome.exit_status is ExitStatus.DONE, outcome.as_json()
    assert outcome.waves == (("telephony",), ("crm",))
    main, other = outcome.drills["main"].clocks, outcome.drills["other"].clocks
    assert main[DrillClock.DECLARED] == other[DrillClock.DECLARED]
    assert main[DrillClock.KEY_OBTAINED] >= other[DrillClock.USABLE]
    telephony, crm = outcome.services
    assert telephony.rto_actual_ms is not None
    assert crm.rto_actual_ms is not None
    assert crm.rto_actual_ms > telephony.rto_actual_ms


def test_every_clock_is_reached_in_order(tmp_path: Path) -> None:
    outcome = drilled(tmp_path, "telephony")
    clocks = outcome.drills["other"].clocks
    assert list(clocks) == list(DrillClock)
    assert sorted(clocks.values()) == list(clocks.values())


def test_all_services_are_drilled_once(tmp_path: Path) -> None:
    outcome = drilled(tmp_path)
    assert outcome.waves == (("telephony", "wallboard"), ("crm",))
    assert sorted(outcome.drills) == ["main", "other"]
    assert {result.service for result in outcome.services} == {"telephony", "wallboard", "crm"}
    assert all(result.is_met for result in outcome.services)


def test_service_is_not_usable_without_its_dependency(tmp_path: Path) -> None:
    more = SERVICES.replace("scripts/greeting.txt", "scripts/missing.txt")
    outcome = drilled(tmp_path, "crm", more=more)
    assert outcome.exit_status is ExitStatus.FAILED
    assert outcome.drills["main"].exit_status is ExitStatus.DONE
    assert [result.rto_actual_ms for result in outcome.services] == [None, None]


def test_set_without_recovery_point_fails_the_drill(tmp_path: Path) -> None:
    outcome = drilled(tmp_path, "crm", sets=("main",))
    assert outcome.exit_status is ExitStatus.FAILED
    assert list(outcome.problems) == ["other"]
    assert list(outcome.drills) == ["main"]


def test_report_has_digest_of_each_set(tmp_path: Path) -> None:
    outcome = drilled(tmp_path, "crm")
    assert outcome.report is not None
    report = json.loads(outcome.report.read_text())["report"]
    assert report["sets"]["main"]["report"] == outcome.drills["main"].report_digest
    assert report["order"] == [["telephony"], ["crm"]]


def test_unknown_service_is_refused(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation, pytest.raises(UsageError):
        drill_services(installation, ["no-such"], identity(tmp_path))


def test_independent_services_are_restored_in_parallel(tmp_path: Path) -> None:
    def waits(own: str, other: str) -> str:
        """Return a check that passes only while the other service is checked too."""
        code = f"touch {tmp_path}/{own}; until [ -e {tmp_path}/{other} ]; do sleep 0.05; done"
        return f'[[services.{own}.checks]]\nkind = "command"\ncommand = ["sh", "-c", "{code}"]\n'

    own = "[services.{}]\nowner = 'it'\nrto_minutes = 60\nrpo_minutes = 1560\nsets = ['{}']\n"
    more = own.format("crm", "main") + waits("crm", "telephony")
    more += own.format("telephony", "other") + waits("telephony", "crm")
    assert drilled(tmp_path, more=more).exit_status is ExitStatus.DONE
