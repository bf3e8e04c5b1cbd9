"""Recoveries of PostgreSQL data directories, with their log, to a time."""

import os
import shutil
import tarfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.sources.postgresql.wal_spool import is_segment
from standfast.errors import Damaged, ExitStatus
from standfast.records import timestamp
from standfast.usecases.approvals import step_retry
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from standfast.usecases.recovery.data_directory import write_data_directory
from standfast.usecases.recovery.recovery_plan import plan_recovery
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster
from tests.usecases.backup_installation import installation_at
from tests.usecases.drills.database_installation import drills_folder
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.directory_installation import (
    archiving_cluster,
    calls,
    with_directory,
)
from tests.usecases.recovery.recovery_installation import opened

pytestmark = pytest.mark.xdist_group("databases")


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    with archiving_cluster(postgres_server.programs) as cluster:
        yield cluster


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


def recovered(config_file: Path, moment: datetime) -> tuple[str, Outcome]:
    with installation_at(config_file) as installation:
        case = opened(installation, point=timestamp(moment))
        approve_as(installation, case, "recover", "lee")
        return case, lifecycle.advance(installation, case, "direct")


def test_directory_returns_to_a_time_and_back(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    config_file, moment = with_directory(tmp_path, drills, cluster)
    owner = cluster.data.stat().st_uid
    case, outcome = recovered(config_file, moment)
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert {path.name for path in cluster.data.parent.iterdir()} == {
        "data",
        f"data.before-{case}",
    }
    assert {path.lstat().st_uid for path in cluster.data.rglob("*")} == {owner}
    assert calls(cluster) == [1, 2]
    with installation_at(config_file) as installation:
        (status,) = recovery_status(installation, case).sets
        assert status.rpo_ms is not None
        assert "constraints of base/postgres" in status.passed[""]  # of no single service
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert [status.state for status in recovery_status(installation, case).sets] == ["returned"]
    assert calls(cluster) == []
    shutil.rmtree(cluster.data)
    cluster.data.with_name(f"data.recovered-{case}").rename(cluster.data)
    assert calls(cluster) == [1, 2]


def test_running_server_halts_the_recovery(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = with_directory(tmp_path, drills, cluster)
    with cluster.started():
        case, outcome = recovered(config_file, moment)
        assert outcome.exit_status is ExitStatus.FAILED
        assert cluster.rows("SELECT count(*) FROM calls") == [(0,)]
    with installation_at(config_file) as installation:
        step_retry.retry(installation, case, "recover", by="dana")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
        assert calls(cluster) == [1, 2]
        with cluster.started():
            undo_approved(installation, case)
            outcome = lifecycle.advance(installation, case, "direct")
            assert outcome.exit_status is ExitStatus.FAILED
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
    assert calls(cluster) == []


@pytest.mark.long
def test_time_after_the_log_changes_nothing(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = with_directory(tmp_path, drills, cluster)
    _, outcome = recovered(config_file, moment + timedelta(hours=1))
    assert outcome.exit_status is ExitStatus.FAILED
    assert calls(cluster) == []


def refused_replay(config_file: Path, cluster: Cluster) -> str:
    """Recover the end of the log; return the reason of the failure."""
    with installation_at(config_file) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        (status,) = recovery_status(installation, case).sets
    assert not cluster.data.with_name(f"data.before-{case}").exists()
    assert calls(cluster) == []
    return status.reason


def test_missing_log_segment_changes_nothing(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    config_file, _ = with_directory(tmp_path, drills, cluster)
    with cluster.started(), installation_at(config_file) as installation:
        for number in (4, 5):
            cluster.execute(f"INSERT INTO calls VALUES ({number})", "SELECT pg_switch_wal()")
        cluster.execute("DELETE FROM calls")
        run_backup(installation, "often", "direct")
        segments = sorted(
            path for path in (cluster.folder / "spool").iterdir() if is_segment(path.name)
        )
        segments[-2].unlink()
        assert run_backup(installation, "often", "direct").result.unread
    assert "a segment in between is missing" in refused_replay(config_file, cluster)


def test_base_of_another_version_changes_nothing(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    config_file, _ = with_directory(tmp_path, drills, cluster)
    version_file = cluster.data / "PG_VERSION"
    version = version_file.read_text()
    with cluster.started(), installation_at(config_file) as installation:
        version_file.write_text("9\n")  # the running server has read it already
        run_backup(installation, "night", "direct")
        version_file.write_text(version)
    assert "Install the package postgresql-9" in refused_replay(config_file, cluster)


def test_plan_shows_the_time_of_the_log(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = with_directory(tmp_path, drills, cluster)
    with installation_at(config_file) as installation:
        plan = plan_recovery(installation, "crm", timestamp(moment)).sets["night"]
        assert plan.targets[0].place == f"{cluster.data} (log up to {timestamp(moment)})"
        assert plan_recovery(installation, "crm", "clean").refused.keys() == {"night"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts in folders of other users")
def test_folder_of_the_server_is_refused(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, _ = with_directory(tmp_path, drills, cluster)
    owner = cluster.data.stat().st_uid
    os.chown(cluster.data.parent, owner, owner)
    with installation_at(config_file) as installation:
        refused = plan_recovery(installation, "crm", "newest").refused["night"]
    assert str(cluster.data.parent) in refused


def test_base_with_a_link_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("pg_hba.conf")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for number, member in enumerate((link, tarfile.TarInfo("../outside"))):
        with tarfile.open(tmp_path / "base.tar", "w") as archive:
            archive.addfile(member)
        folder = tmp_path / str(number)
        with pytest.raises(Damaged):
            write_data_directory(folder, tmp_path / "base.tar", (), None, tmp_path)
        assert list(folder.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_link_in_the_log_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "base.tar", "w") as archive:
        segments = tarfile.TarInfo("pg_wal")
        segments.type = tarfile.DIRTYPE
        archive.addfile(segments)
    log = tmp_path / "log"
    log.mkdir()
    (log / "1").write_text("segment")
    (log / "2.partial").write_text("incomplete")
    (log / "3").symlink_to(tmp_path / "base.tar")
    (tmp_path / "other").symlink_to(tmp_path)
    folder = tmp_path / "new"
    logs = (log, tmp_path / "other")
    write_data_directory(folder, tmp_path / "base.tar", logs, None, tmp_path)
    assert {path.name for path in (folder / "pg_wal").iterdir()} == {"1", "2"}
