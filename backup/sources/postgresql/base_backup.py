"""A PostgreSQL server as a whole, for a restore to any moment: `base.tar`, and `wal/` beside it.

- The base is streamed from `pg_basebackup` and never lies on a disk of ours; it holds the log that
  it needs, so it starts by itself, as of the end of the base backup.
- `wal`, where it is named, is the folder that the server archives its log into (`archive_command`
  or `pg_receivewal`): with it one point reaches from the base before to the newest segment.
- Once a point with a new base is committed, the folder is pruned of what lies before that base and
  is in the point.  Until then, or while bases fail, it grows.
- A server with tablespaces is refused: pg_basebackup can write only one to a pipe.
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
_ARCHIVES_ILL = (
    "SELECT coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)"
    " FROM pg_stat_archiver"
)


class PostgresqlBaseSource(Source):
    """The server's data folder, and the folder of its archived log."""

    kind = "postgresql_base"
    sheds = True

    def __init__(self, name: str, server: PostgresqlServer, wal: Path | None = None) -> None:
        super().__init__(name)
        self.server = server
        self._spool = None if wal is None else WalSpool(wal)
        self._needed_from: str | None = None  # the segment that the newest base may begin in

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        self._needed_from = None
        consistent_at = now()
        try:
            command = self._command()
            # Asked before the base begins, so it is that segment or one before it.
            begins_after = self.server.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
        except ProgramFailed as error:
            raise SourceFailed(f"source {self.name}: {error}") from error
        dump = Dump(file_name=BASE, command=command, ending=TarEndMarker)
        base = OpenDumps(self.name, consistent_at, [dump])
        opened = _OpenBase(base, self._spool)
        yield opened
        if opened.is_whole:
            self._needed_from = begins_after

    def committed(self) -> None:
        if self._spool is not None and self._needed_from is not None:
            self._spool.prune(self._needed_from)

    def _command(self) -> Command:
        if int(self.server.value(_TABLESPACES)):
            raise ProgramFailed(
                "the server has tablespaces, which pg_basebackup cannot stream;"
                " back it up by dumps (kind postgresql)"
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
        found = []
        server = self.server
        try:
            self._command()
            if server.value(_MAY_REPLICATE) != "t":
                found.append(f"{server.user} may not replicate: ALTER ROLE ... REPLICATION")
            if self._spool is not None:
                if server.value("SHOW archive_mode") == "off":
                    found.append(
                        "archive_mode is off, so nothing comes into wal unless pg_receivewal runs"
                    )
                elif server.value(_ARCHIVES_ILL) == "t":
                    found.append(
                        "archive_command fails: a base backup would wait for it; see the server's"
                        " log"
                    )
        except ProgramFailed as error:
            return [Obstacle(problem=str(error))]
        problems = [Obstacle(problem=one, prevents="archive_mode" not in one) for one in found]
        if self._spool is not None and not self._spool.folder.is_dir():
            problems.append(Obstacle(problem=f"there is no folder {self._spool.folder}"))
        return problems


class _OpenBase(OpenSource):
    """The base first, then the log that was archived until it was whole."""

    def __init__(self, base: OpenDumps, spool: WalSpool | None) -> None:
        super().__init__(base.name, base.consistent_at)
        self._base = base
        self._spool = spool
        self.is_whole = False

    def _scan(self) -> Iterator[Found | Unread]:
        # The base's failure is told at the end of its scan, when the log is in the point, too.
        failure: SourceFailed | None = None
        try:
            yield from self._base.scan()
        except SourceFailed as error:
            failure = error
        if self._spool is not None:
            yield from self._spool.scan(self.name, _WAL)
        if failure is not None:
            raise failure
        self.is_whole = True

    def read(self, found: Found) -> AbstractContextManager[Content]:
        if found.path.startswith(_WAL) and self._spool is not None:
            return self._spool.read(found)
        return self._base.read(found)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return EDITED_CHUNK_BYTES
