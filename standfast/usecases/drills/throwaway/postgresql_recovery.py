"""Throwaway PostgreSQL server from a base backup: replay, gaps in the log.

A throwaway server is used for one drill, a test restore, and then deleted.

- The programs must have the major version of the base backup, because a server of another version
  cannot start with its data.
- The settings of the source server are not used, because they name its folders and commands.
  Therefore an extension that these settings preload does not work in a drill.
- The log is replayed to a time, or to its end. Then the server is promoted. PostgreSQL treats a
  missing segment as the end of the log. If a later segment exists, this module reports a failed
  recovery.
- A base backup is a physical copy of the rows and indexes of the source. Therefore no constraint is
  checked again. pg_amcheck checks the pages of tables and B-tree indexes.
"""

import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from backup.sources.client_programs import ProgramFailed, run_program
from backup.sources.postgresql.wal_spool import is_segment, segment_number
from standfast.usecases.drills.throwaway import Structure
from standfast.usecases.drills.throwaway.postgresql import (
    SETTINGS,
    PostgresqlPrograms,
    ThrowawayPostgresql,
)
from standfast.usecases.drills.throwaway.server_process import Isolation

_REPLAY_SECONDS = 24 * 3600.0
_SUPERUSER = "SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1"
_REPLAYED_TO = "SELECT pg_last_xact_replay_timestamp()"
_REPLAY_END = (
    "SELECT pg_last_wal_replay_lsn() || ' ' || setting FROM pg_settings"
    " WHERE name = 'wal_segment_size'"
)
_DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname"
_CLOSED = "SELECT datname FROM pg_database WHERE NOT datallowconn OR datconnlimit = -2"
_AMCHECK = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"
_OUTPUT_BYTES = 8192  # bytes of the output of pg_amcheck that are kept
_DAMAGE_STATUS = 2  # exit status of pg_amcheck for damage
_RECOVERY = {
    **SETTINGS,
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_prepared_transactions": "100",
    "archive_mode": "off",
    "hot_standby": "off",  # the server answers only after the replay
    "restore_command": "cp ../log-files/%f %p || cp ../log-files/%f.partial %p",
    "recovery_target_action": "promote",
}


class RecoveredPostgresql(ThrowawayPostgresql):
    """A cluster with the data of a base backup.

    `user` is a role of the source server; the drill connects with this role.
    """

    def __init__(
        self,
        folder: Path,
        installed: Sequence[PostgresqlPrograms],
        isolation: Isolation,
        hidden: tuple[Path, ...],
        user: str,
    ) -> None:
        super().__init__(folder, max(installed), isolation, hidden)
        self._installed = installed
        self._server = replace(self._server, user=user)

    def start(self) -> None:
        """Create the folder; `recover` starts the server."""
        self.process.create_folder()

    def recover(self, base: Path, logs: Iterable[Path], until: datetime | None) -> str:
        """Replay the log up to `until`; return the time of its last commit.

        `logs` are folders of log segments, the oldest first. Raise `ProgramFailed` with the
        server's reason.
        """
        if base.is_symlink() or base.parent.is_symlink():
            raise ProgramFailed("the base backup is a link. Choose another recovery point")
        programs = self._programs_for(base)
        self._server = replace(self._server, programs=programs.folder)
        folder = self.process.folder
        segments = folder / "log-files"
        segments.mkdir()
        for path in log_files(logs):
            shutil.copyfile(path, segments / path.name)
        data = folder / "data"
        self.process.run("mkdir", "--mode=700", str(data))
        self.process.run("tar", "--extract", f"--directory={data}", stdin=base)
        self.process.run("rm", "--force", str(data / "postgresql.auto.conf"))
        self.process.run("touch", str(data / "recovery.signal"))
        (folder / "postgresql.conf").touch()
        (folder / "pg_hba.conf").write_text("local all all trust\n")
        settings = {
            **_RECOVERY,
            "config_file": str(folder / "postgresql.conf"),
            "hba_file": str(folder / "pg_hba.conf"),
        }
        if until is not None:
            settings["recovery_target_time"] = until.isoformat()
        self._serve(programs, data, settings, _REPLAY_SECONDS)
        if until is None:
            end, segment_bytes = self.value(_REPLAY_END, "postgres").split()
            _refuse_gap([path.name for path in segments.iterdir()], end, int(segment_bytes))
        replayed_to = self.value(_REPLAYED_TO, "postgres")
        self._server = replace(self._server, user=self.value(_SUPERUSER, "postgres"))
        return replayed_to

    def databases(self) -> list[str]:
        """Return the names of all databases except templates."""
        return self._server.column(_DATABASES)

    def structure(self, database: str) -> Structure:
        if database in self._server.column(_CLOSED):
            return Structure(unproven="the source server permits no connection to it")
        return super().structure(database)

    def has_amcheck(self) -> bool:
        """Return whether the installed server has the extension amcheck."""
        return self.value(_AMCHECK, "postgres") != "0"

    def damaged_pages(self) -> str:
        """Return the beginning of the output of pg_amcheck; "" means no damage.

        Install the extension amcheck in each database. Raise `ProgramFailed` if the pages cannot be
        checked.
        """
        command = self._server.command(
            "pg_amcheck", "--all", "--exclude-database=template1", "--install-missing"
        )
        with run_program(command, stdout=True) as program:
            assert program.process.stdout is not None  # noqa: S101 - started with stdout=True
            found = b""
            while piece := program.process.stdout.read(_OUTPUT_BYTES):
                found += piece[: _OUTPUT_BYTES - len(found)]
            status = program.process.wait()
            if not found and status != _DAMAGE_STATUS:
                program.finish()
        text = found.decode("utf-8", "replace") or ("damage" if status else "")
        return "".join(char for char in text if char.isprintable() or char == "\n")

    def _programs_for(self, base: Path) -> PostgresqlPrograms:
        version = _version(base)
        for programs in self._installed:
            if programs.version == version:
                return programs
        raise ProgramFailed(
            f"the base backup is of PostgreSQL {version}, whose server programs are not installed."
            f" Install the package postgresql-{version}"
        )


def log_files(logs: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of restored logs, sorted in each folder.

    Links are omitted, because an intruder on a backup host could store links to files of this
    machine.
    """
    for log in logs:
        if not log.is_symlink():
            yield from sorted(path for path in log.iterdir() if not path.is_symlink())


def _refuse_gap(names: Iterable[str], replay_end: str, segment_bytes: int) -> None:
    """Raise `ProgramFailed` if a segment exists after the end of the replay.

    In that case a segment between them is missing. The segment directly after the end is permitted,
    because PostgreSQL creates a segment before it writes to it.
    """
    high, _, low = replay_end.partition("/")
    last = ((int(high, 16) << 32) + int(low, 16) - 1) // segment_bytes
    later = sorted(
        name
        for name in names
        if is_segment(name) and segment_number(name, segment_bytes) > last + 1
    )
    if later:
        raise ProgramFailed(
            f"the replay ended at {replay_end}, before segment {later[0]}: a segment in between"
            " is missing. The next base backup starts after the missing segment"
        )


def _version(base: Path) -> int:
    with suppress(tarfile.TarError, OSError, ValueError), tarfile.open(base) as archive:
        for member in archive:
            if member.name.removeprefix("./") == "PG_VERSION":
                content = archive.extractfile(member)
                return int(content.read()) if content else 0
    raise ProgramFailed("the base backup has no readable PG_VERSION")
