"""A PostgreSQL server with a base backup and the archived log after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from standfast.usecases.backups.backup_run import run_backup
from tests.servers.postgres_cluster import Cluster, cluster_folder, told
from tests.usecases.backup_installation import furnish, installation_at

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


@contextmanager
def archiving_cluster(programs: Path) -> Iterator[Cluster]:
    """Make a server that archives its log into `spool`; yield it stopped."""
    with cluster_folder(programs) as cluster:
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
        yield cluster


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
