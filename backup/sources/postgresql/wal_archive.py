"""PostgreSQL WAL source: the archived log, between two base backups.

- WAL is the write-ahead log, in files of equal size, the segments. Run this source often, in a
  backup set of its own. A second set has a `postgresql_base` source with the same folder. The
  `postgresql_base` source prunes the folder; this source never does.
- The source first makes the server finish its current WAL segment (`pg_switch_wal`), and waits up
  to a minute until the segment is archived. The recovery point (the restorable backup) is
  consistent at the moment of this call.
- If the server does not answer, or the segment is not archived, the existing segments are stored,
  because they may be the newest data of a crashed server. The recovery point is then partial
  (incomplete), and names the newest changes as missing.
- The role needs EXECUTE on pg_switch_wal().
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from backup.errors import SourceFailed
from backup.records import Unread
from backup.sources import Content, Found, Obstacle, OpenSource, Source
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES
from backup.sources.client_programs import ProgramFailed
from backup.sources.postgresql.server import PostgresqlServer
from backup.sources.postgresql.wal_spool import WalSpool

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1
# Subtract a byte, because an idle server returns the boundary of two segments. The file name of a
# boundary depends on the version of the server.
_SWITCH = "SELECT pg_walfile_name(pg_switch_wal() - 1)"
_MAY_SWITCH = "SELECT has_function_privilege('pg_switch_wal()', 'EXECUTE')"


class PostgresqlWalSource(Source):
    """The folder into which a server archives its WAL."""

    kind = "postgresql_wal"
    is_self_pruning = True

    def __init__(
        self, name: str, server: PostgresqlServer, wal: Path, *, wait_seconds: float = _WAIT_SECONDS
    ) -> None:
        super().__init__(name)
        self.server = server
        self._spool = WalSpool(wal)
        self._wait_seconds = wait_seconds

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        consistent_at = now()
        problem = None
        try:
            self._wait_for(self.server.value(_SWITCH))
        except ProgramFailed as error:
            problem = f"the newest changes are missing: {error}"
            newest = self._spool.newest_ns()
            if newest is None:
                raise SourceFailed(f"source {self.name}: {problem}") from error
            consistent_at = min(consistent_at, datetime.fromtimestamp(newest / 1e9, UTC))
        yield _OpenWal(self.name, consistent_at, self._spool, problem)

    def _wait_for(self, segment: str) -> None:
        deadline = time.monotonic() + self._wait_seconds
        while not self._spool.has_segment(segment):
            if time.monotonic() > deadline:
                raise ProgramFailed(
                    f"segment {segment} was not archived within {self._wait_seconds:.0f} s."
                    " Check archive_command or pg_receivewal"
                )
            time.sleep(_POLL_SECONDS)

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        del scratch
        problems = []
        if not self._spool.folder.is_dir():
            problems.append(f"folder {self._spool.folder}: not found")
        try:
            if self.server.value(_MAY_SWITCH) != "t":
                problems.append(
                    f"{self.server.user} may not finish a segment."
                    f" GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {self.server.user}"
                )
        except ProgramFailed as error:
            problems.append(str(error))
        return [Obstacle(problem=problem) for problem in problems]


class _OpenWal(OpenSource):
    def __init__(
        self, name: str, consistent_at: datetime, spool: WalSpool, problem: str | None
    ) -> None:
        super().__init__(name, consistent_at)
        self._spool = spool
        self._problem = problem

    def _scan(self) -> Iterator[Found | Unread]:
        yield from self._spool.scan(self.name, b"")
        if self._problem is not None:
            yield Unread(path=self.name, reason=self._problem)

    def read(self, found: Found) -> AbstractContextManager[Content]:
        return self._spool.read(found)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return EDITED_CHUNK_BYTES
