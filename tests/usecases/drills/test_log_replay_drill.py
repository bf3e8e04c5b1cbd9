"""Drills replay the log of a PostgreSQL base backup to a chosen time."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, UsageError
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster
from tests.usecases.backup_installation import identity, installation_at
from tests.usecases.drills.archiving_cluster import archiving_cluster, backed_up
from tests.usecases.drills.database_installation import (
    drills_folder,
    unexpected,
    working_folders,
)

pytestmark = pytest.mark.xdist_group("databases")


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    """A running server that archives its log into `spool`."""
    with archiving_cluster(postgres_server.programs) as cluster, cluster.started():
        yield cluster


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


def drilled(config_file: Path, total: int, until: datetime | None) -> DrillOutcome:
    text = config_file.read_text()
    config_file.write_text(text.replace("sum(id) = 7", f"sum(id) = {total}"))
    with installation_at(config_file) as installation:
        return run_drill(installation, "base", identity(config_file.parent), until=until)


def test_log_is_replayed_to_its_end(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, _ = backed_up(tmp_path, drills, cluster)
    outcome = drilled(config_file, 7, None)
    assert outcome.exit_status is ExitStatus.DONE, unexpected(outcome)
    assert outcome.services[0].rpo_basis == "last_change"
    assert working_folders(drills) == []
    assert [path.name for path in drills.iterdir()] == ["reports"]


def test_log_is_replayed_to_chosen_time(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = backed_up(tmp_path, drills, cluster)
    outcome = drilled(config_file, 3, moment)
    assert outcome.exit_status is ExitStatus.DONE, unexpected(outcome)


def test_time_after_the_log_fails_the_drill(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = backed_up(tmp_path, drills, cluster)
    outcome = drilled(config_file, 7, moment + timedelta(hours=1))
    assert outcome.exit_status is ExitStatus.FAILED
    found = {check.name: check for check in outcome.checks}["replay of crm-base"]
    assert found.state is CheckState.FAILED
    assert "before configured recovery target" in found.output


def test_time_before_every_base_is_refused(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = backed_up(tmp_path, drills, cluster)
    with pytest.raises(UsageError):
        drilled(config_file, 7, moment - timedelta(days=1))
