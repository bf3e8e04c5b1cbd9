"""Installation with a PostgreSQL source and a short drill folder."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.throwaway.server_process import Isolation, find_isolation
from tests.memory_disk import memory_folder
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import furnish, installation_at

SET = "servers"
NEWEST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TABLES = (
    "CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(20), changed_at TIMESTAMP)",
    "CREATE TABLE calls (id INT PRIMARY KEY, customer INT REFERENCES customers (id))",
    "INSERT INTO customers VALUES (1, 'Ünal', '2026-01-01 00:00:00')",
    "INSERT INTO customers VALUES (2, 'O''Hara', '2026-01-02 03:04:05')",
    "INSERT INTO calls VALUES (1, 1), (2, 1), (3, 2)",
)
CHECK = """
[services.crm]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 5256000
sets = ["servers"]

[[services.crm.checks]]
kind = "database"
source = "crm-server"
database = "{database}"
minimum_rows = { customers = 2, calls = 3 }
assertions = ["SELECT sum(id) = 6 FROM calls"]
last_change = "SELECT max(changed_at) FROM customers"
"""
SOURCE = """
[backup.sets.servers]

[[backup.sets.servers.sources]]
kind = "postgresql"
name = "crm-server"
host = "{host}"
user = "postgres"
programs = "{programs}"
databases = ["{database}"]
"""
MARIADB_SOURCE = """
[backup.sets.servers]

[[backup.sets.servers.sources]]
kind = "mariadb"
name = "crm-server"
host = "{host}"
user = "root"
databases = ["{database}"]
"""


@contextmanager
def drills_folder() -> Iterator[Path]:
    """Make a folder for drills with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="sf-drl-", dir=memory_folder()))
    folder.chmod(0o711)  # if root runs the tests, the servers of drills run as the user nobody
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def backed_up(
    folder: Path, drills: Path, server: Postgres | Mariadb, database: str, more: str = CHECK
) -> Path:
    """Back up one database of a server; return the configuration file."""
    if isinstance(server, Postgres):
        source = SOURCE.replace("{host}", str(server.socket_folder))
        source = source.replace("{programs}", str(server.programs))
    else:
        source = MARIADB_SOURCE.replace("{host}", str(server.socket))
    settings = f'[drills]\nfolder = "{drills}"\n' + more
    config_file = furnish(folder, (source + settings).replace("{database}", database))
    with installation_at(config_file) as installation:
        outcome = run_backup(installation, SET, "direct")
    assert outcome.result.unread == ()
    return config_file


def working_folders(folder: Path) -> list[Path]:
    """List the working folders of processes that work below a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def without_network_namespace(gap: str) -> Isolation:
    """Return the isolation of a kernel that refuses a network namespace."""
    prefix = find_isolation().prefix
    as_user = prefix[prefix.index("--") + 1 :] if "--net" in prefix else prefix
    return Isolation(prefix=as_user, gap=gap)


def unexpected(outcome: DrillOutcome) -> list[str]:
    """Describe the checks that did not pass, and any other faults."""
    checks = [check for check in outcome.checks if check.state is not CheckState.PASSED]
    return [
        outcome.problem,
        f"{outcome.target}",
        *(f"{check.name}: {check.state} {check.reason} {check.output}" for check in checks),
    ]
