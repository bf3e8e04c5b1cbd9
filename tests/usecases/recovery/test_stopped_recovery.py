"""A recovery that a person stops replaces nothing until it is resumed.

The incident is stopped just before the recovery looks whether it was stopped, after a chosen event
of the timeline.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from backup.targets.s3 import BucketTarget
from standfast.errors import ExitStatus
from standfast.records import StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery import bucket_recovery, object_recovery
from standfast.usecases.recovery.recovery_journal import (
    LOADING,
    REPLACING,
    RESTORED,
    RESTORING,
    RecoveryJournal,
)
from standfast.usecases.recovery.recovery_status import recovery_status
from standfast.usecases.recovery.version_record import VersionRecord
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.servers.seaweedfs import SeaweedFs
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.bucket_installation import (
    CALLS,
    contents,
    objects,
    version_count,
    with_bucket,
)
from tests.usecases.recovery.live_database import AFTER, BEFORE, live_database, with_database
from tests.usecases.recovery.recovery_installation import customers, opened, prepared, tree

pytestmark = pytest.mark.xdist_group("databases")


def stopped(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, event: str, look_number: int = 1
) -> str:
    """Stop a recovery at a look after an event; return the incident."""
    case = opened(installation)
    approve_as(installation, case, "recover", "lee")
    look, looks = RecoveryJournal.refuse_stopped, 0

    def look_after_stop(journal: RecoveryJournal) -> None:
        nonlocal looks
        acts = [
            found.action
            for found in installation.ledger.timeline(case)
            if found.action.startswith("recovery.")
        ]
        looks += acts[-1] == event
        if looks == look_number and acts[-1] == event:
            lifecycle.stop(installation, case, by="dana")
        look(journal)

    with monkeypatch.context() as patch:
        patch.setattr(RecoveryJournal, "refuse_stopped", look_after_stop)
        lifecycle.advance(installation, case, "direct")
    assert looks == look_number, "the recovery ended at this look"
    state = lifecycle.wait_until_still(installation, case).state
    assert state.is_stopped_or_closed
    assert state.steps["recover"].state is not StepState.DONE
    return case


def resume(installation: Installation, case: str) -> None:
    lifecycle.resume(installation, case, by="dana")
    outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    (status,) = recovery_status(installation, case).sets
    assert status.rpo_ms is not None


def undo(installation: Installation, case: str) -> None:
    undo_approved(installation, case)
    lifecycle.advance(installation, case, "direct")
    assert [status.state for status in recovery_status(installation, case).sets] == ["returned"]


@pytest.mark.parametrize("event", [RESTORING, RESTORED])
def test_stopped_restore_of_files_continues(
    event: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        before = tree(live)
        case = stopped(installation, monkeypatch, event)
        assert (live / f"recordings.restoring-{case}").exists()
        at_targets = {name: data for name, data in tree(live).items() if ".restoring-" not in name}
        assert at_targets == before
        resume(installation, case)
        assert tree(live / "recordings") == tree(tmp_path / "recordings")
        assert customers(live / "crm.db") == customers(tmp_path / "crm.db")
        undo(installation, case)
        returned = {name: data for name, data in tree(live).items() if ".recovered-" not in name}
        assert returned == before


@pytest.mark.sampled
@pytest.mark.parametrize("event", [LOADING, RESTORED])
@pytest.mark.parametrize("server", ["postgres_server", "mariadb_server"])
def test_stopped_load_of_a_database_continues(
    server: str,
    event: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    running: Postgres | Mariadb = request.getfixturevalue(server)
    with (
        live_database(running) as live,
        installation_at(with_database(tmp_path, live)) as installation,
    ):
        case = stopped(installation, monkeypatch, event)
        if event == LOADING:
            assert live.names() == BEFORE
        else:  # it is loaded and checked, and the previous database is kept
            assert live.names() == AFTER
            (aside,) = live.beside()
            assert live.names(aside) == BEFORE
        resume(installation, case)
        assert live.names() == AFTER
        undo(installation, case)
        assert live.names() == BEFORE


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("event", "look_number"), [(RESTORING, 1), (RESTORED, 1), (REPLACING, 1), (REPLACING, 3)]
)
def test_stopped_recovery_of_a_bucket_continues(
    event: str,
    look_number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seaweedfs_server: SeaweedFs,
) -> None:
    bucket = seaweedfs_server.bucket(can_lock=False)
    with installation_at(with_bucket(tmp_path, bucket, "hides_others = true")) as installation:
        before, versions, added = objects(bucket), version_count(bucket), list[int]()

        def put_one_by_one(
            target: BucketTarget, record: VersionRecord, folder: Path, observe: Callable[[], None]
        ) -> None:
            def count() -> None:
                added.append(version_count(bucket) - versions)
                observe()

            object_recovery.put_objects(target, record, folder, count, batch=1)

        monkeypatch.setattr(bucket_recovery, "put_objects", put_one_by_one)
        case = stopped(installation, monkeypatch, event, look_number)
        assert added == ([*range(look_number)] if event == REPLACING else [])
        assert (objects(bucket), version_count(bucket)) == (before, versions)
        resume(installation, case)
        assert contents(bucket) == CALLS
        undo(installation, case)
        assert (objects(bucket), version_count(bucket)) == (before, versions)
    bucket.remove_identities()
