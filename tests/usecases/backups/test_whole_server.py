"""A nightly backup of a whole PostgreSQL server, from its configuration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.backups import backup_run
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster, cluster_folder, told
from tests.usecases.backup_installation import furnish, installation_at

pytestmark = pytest.mark.xdist_group("postgresql")

SETS = """
[[backup.sets.night.sources]]
kind = "postgresql_base"
name = "base"
host = "{folder}"
user = "postgres"
programs = "{programs}"
wal = "{folder}/spool"

[[backup.sets.often.sources]]
kind = "postgresql_wal"
name = "log"
host = "{folder}"
user = "postgres"
programs = "{programs}"
wal = "{folder}/spool"
"""


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    with cluster_folder(postgres_server.programs) as cluster:
        cluster.initialise()
        spool = cluster.new_folder("spool")
        command = told("archive_command", "/srv/crm-wal", spool)
        cluster.configure({"archive_mode": "on", "archive_command": command})
        with cluster.started():
            yield cluster


def test_log_is_kept_until_base_is_committed(cluster: Cluster, tmp_path: Path) -> None:
    spool = cluster.folder / "spool"
    config_file = furnish(
        tmp_path, more=SETS.format(folder=cluster.folder, programs=cluster.programs)
    )
    with installation_at(config_file) as installation:
        for set_name in ("often", "night", "often"):
            outcome = backup_run.run_backup(installation, set_name, "direct")
            assert (outcome.result.unread, outcome.exit_status) == ((), ExitStatus.DONE)
        before = {path.name for path in spool.iterdir()}
        cluster.execute("CREATE TABLE t AS SELECT 1")
        vault = tmp_path / "vault"
        vault.rename(tmp_path / "away")
        with pytest.raises(Exception, match="repository"):
            backup_run.run_backup(installation, "night", "direct")
        assert before <= {path.name for path in spool.iterdir()}, "nothing was committed"
        (tmp_path / "away").rename(vault)
        assert backup_run.run_backup(installation, "night", "direct").exit_status is ExitStatus.DONE
    assert not before & {path.name for path in spool.iterdir() if len(path.name) == 24}
