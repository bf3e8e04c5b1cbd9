"""Replacement of a PostgreSQL database in a recovery, and its reversal.

The names of a database in one incident are the same for MariaDB (`mariadb_recovery.py`).

Rules
- A dump restores the settings of its database only under its own name, so the existing database is
  set aside first. The existing database gets its name back if the load or a check fails.
- A database is recognised by the server's id, which a rename keeps. Only the database that the plan
  showed is set aside.
- No database is dropped. A database that an interrupted or failed try loaded is renamed, and a
  person decides about it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backup.targets import Target
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import Refused, UsageError
from standfast.usecases.backups.database_restore import find_address
from standfast.usecases.core.backup_repository import private_key_paths, translated_errors
from standfast.usecases.core.installation import Installation

_NAME_BYTES = 63  # of PostgreSQL
_MOST_INCOMPLETE = 100  # tries


class NamedDatabases(Protocol):
    """A server that states whether a database exists."""

    def database_id(self, database: str) -> str:
        """Return an id of a database; "" if it does not exist."""


@contextmanager
def open_server(installation: Installation, into: str, set_name: str) -> Iterator[Target]:
    """Open the server of a recovery target; UsageError for a single database."""
    address = find_address(installation, into, set_name)
    if address.database is not None:
        raise UsageError(f"{into}: it names one database. Use an address without a database.")
    hidden = private_key_paths(installation.config, None)
    with tempfile.TemporaryDirectory(prefix="standfast-") as scratch:
        yield address.target(installation.clock, Path(scratch), hidden)


@dataclass(frozen=True, kw_only=True)
class DatabaseReplacement:
    """A database on a server, and the names that one incident uses."""

    database: str
    incident: str
    database_id: str  # of the existing database in the plan; "" if there was none
    has_data: bool

    @property
    def set_aside(self) -> str:
        """The name of the previous database after the replacement."""
        return self._name("before")

    @property
    def withdrawn(self) -> str:
        """The name of the restored database after an undo."""
        return self._name("recovered")

    @property
    def names_aside(self) -> tuple[str, ...]:
        """The names of databases that keep data of this incident."""
        return (self.set_aside, self.withdrawn, self._name("incomplete_1"))

    def obstacle(self, server: NamedDatabases) -> str:
        """Return which needed name is in use, or ""."""
        for name in (self.set_aside, self.withdrawn):
            if server.database_id(name):
                return f"database {name}: it exists, and the recovery needs this name. Rename it."
        return ""

    def make_room(self, server: PostgresqlTarget, *, was_loading: bool) -> None:
        """Set the planned database aside, so that its name is free.

        `was_loading` is True if an earlier try began to load. Raise Refused if another database has
        appeared since the plan.
        """
        with translated_errors(f"replacing database {self.database}"):
            now = server.database_id(self.database)
            if now and self.has_data and now == self.database_id:
                server.rename(self.database, self.set_aside)
            elif now and was_loading:
                self._rename_incomplete(server)
            elif now and server.size_bytes(self.database):
                raise Refused(
                    f"database {self.database}: it appeared after the plan was made. Rename it, "
                    "then retry the step."
                )

    def give_back(self, server: PostgresqlTarget) -> None:
        """Restore the name of the previous database after a failed try."""
        with translated_errors(f"returning database {self.database}"):
            now = server.database_id(self.database)
            if now and now != self.database_id:
                self._rename_incomplete(server)
            if self.has_data and server.database_id(self.set_aside) == self.database_id:
                server.rename(self.set_aside, self.database)

    def put_back(self, server: PostgresqlTarget) -> None:
        """Rename the restored database away, and the previous one back."""
        with translated_errors(f"returning database {self.database}"):
            now = server.database_id(self.database)
            if self.has_data and now == self.database_id:
                return  # an earlier try renamed it
            if self.has_data and server.database_id(self.set_aside) != self.database_id:
                raise Refused(f"database {self.set_aside}: it is gone. Nothing can be put back.")
            if now and not server.database_id(self.withdrawn):
                server.rename(self.database, self.withdrawn)
            if self.has_data:
                server.rename(self.set_aside, self.database)

    def free_incomplete_name(self, server: NamedDatabases) -> str:
        """Return a name for an incomplete database that is not in use."""
        for number in range(1, _MOST_INCOMPLETE):
            name = self._name(f"incomplete_{number}")
            if not server.database_id(name):
                return name
        raise Refused(
            f"database {self.database}: {_MOST_INCOMPLETE} tries left incomplete copies. Drop the "
            f"databases {self._name('incomplete_1')} and following."
        )

    def _rename_incomplete(self, server: PostgresqlTarget) -> None:
        server.rename(self.database, self.free_incomplete_name(server))

    def _name(self, state: str) -> str:
        ending = f"_{state}_{self.incident.replace('-', '_')}"
        start = self.database.encode()[: _NAME_BYTES - len(ending)].decode("utf-8", "ignore")
        return start + ending
