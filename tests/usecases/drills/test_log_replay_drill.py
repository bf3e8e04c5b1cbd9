"""Drills replay the log of a PostgreSQL base backup to a chosen time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, UsageError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckResult, CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster, cluster_folder, debian_cluster, told
from tests.usecases.backup_installation import (
    flip_a_bit,
    furnish,
    identity,
    installation_at,
    packs,
)
from tests.usecases.drills.database_installation import (
    drills_folder,
    unexpected,
    working_folders,
)

pytestmark = pytest.mark.xdist_group("databases")
SETTINGS = """
[backup.sets.base]

[[backup.sets.base.sources]]
kind = "postgresql_base"
name = "crm-base"
host = "{folder}"
user = "backup"
programs = "{programs}"
wal = "{folder}/spool"

[backup.sets.log]

[[backup.sets.log.sources]]
kind = "postgresql_wal"
name = "crm-log"
host = "{folder}"
user = "backup"
programs = "{programs}"
wal = "{folder}/spool"

[services.crm]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1440
sets = ["base"]

[[services.crm.checks]]
kind = "database"
source = "crm-base"
database = "postgres"
assertions = ["SELECT sum(id) = {total} FROM calls"]
last_change = "SELECT max(at) FROM calls"

[drills]
folder = "{drills}"
"""


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    with cluster_folder(postgres_server.programs) as cluster, archiving(cluster):
        yield cluster


@contextmanager
def archiving(cluster: Cluster) -> Iterator[None]:
    """Run a new server that archives its log into `spool`."""
    cluster.initialise()
    spool = cluster.new_folder("spool")
    archive_command = told("archive_command", "/srv/crm-wal", spool)
    cluster.configure({"archive_mode": "on", "archive_command": archive_command})
    with cluster.started():
        cluster.execute(
            "CREATE ROLE backup LOGIN REPLICATION",
            "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO backup",
            "CREATE TABLE calls (id int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())",
        )
        yield


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


def add(cluster: Cluster, number: int) -> datetime:
    """Add a row; return a moment after it."""
    cluster.execute(f"INSERT INTO calls VALUES ({number})")
    ((moment,),) = cluster.rows("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


def backed_up(folder: Path, drills: Path, cluster: Cluster) -> tuple[Path, datetime]:
    """Back up base and log; return the configuration and a moment between."""
    values = {"folder": cluster.folder, "programs": cluster.programs, "drills": drills}
    config_file = furnish(folder, SETTINGS.format(**values, total="{total}"))
    config_file.write_text(config_file.read_text().replace("{total}", "7"))
    with installation_at(config_file) as installation:
        add(cluster, 1)
        assert run_backup(installation, "base", "direct").result.unread == ()
        moment = add(cluster, 2)
        add(cluster, 4)
        assert run_backup(installation, "log", "direct").result.unread == ()
    return config_file, moment


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


def test_replay_changes_nothing_in_the_live_spool(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    config_file, moment = backed_up(tmp_path, drills, cluster)
    assert "archive_command" in (cluster.data / "postgresql.auto.conf").read_text()
    spool = cluster.folder / "spool"
    # If root runs the test, the server of the drill runs as nobody, who could now write there.
    cluster.folder.chmod(0o711)
    spool.chmod(0o777)
    # A promoted server archives the history of its new timeline, so a copy of the setting would
    # add a file.
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in spool.iterdir()}
    assert before
    outcome = drilled(config_file, 3, moment)
    assert outcome.exit_status is ExitStatus.DONE, unexpected(outcome)
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in spool.iterdir()}
    assert after == before
    assert cluster.rows("SELECT count(*) FROM calls") == [(3,)]


def test_base_of_another_version_is_not_started(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    (cluster.data / "PG_VERSION").write_text("9\n")  # the running server has read it already
    config_file, _ = backed_up(tmp_path, drills, cluster)
    outcome = drilled(config_file, 7, None)
    assert outcome.exit_status is ExitStatus.FAILED
    found = {check.name: check for check in outcome.checks}["replay of crm-base"]
    assert found.state is CheckState.FAILED
    # The server's own message would be "database files are incompatible with server".
    assert "the base backup is of PostgreSQL 9" in found.output
    assert "Install the package postgresql-9" in found.output


def test_unproven_structure_is_a_gap(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    cluster.execute(
        "CREATE DATABASE closed ALLOW_CONNECTIONS false",
        "ALTER TABLE calls ADD CONSTRAINT positive CHECK (id > 1) NOT VALID",
        "CREATE DATABASE desk TEMPLATE postgres",
        "ALTER TABLE calls DROP CONSTRAINT positive",
    )
    config_file, _ = backed_up(tmp_path, drills, cluster)
    outcome = drilled(config_file, 7, None)
    prefix = "constraints of crm-base/"
    found = {
        check.name.removeprefix(prefix): (check.state, check.reason)
        for check in outcome.checks
        if check.name.startswith(prefix)
    }
    reason = "1 constraint is NOT VALID"
    assert found == {
        "closed": (CheckState.SKIPPED, "the source server permits no connection to it"),
        "desk": (CheckState.SKIPPED, reason),
        "postgres": (CheckState.PASSED, ""),
    }
    # The server programs of these tests lack amcheck.
    pages = pages_check(outcome)
    assert (pages.state, "postgresql-contrib" in pages.reason) == (CheckState.SKIPPED, True)
    assert outcome.report is not None
    gaps = json.loads(outcome.report.read_text())["report"]["gaps"]
    (gap,) = (gap for gap in gaps if reason in gap["gap"])
    assert gap["owner"] == "Head of operations"


def test_damaged_index_fails_the_drill(tmp_path: Path, drills: Path) -> None:
    with debian_cluster() as at_port:
        cluster = replace(at_port, port=None)
        with archiving(cluster):
            cluster.execute("CREATE TABLE teams AS SELECT generate_series(1, 9) AS id")
            cluster.execute("CREATE INDEX team ON teams (id)", "CHECKPOINT")
            config_file, _ = backed_up(tmp_path, drills, cluster)
            sound = drilled(config_file, 7, None)
            swap_first_entries(cluster, "team")
            with installation_at(config_file) as installation:
                run_backup(installation, "base", "direct")
            damaged = drilled(config_file, 7, None)
    assert sound.exit_status is ExitStatus.DONE, unexpected(sound)
    assert pages_check(sound).state is CheckState.PASSED, pages_check(sound)
    assert damaged.exit_status is ExitStatus.FAILED
    assert damaged.rto_ms is None
    found = pages_check(damaged)
    assert (found.state, "damaged" in found.reason) == (CheckState.FAILED, True)
    assert 'index "postgres.public.team"' in found.output
    # No other check reads the index.
    failed = [check for check in damaged.checks if check.state is CheckState.FAILED]
    assert failed == [found]


def pages_check(outcome: DrillOutcome) -> CheckResult:
    return {check.name: check for check in outcome.checks}["pages of crm-base"]


def swap_first_entries(cluster: Cluster, index: str) -> None:
    """Swap two pointers in the first leaf of an index, in its file only."""
    ((path,),) = cluster.rows(f"SELECT pg_relation_filepath('{index}')")
    with (cluster.data / str(path)).open("r+b") as file:
        first_pointer = 8192 + 24  # the pointers of a page follow its header of 24 bytes
        file.seek(first_pointer)
        pointers = file.read(8)
        file.seek(first_pointer)
        file.write(pointers[4:] + pointers[:4])


def test_time_after_the_log_fails_the_drill(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = backed_up(tmp_path, drills, cluster)
    outcome = drilled(config_file, 7, moment + timedelta(hours=1))
    assert outcome.exit_status is ExitStatus.FAILED
    found = {check.name: check for check in outcome.checks}["replay of crm-base"]
    assert found.state is CheckState.FAILED
    assert "before configured recovery target" in found.output


def test_damaged_log_fails_the_drill(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, _ = backed_up(tmp_path, drills, cluster)
    before = packs(tmp_path)
    add(cluster, 8)
    with installation_at(config_file) as installation:
        run_backup(installation, "log", "direct")
    failed = {}
    for pack in packs(tmp_path) - before:  # one has the segment, the other the list of files
        flip_a_bit(pack)
        outcome = drilled(config_file, 7, None)
        failed[outcome.exit_status] = {check.name: check for check in outcome.checks}
        flip_a_bit(pack)
    assert {*failed} == {ExitStatus.FAILED, ExitStatus.DAMAGED}
    found = failed[ExitStatus.FAILED]["replay of crm-base"]
    assert found.state is CheckState.FAILED
    assert "cannot be restored" in found.output


def test_time_before_every_base_is_refused(tmp_path: Path, drills: Path, cluster: Cluster) -> None:
    config_file, moment = backed_up(tmp_path, drills, cluster)
    with pytest.raises(UsageError):
        drilled(config_file, 7, moment - timedelta(days=1))
