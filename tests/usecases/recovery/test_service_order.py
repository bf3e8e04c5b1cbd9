"""Recoveries of several services follow their dependencies."""

from pathlib import Path

from standfast.errors import ExitStatus
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.recovery_journal import RECOVERED, RESTORING
from standfast.usecases.recovery.recovery_plan import plan_recovery
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.usecases.backup_installation import SERVICE, installation_at
from tests.usecases.installations import approve_as
from tests.usecases.recovery.recovery_installation import customers, opened, prepared, tree

CRM_NEEDS_TELEPHONY = (
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
"""
)

DESK = """
[services.desk]
owner = "Head of operations"
rto_minutes = 30
rpo_minutes = 1560
sets = ["other"]

[[services.desk.checks]]
kind = "command"
command = ["test", "-f", "scripts/missing.txt"]

[backup.sets.spare]

[[backup.sets.spare.sources]]
kind = "files"
name = "spare"
path = "scripts"
"""


def test_dependency_is_recovered_before_its_dependent(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path, CRM_NEEDS_TELEPHONY)) as installation:
        planned = plan_recovery(installation, "crm,telephony", "newest")
        assert (list(planned.sets), planned.omitted) == (["other", "main"], {})
        case = opened(installation, services="crm,telephony")
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome
        acts = [
            (event.action, event.detail["set"])
            for event in installation.ledger.timeline(case)
            if event.action in (RESTORING, RECOVERED)
        ]
        assert acts == [
            (RESTORING, "other"),
            (RECOVERED, "other"),
            (RESTORING, "main"),
            (RECOVERED, "main"),
        ]
        assert tree(live / "scripts") == tree(tmp_path / "scripts")
        assert tree(live / "recordings") == tree(tmp_path / "recordings")
        assert customers(live / "crm.db") == customers(tmp_path / "crm.db")
        rto = {
            service.service: service.rto_actual_ms or 0
            for service in recovery_status(installation, case).services
        }
        assert 0 < rto["telephony"] < rto["crm"]


def test_dependency_that_is_not_named_stays(tmp_path: Path) -> None:
    scripts = tmp_path / "live" / "scripts"
    with installation_at(prepared(tmp_path, CRM_NEEDS_TELEPHONY)) as installation:
        scripts.mkdir()
        (scripts / "greeting.txt").write_text("Good evening\n")
        planned = plan_recovery(installation, "crm", "newest")
        assert (list(planned.sets), planned.omitted) == (["main"], {"telephony": ["crm"]})
        case = opened(installation, services="crm")
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert tree(scripts) == {"greeting.txt": b"Good evening\n"}


def test_failed_dependency_leaves_no_service_usable(tmp_path: Path) -> None:
    more = CRM_NEEDS_TELEPHONY.replace("scripts/greeting.txt", "scripts/missing.txt")
    with installation_at(prepared(tmp_path, more)) as installation:
        case = opened(installation, services="crm,telephony")
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is not ExitStatus.DONE
        status = recovery_status(installation, case)
        assert {part.set_name: part.state for part in status.sets} == {
            "other": "failed",
            "main": "done",
        }
        assert status.services == ()


def test_failed_set_of_a_partly_recovered_dependency_counts(tmp_path: Path) -> None:
    more = CRM_NEEDS_TELEPHONY.replace('sets = ["other"]', 'sets = ["other", "spare"]') + DESK
    with installation_at(prepared(tmp_path, more)) as installation:
        case = opened(installation, services="crm,desk")
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        status = recovery_status(installation, case)
        assert {part.set_name: part.state for part in status.sets} == {
            "other": "failed",
            "main": "done",
        }
        assert status.services == ()
