"""Throwaway database servers, into which drills load dumps.

    server = ThrowawayPostgresql(folder, programs, isolation, hidden)
    server.start()
    result = server.target.restore("crm", "crm", stream)
    server.end()

A drill is a test restore. It loads the restored dumps into a database server of its own.

Rules
- This package creates, starts and ends each server. The address of a server is derived from its
  folder. Therefore a drill cannot load a dump into any other server.
- A server has no port. It listens only at a socket file in its own private folder. If the kernel
  permits it, the server also runs in a network namespace of its own; otherwise `isolation_gap`
  states the reason.
- `end` kills every process of the server and deletes its folder, even after a failed start.

To add a kind of server, write one module with these methods, a case in `database_load`, and a test
of its drill.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.targets import Target
from standfast.usecases.drills.throwaway.server_process import ServerProcess

_COUNTED_AT_ONCE = 50  # tables in one query


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The problems of constraints, foreign keys and indexes; "" means none."""

    problem: str = ""
    unproven: str = ""  # the parts that the server could not check, in words


class ThrowawayServer(ABC):
    """A database server that a drill starts and destroys."""

    process: ServerProcess
    target: Target

    @abstractmethod
    def start(self) -> None:
        """Start an empty server; raise `ProgramFailed` with the reason."""

    def end(self) -> None:
        """Kill the server and delete its data."""
        self.process.end()

    @property
    def isolation_gap(self) -> str:
        """Return why the server has no network namespace of its own, or ""."""
        if self.process.has_own_network:
            return ""
        return self.process.isolation.gap or "the server is in the network of this machine"

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that make client programs connect."""

    @abstractmethod
    def value(self, sql: str, database: str) -> str:
        """Return the only value of a query; raise `ProgramFailed` on an error."""

    @abstractmethod
    def row_count(self, table: str, database: str) -> int:
        """Count the rows of a table; raise `ProgramFailed` if it is missing."""

    @abstractmethod
    def dumped_rows(self, dump: Path) -> Mapping[str, int]:
        """Count the rows in the file of a dump, by table.

        Names of tables are quoted for a query. Raise `ProgramFailed` if the rows cannot be counted.
        """

    def loaded_rows(self, tables: Sequence[str], database: str) -> list[int]:
        """Count the rows of quoted tables, in order.

        Raise `ProgramFailed` if a table is missing.
        """
        starts = range(0, len(tables), _COUNTED_AT_ONCE)
        parts = [tables[start : start + _COUNTED_AT_ONCE] for start in starts]
        return [count for part in parts for count in self._loaded_rows(part, database)]

    @abstractmethod
    def _loaded_rows(self, tables: Sequence[str], database: str) -> list[int]: ...

    @abstractmethod
    def limit_statements(self, seconds: float, database: str) -> None:
        """Limit the duration of later statements; `ProgramFailed` on an error."""

    @abstractmethod
    def structure(self, database: str) -> Structure:
        """Check constraints, foreign keys and indexes.

        Raise `ProgramFailed` if the database cannot be queried.
        """
