"""Part of the drill chapter: the load of a PostgreSQL dump.

A drill restores a backup, checks it, measures the time and destroys the restored data. This drill
loads the dump into a server that it starts and ends.

Rules
- The backup is made in a separate installation, which is deleted after the chapter together with
  the PostgreSQL server. So the installation of the tour does not name a server that no longer
  exists.
- If the server programs are not installed, the chapter reports this and drills nothing.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from backup.sources.client_programs import ProgramFailed
from demo.tour_context import expect
from demo.tour_output import TourOutput
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckResult, CheckState
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.throwaway.postgresql import (
    PostgresqlPrograms,
    ThrowawayPostgresql,
    installed_programs,
)
from standfast.usecases.drills.throwaway.server_process import find_isolation
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.setup.new_installation import IDENTITY_FILE, OFFLINE, set_up

_SET, _DATABASE, _CALLS = "call-log", "calls", 5000
_STATEMENTS = (
    "CREATE TABLE agents (id int PRIMARY KEY)",
    "INSERT INTO agents SELECT generate_series(1, 50)",
    "CREATE TABLE calls (id int PRIMARY KEY, agent int REFERENCES agents, at timestamptz)",
    f"INSERT INTO calls SELECT n, n % 50 + 1, now() FROM generate_series(1, {_CALLS}) n",  # noqa: S608 - constants
)
_SETTINGS = """
[backup.sets.{set}]

[[backup.sets.{set}.sources]]
kind = "postgresql"
name = "{set}"
host = "{host}"
user = "postgres"
programs = "{programs}"
databases = ["{database}"]

[services.{set}]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1440
sets = ["{set}"]

[[services.{set}.checks]]
kind = "database"
source = "{set}"
database = "{database}"
minimum_rows = {{ calls = {calls} }}
last_change = "SELECT max(at) FROM calls"
"""


def drill_database(output: TourOutput) -> None:
    """Back up a PostgreSQL database, and load its dump in a drill."""
    try:
        programs = max(installed_programs(None))
    except ProgramFailed as error:
        output.print_line(f"No dump was loaded, because PostgreSQL is not installed: {error}.")
        return
    output.print_command(f"standfast drill run {_SET} --identity {OFFLINE}/{IDENTITY_FILE}")
    with output.show_progress("dumping, restoring and loading"):
        checks = _run_drill(programs)
    gap = next((check.reason for check in checks if check.name == f"load of {_SET}"), "")
    if gap:
        output.print_line(f"No dump was loaded: {gap}.")
        return
    failed = [check.name for check in checks if check.state is CheckState.FAILED]
    expect(not failed, f"the dump loads and every check passes (failed: {failed})")
    passed = {check.name for check in checks if check.state is CheckState.PASSED}
    expect(f"load of {_SET}/{_DATABASE}.dump" in passed, "the dump was loaded")
    output.print_line(
        f"A PostgreSQL dump was loaded into a throwaway server: {_CALLS:,} rows, foreign keys and "
        f"the newest call were checked. {len(passed)} checks passed, and the server is deleted."
    )


def _run_drill(programs: PostgresqlPrograms) -> tuple[CheckResult, ...]:
    """Start a server with calls, back it up, and drill the backup."""
    with tempfile.TemporaryDirectory(prefix="standfast-") as name:
        folder = Path(name).resolve()
        server = ThrowawayPostgresql(folder / "live", programs, find_isolation(), ())
        try:
            server.start()
            server.value(f"CREATE DATABASE {_DATABASE}", "postgres")
            for statement in _STATEMENTS:
                server.value(statement, _DATABASE)
            config_file = _set_up(folder, server.process.folder, programs)
            with open_installation(config_file, env={}) as installation:
                run_backup(installation, _SET, "direct")
                identity = config_file.parent / OFFLINE / IDENTITY_FILE
                return run_drill(installation, _SET, identity).checks
        finally:
            server.end()


def _set_up(folder: Path, socket_folder: Path, programs: PostgresqlPrograms) -> Path:
    """Create an installation that backs the server up; return its settings."""
    source, place = folder / "files", folder / "installation"
    source.mkdir()
    set_up(
        place,
        source,
        organisation="Example Contact Centres",
        contact_line="020 7946 0000",
        now=datetime.now(UTC),
    )
    for private in (folder, place):
        private.chmod(0o711)  # as root, the servers run as `nobody`, which must enter the folder
    (place / "drills").mkdir(mode=0o711, exist_ok=True)
    config_file = place / "standfast.toml"
    settings = _SETTINGS.format(
        set=_SET, host=socket_folder, programs=programs.folder, database=_DATABASE, calls=_CALLS
    )
    config_file.write_text(config_file.read_text() + settings)
    return config_file
