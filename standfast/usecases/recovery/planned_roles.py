"""Roles that a recovery creates before its PostgreSQL databases.

Rules
- Only roles that the server lacks are created. Existing ones keep their rights and passwords.
- The plan has each role with its rights, so that the approval covers them.
- An undo leaves the roles: the restored databases belong to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from backup.format.canonical_json import to_path_text
from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.targets.postgresql import PostgresqlTarget
from standfast.records import JsonObject
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.recovery.database_replacement import open_server
from standfast.usecases.recovery.recovery_journal import ROLES, RecoveryJournal


@dataclass(frozen=True, kw_only=True)
class PlannedRoles:
    """The roles of one source that its server lacks."""

    source: str
    into: str  # the server, as the configuration names it
    dump: str  # the path in the recovery point
    roles: Mapping[str, Sequence[str]]  # rights by name

    def as_json(self) -> JsonObject:
        return {
            "source": self.source,
            "into": self.into,
            "dump": self.dump,
            "roles": {name: list(rights) for name, rights in self.roles.items()},
        }

    @staticmethod
    def from_json(stored: JsonObject) -> "PlannedRoles":
        """Read the roles from the details of an effect."""
        return PlannedRoles(
            source=str(stored["source"]),
            into=str(stored["into"]),
            dump=str(stored["dump"]),
            roles=cast("Mapping[str, Sequence[str]]", stored["roles"]),
        )

    def create(
        self, installation: Installation, repository: Repository, point: RecoveryPoint
    ) -> None:
        """Create the roles that the server still lacks, all or none."""
        with (
            open_server(installation, self.into, point.set_name) as server,
            translated_errors(f"creating the roles of {self.source}"),
        ):
            assert isinstance(server, PostgresqlTarget)  # noqa: S101 - as it was planned
            server.create_roles(partial(repository.stream, point, self.dump), self.roles)


def plan_roles(
    installation: Installation,
    source: str,
    into: str,
    repository: Repository,
    point: RecoveryPoint,
) -> Iterator[PlannedRoles]:
    """Yield the roles of a source that its server lacks, if there are any."""
    with (
        open_server(installation, into, point.set_name) as server,
        translated_errors(f"reading the roles of {into}"),
    ):
        path = f"{source}/{server.globals_name}".encode()
        has_roles = path in [entry.path for entry in repository.entries(point, [source])]
        if isinstance(server, PostgresqlTarget) and has_roles:
            missing = server.missing_roles(partial(repository.stream, point, path))
            if missing:
                yield PlannedRoles(source=source, into=into, dump=to_path_text(path), roles=missing)


def create_roles(
    installation: Installation,
    repository: Repository,
    point: RecoveryPoint,
    planned: Sequence[PlannedRoles],
    journal: RecoveryJournal,
) -> None:
    """Create the roles of a plan that the servers still lack."""
    for roles in planned:
        journal.write(ROLES, source=roles.source, roles=len(roles.roles))
        roles.create(installation, repository, point)
