"""Names of the copies of a recovered database, and the base class.

During a recovery, a server can have several copies of a database: the previous database, the
restored one, and incomplete copies that failed calls left. The name of each copy contains the id of
the incident. `postgresql_recovery.py` and `mariadb_recovery.py` create and rename the copies.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backup.targets import Target
from standfast.errors import Refused, UsageError
from standfast.usecases.backups.database_restore import find_address
from standfast.usecases.core.backup_repository import private_key_paths
from standfast.usecases.core.installation import Installation

_NAME_BYTES = 63  # limit of PostgreSQL for a name
_MOST_INCOMPLETE = 100  # copies that failed calls may leave


class NamedDatabases(Protocol):
    """A server that can return the id of a database."""

    def database_id(self, database: str) -> str:
        """Return the id of a database; "" if the database does not exist."""


@contextmanager
def open_server(installation: Installation, into: str, set_name: str) -> Iterator[Target]:
    """Open the server that the configuration names as a recovery target.

    `into` is its address. Raise UsageError if the address names a single database of the server.
    """
    address = find_address(installation, into, set_name)
    if address.database is not None:
        raise UsageError(f"{into}: it names one database. Use an address without a database.")
    hidden = private_key_paths(installation.config, None)
    with tempfile.TemporaryDirectory(prefix="standfast-") as scratch:
        yield address.target(installation.clock, Path(scratch), hidden)


@dataclass(frozen=True, kw_only=True)
class DatabaseReplacement:
    """A database that a recovery replaces, and the names of its copies."""

    database: str
    incident: str
    database_id: str  # id of the existing database when the recovery was planned; "" if none
    has_data: bool

    @property
    def existed(self) -> bool:
        """Return whether a database existed at planning, even an empty one."""
        return self.database_id != ""

    @property
    def set_aside(self) -> str:
        """The name that the previous database gets when it is replaced."""
        return self._name("before")

    @property
    def withdrawn(self) -> str:
        """The name that the restored database gets when the recovery is undone."""
        return self._name("recovered")

    @property
    def names_aside(self) -> tuple[str, ...]:
        """The names that copies of the database may have in this incident."""
        return (self.set_aside, self.withdrawn, self._name("incomplete_1"))

    def obstacle(self, server: NamedDatabases) -> str:
        """Return an error text if a database already has a needed name, or ""."""
        for name in (self.set_aside, self.withdrawn):
            if server.database_id(name):
                return f"database {name}: it exists, and the recovery needs this name. Rename it."
        return ""

    def free_incomplete_name(self, server: NamedDatabases) -> str:
        """Return an unused name for a copy that is not completely loaded."""
        for number in range(1, _MOST_INCOMPLETE):
            name = self._name(f"incomplete_{number}")
            if not server.database_id(name):
                return name
        raise Refused(
            f"database {self.database}: {_MOST_INCOMPLETE} attempts left incomplete copies. Drop "
            f"the database {self._name('incomplete_1')}, and each one with a higher number."
        )

    def _name(self, state: str) -> str:
        ending = f"_{state}_{self.incident.replace('-', '_')}"
        start = self.database.encode()[: _NAME_BYTES - len(ending)].decode("utf-8", "ignore")
        return start + ending
