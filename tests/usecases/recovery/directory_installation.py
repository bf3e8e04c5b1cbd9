"""An installation that recovers the data directory of a server."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psycopg

from standfast.usecases.backups.backup_run import run_backup
from tests.memory_disk import memory_folder
from tests.servers import wait_until
from tests.servers.postgres_cluster import Cluster, cluster_folder, hand_over, told
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.backups.test_whole_server import SETS
from tests.usecases.installations import enrol_people
from tests.usecases.recovery.recovery_installation import PLAYBOOK

_SETTINGS = """
[drills]
identity = "file:{identity}"
folder = "{drills}"

[playbooks]
folder = "playbooks"

[backup.sets.night.recovery.base]
path = "{data}"

[services.crm]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1560
sets = ["night"]

[[services.crm.checks]]
kind = "database"
source = "base"
database = "postgres"
assertions = ["SELECT max(id) = 2 FROM calls"]
"""


@contextmanager
def archiving_cluster(programs: Path) -> Iterator[Cluster]:
    """Yield a cluster that archives its log; this user owns the parent folder."""
    with cluster_folder(programs) as made:
        parent = Path(tempfile.mkdtemp(prefix="sf-pgd-", dir=memory_folder()))
        parent.chmod(0o755)
        try:
            cluster = replace(made, data_parent=parent)
            cluster.data.mkdir(mode=0o700)
            hand_over(cluster.data)
            cluster.initialise()
            spool = cluster.new_folder("spool")
            command = told("archive_command", "/srv/crm-wal", spool)
            cluster.configure({"archive_mode": "on", "archive_command": command})
            yield cluster
        finally:
            shutil.rmtree(parent, ignore_errors=True)


def with_directory(folder: Path, drills: Path, cluster: Cluster) -> tuple[Path, datetime]:
    """Back up two calls and one later call, then lose them all.

    Return the configuration file and the moment before the later call.
    """
    folder.mkdir(exist_ok=True)
    settings = SETS.format(folder=cluster.folder, programs=cluster.programs)
    settings += _SETTINGS.format(identity=identity(folder), drills=drills, data=cluster.data)
    config_file = furnish(folder, settings)
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "bring-back.yaml").write_text(PLAYBOOK)
    with cluster.started(), installation_at(config_file) as installation:
        cluster.execute("CREATE TABLE calls (id int)", "INSERT INTO calls VALUES (1)")
        run_backup(installation, "night", "direct")
        cluster.execute("INSERT INTO calls VALUES (2)")
        ((moment,),) = cluster.rows("SELECT clock_timestamp()")
        assert isinstance(moment, datetime)
        cluster.execute("INSERT INTO calls VALUES (3)")
        run_backup(installation, "often", "direct")
        cluster.execute("DELETE FROM calls", "CHECKPOINT")
        enrol_people(installation)
    return config_file, moment


def calls(cluster: Cluster) -> list[int]:
    """Start the server, wait for the end of its replay, and return the calls."""

    def is_open() -> bool:
        with suppress(psycopg.OperationalError):  # during the replay, nobody may connect
            return bool(cluster.rows("SELECT 1"))
        return False

    with cluster.started():
        wait_until(is_open, "it is recovered")
        return [number for (number,) in cluster.rows("SELECT id FROM calls ORDER BY id")]
