"""PostgreSQL base backup: a whole server as `base.tar`, with its WAL.

- The base backup (base) is streamed from `pg_basebackup` and never stored on a local disk. It
  contains the WAL (write-ahead log) that it needs. So a restored base starts without an archive, in
  the state at the end of the base backup.
- `wal` is the folder into which the server archives its WAL (`archive_command` or `pg_receivewal`).
  If it is set, a recovery point (a restorable backup) contains the WAL from the previous base to
  the newest segment (file of the WAL). A restore can reach any moment from the end of the previous
  base to the end of this segment.
- After a recovery point with a new base was committed, segments before this base are removed from
  the folder, if the recovery point contains them. While base backups fail, the folder grows.
- A server with tablespaces is refused, because pg_basebackup can write only one tablespace to a
  pipe.
- The role needs REPLICATION, and a replication connection in pg_hba.conf.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

from backup.errors import SourceFailed
from backup.records import Unread
from backup.sources import Content, Found, Obstacle, OpenSource, Source
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES
from backup.sources.client_programs import Command, ProgramFailed
from backup.sources.database_dumps import Dump, OpenDumps
from backup.sources.output_completeness import TarEndMarker
from backup.sources.postgresql.server import PostgresqlServer
from backup.sources.postgresql.wal_spool import WalSpool

BASE = "base.tar"
_WAL = b"wal/"
_TABLESPACES = "SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"
_MAY_REPLICATE = "SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user"
_ARCHIVING_FAILS = (
    "SELECT coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)"
    " FROM pg_stat_archiver"
)


class PostgresqlBaseSource(Source):
    """The server's data folder, and the folder of its archived WAL."""

    kind = "postgresql_base"
    is_self_pruning = True

    def __init__(self, name: str, server: PostgresqlServer, wal: Path | None = None) -> None:
        super().__init__(name)
        self.server = server
        self._spool = None if wal is None else WalSpool(wal)
        self._first_needed: str | None = None  # the first segment that the newest base may need

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        self._first_needed = None
        consistent_at = now()
        try:
            command = self._command()
            # Query the segment before the base backup starts, so that the base starts in this
            # segment or a later one.
            first_segment = self.server.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
        except ProgramFailed as error:
            raise SourceFailed(f"source {self.name}: {error}") from error
        dump = Dump(file_name=BASE, command=command, ending=TarEndMarker)
        base = OpenDumps(self.name, consistent_at, [dump])
        opened = _OpenBase(base, self._spool)
        yield opened
        if opened.is_complete:
            self._first_needed = first_segment

    def on_committed(self) -> None:
        if self._spool is not None and self._first_needed is not None:
            self._spool.prune(self._first_needed)

    def _command(self) -> Command:
        if int(self.server.value(_TABLESPACES)):
            raise ProgramFailed(
                "the server has tablespaces, which pg_basebackup cannot stream."
                " Back it up with dumps (kind postgresql)"
            )
        return self.server.command(
            "pg_basebackup",
            "--pgdata=-",
            "--format=tar",
            "--wal-method=fetch",
            "--checkpoint=fast",
            "--no-password",
            f"--label=standfast {self.name}",
        )

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        del scratch
        findings = []
        server = self.server
        try:
            self._command()
            if server.value(_MAY_REPLICATE) != "t":
                findings.append(f"{server.user} may not replicate. Run ALTER ROLE ... REPLICATION")
            if self._spool is not None:
                if server.value("SHOW archive_mode") == "off":
                    findings.append(
                        "archive_mode is off, so the wal folder stays empty unless pg_receivewal"
                        " runs"
                    )
                elif server.value(_ARCHIVING_FAILS) == "t":
                    findings.append(
                        "archive_command fails, and a base backup would wait for it. Check the"
                        " server's log"
                    )
        except ProgramFailed as error:
            return [Obstacle(problem=str(error))]
        problems = [
            Obstacle(problem=problem, prevents="archive_mode" not in problem)
            for problem in findings
        ]
        if self._spool is not None and not self._spool.folder.is_dir():
            problems.append(Obstacle(problem=f"folder {self._spool.folder}: not found"))
        return problems


class _OpenBase(OpenSource):
    """The base, followed by the WAL that was archived until its end."""

    def __init__(self, base: OpenDumps, spool: WalSpool | None) -> None:
        super().__init__(base.name, base.consistent_at)
        self._base = base
        self._spool = spool
        self.is_complete = False

    def _scan(self) -> Iterator[Found | Unread]:
        # If the base backup fails, raise the error at the end of the scan, so that the recovery
        # point contains the WAL.
        failure: SourceFailed | None = None
        try:
            yield from self._base.scan()
        except SourceFailed as error:
            failure = error
        if self._spool is not None:
            yield from self._spool.scan(self.name, _WAL)
        if failure is not None:
            raise failure
        self.is_complete = True

    def read(self, found: Found) -> AbstractContextManager[Content]:
        if found.path.startswith(_WAL) and self._spool is not None:
            return self._spool.read(found)
        return self._base.read(found)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return EDITED_CHUNK_BYTES
