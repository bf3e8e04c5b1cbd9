"""Recoveries of a PostgreSQL data directory to a chosen time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.approvals.step_retry import retry
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.recovery_plan import plan_recovery
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster
from tests.usecases.backup_installation import identity, installation_at
from tests.usecases.drills.archiving_cluster import archiving_cluster, backed_up
from tests.usecases.drills.database_installation import drills_folder
from tests.usecases.installations import approve_as, enrol_people, undo_approved
from tests.usecases.recovery.recovery_installation import PLAYBOOK, opened

pytestmark = pytest.mark.xdist_group("databases")


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    """A stopped server, in a folder that every user may enter."""
    with archiving_cluster(postgres_server.programs) as cluster:
        cluster.folder.chmod(0o711)
        yield cluster


def prepared(folder: Path, cluster: Cluster) -> tuple[Path, str]:
    """Back up base and log of a running server; return a moment between rows."""
    with drills_folder() as drills:
        config_file, moment = backed_up(folder, drills, cluster)
    text = config_file.read_text().replace("sum(id) = 7", "sum(id) = 3")
    text = text.replace("[drills]", f'[drills]\nidentity = "file:{identity(folder)}"')
    targets = f'[backup.sets.base.recovery.crm-base]\npath = "{cluster.data}"\n'
    config_file.write_text(f'{text}\n{targets}\n[playbooks]\nfolder = "playbooks"\n')
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "bring-back.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        enrol_people(installation)
    return config_file, moment.isoformat()


def advanced(installation: Installation, case: str) -> ExitStatus:
    return lifecycle.advance(installation, case, "direct").exit_status


def ids(cluster: Cluster) -> list[int]:
    with cluster.started():
        return [number for (number,) in cluster.rows("SELECT id FROM calls ORDER BY id")]


def test_data_directory_returns_to_chosen_time(tmp_path: Path, cluster: Cluster) -> None:
    with cluster.started():
        config_file, moment = prepared(tmp_path, cluster)
    with installation_at(config_file) as installation:
        case = opened(installation, point=moment)
        approve_as(installation, case, "recover", "lee")
        assert advanced(installation, case) is ExitStatus.DONE
        assert ids(cluster) == [1, 2]
        undo_approved(installation, case)
        assert advanced(installation, case) is ExitStatus.DONE
        assert ids(cluster) == [1, 2, 4]


def test_running_server_keeps_its_data_directory(tmp_path: Path, cluster: Cluster) -> None:
    with cluster.started():
        config_file, moment = prepared(tmp_path, cluster)
        with installation_at(config_file) as installation:
            case = opened(installation, point=moment)
            approve_as(installation, case, "recover", "lee")
            assert advanced(installation, case) is ExitStatus.FAILED
            assert cluster.rows("SELECT sum(id) FROM calls") == [(7,)]
    with installation_at(config_file) as installation:
        retry(installation, case, "recover", by="dana")
        assert advanced(installation, case) is ExitStatus.DONE
        assert ids(cluster) == [1, 2]


def test_plan_names_the_log_that_follows(tmp_path: Path, cluster: Cluster) -> None:
    with cluster.started():
        config_file, moment = prepared(tmp_path, cluster)
    with installation_at(config_file) as installation:
        plan = plan_recovery(installation, "crm", moment).sets["base"]
        assert [log.set_name for log in plan.targets[0].logs] == ["log"]
        assert plan.until is not None
        assert plan.until.isoformat() == moment


def test_missing_server_programs_refuse_the_set(tmp_path: Path, cluster: Cluster) -> None:
    with cluster.started():
        config_file, moment = prepared(tmp_path, cluster)
    (cluster.data / "PG_VERSION").write_text("9\n")
    with installation_at(config_file) as installation:
        assert list(plan_recovery(installation, "crm", moment).refused) == ["base"]
