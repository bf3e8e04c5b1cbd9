"""Data directories, restored as recover-a-service.md and sources.md show."""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.usecases.backups.backup_run import run_backup
from tests.pages.blocks import blocks
from tests.servers import wait_until
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster, cluster_folder, told
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.backups.test_whole_server import SETS

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.long]
PAGE = (Path(__file__).parents[3] / "docs" / "recover-a-service.md").read_text()
(ASIDE,) = [
    block.text
    for block in blocks("docs/sources.md")
    if "recovery.signal" in block.text and block.has_commands
]
RESTORE, REPLACE, UNDO = re.findall(
    r"```sh\n(.*?)```", PAGE.partition("## A data directory by hand")[2], re.DOTALL
)


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    """A cluster that archives its log, in a folder of its own."""
    with cluster_folder(postgres_server.programs) as cluster:
        cluster.initialise()
        spool = cluster.new_folder("spool")
        command = told("archive_command", "/srv/crm-wal", spool)
        cluster.configure({"archive_mode": "on", "archive_command": command})
        yield cluster


def run(commands: str, folder: Path, cluster: Cluster, moment: str) -> None:
    """Run the commands of the page with the folders and user of the test."""
    as_server = "runuser -u pgserver -- " if os.geteuid() == 0 else ""
    replaced = {
        "systemctl": "true",  # the test starts and stops the server
        "sudo -u postgres psql": "true",
        "sudo -u postgres ": as_server,
        "host-1/0000000041": "latest --set night",
        "--set crm-log": "--set often",
        "identity.txt": str(identity(folder)),
        "/srv/restored": str(folder / "restored"),
        "cd /var/lib/postgresql/18": f"cd {cluster.folder}",
        "2026-11-25 02:59:00+00": moment,
        "main.": "data.",
        "-T main": "-T data",
        " main\n": " data\n",
    }
    for words, others in replaced.items():
        commands = commands.replace(words, others)
    subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", commands],
        check=True,
        cwd=cluster.folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STANDFAST_CONFIG": str(folder / "standfast.toml"),
        },
    )


def calls(cluster: Cluster) -> list[int]:
    with cluster.started():
        wait_until(
            lambda: cluster.rows("SELECT pg_is_in_recovery()") == [(False,)], "it is recovered"
        )
        return [number for (number,) in cluster.rows("SELECT id FROM calls ORDER BY id")]


def run_aside(folder: Path, cluster: Cluster, moment: str) -> None:
    """Restore into another folder as sources.md shows, and use that."""
    user = pwd.getpwuid(cluster.data.stat().st_uid).pw_name
    commands = (
        ASIDE.replace("-o postgres", f"-o {user}")
        .replace("-R postgres", f"-R {user}")
        .replace("/srv/restored", f"{cluster.folder}/restored")
        .replace("/var/lib/postgresql/18/again", f"{cluster.folder}/again")
    )
    run(commands, folder, cluster, moment)
    cluster.data.rename(cluster.folder / "before")
    (cluster.folder / "again").rename(cluster.data)


def test_data_directory_returns_to_a_moment_and_back(cluster: Cluster, tmp_path: Path) -> None:
    config_file = furnish(
        tmp_path, more=SETS.format(folder=cluster.folder, programs=cluster.programs)
    )
    with cluster.started(), installation_at(config_file) as installation:
        cluster.execute("CREATE TABLE calls (id int)", "INSERT INTO calls VALUES (1)")
        run_backup(installation, "night", "direct")
        cluster.execute("INSERT INTO calls VALUES (2)")
        ((moment,),) = cluster.rows("SELECT clock_timestamp()::text")
        cluster.execute("INSERT INTO calls VALUES (3)")
        run_backup(installation, "often", "direct")
        cluster.execute("DELETE FROM calls", "CHECKPOINT")
    run(RESTORE, tmp_path, cluster, str(moment))
    run(f"cd /var/lib/postgresql/18\n{REPLACE}", tmp_path, cluster, str(moment))
    assert calls(cluster) == [1, 2]
    run(f"cd /var/lib/postgresql/18\n{UNDO}", tmp_path, cluster, str(moment))
    assert calls(cluster) == []
    run_aside(tmp_path, cluster, str(moment))
    assert calls(cluster) == [1, 2]
