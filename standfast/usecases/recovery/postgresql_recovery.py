"""Replacement of a PostgreSQL database by renames, and its reversal.

Rules
- A dump restores the settings of a database only if the new database has the original name.
  Therefore the existing database is set aside (renamed) before the load. It gets its name back if
  the load or a check fails.
- A database is identified by its OID, because a rename does not change the OID. Only the database
  with the OID of the approved plan is set aside. An empty database is set aside too, so that an
  undo returns its owner and its settings.
- If the server refuses a statement of the dump, the load fails, because a table may be missing. The
  usual cause is a role that does not exist. The error message states how to restore roles.
- No database is dropped. If a failed or interrupted call loaded a database, that database is
  renamed, and a person decides what to do with it.
"""

from dataclasses import dataclass

from backup.targets import Stream
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import Refused, StandfastError
from standfast.plurals import counted
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.recovery.database_replacement import DatabaseReplacement
from standfast.usecases.recovery.recovery_journal import (
    LOADED,
    LOADING,
    REPLACING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)


@dataclass(frozen=True, kw_only=True)
class PostgresqlRecovery:
    """One database on a server, and the timeline events of its recovery."""

    server: PostgresqlTarget
    journal: RecoveryJournal
    source: str
    replacement: DatabaseReplacement

    @property
    def _name(self) -> str:
        return self.replacement.database

    def load(self, stream: Stream) -> int:
        """Replace the database with a dump; return the bytes that were loaded.

        Raise Refused if the database has data that did not exist when the recovery was planned.
        """
        last = self.journal.last_of(self.source, self._name, LOADING, LOADED, RETURNING, RETURNED)
        if last == RETURNING:  # an earlier call could not put the previous database back
            self.revert()
        aside = self.replacement.set_aside if self.replacement.existed else None
        self._write(REPLACING, set_aside=aside)
        self._make_room(was_loading=last == LOADING)
        # Record LOADING only after the rename: the event states that the recovery itself created
        # the database that has this name.
        self._write(LOADING)
        with translated_errors(f"loading database {self._name}"):
            result = self.server.restore(self._name, self._name, stream)
        if result.problems_total:
            raise StandfastError(
                f"database {self._name}: {counted(result.problems_total, 'statement')} of the dump "
                f"failed, first: {result.problems[0] if result.problems else ''}. The previous "
                "database has its name back. Create missing roles, or restore them with "
                f"`standfast backup restore POINT {self.source}/globals.sql --globals --into "
                "ADDRESS`. Then retry the step."
            )
        return result.bytes

    def revert(self) -> None:
        """Give the previous database its name back after a failed call."""
        planned = self.replacement
        with translated_errors(f"returning database {self._name}"):
            now = self.server.database_id(self._name)
            if now and now != planned.database_id:
                self._rename_incomplete()
            if planned.existed and self._is_set_aside():
                self.server.rename(planned.set_aside, self._name)

    def undo(self) -> None:
        """Rename the restored database, and give the previous one its name back."""
        planned = self.replacement
        with translated_errors(f"returning database {self._name}"):
            now = self.server.database_id(self._name)
            if planned.existed and now == planned.database_id:
                return  # an earlier call renamed it
            if planned.existed and not self._is_set_aside():
                raise Refused(f"database {planned.set_aside}: it is gone. Nothing can be put back.")
            if now and not self.server.database_id(planned.withdrawn):
                self.server.rename(self._name, planned.withdrawn)
            if planned.existed:
                self.server.rename(planned.set_aside, self._name)

    def _make_room(self, *, was_loading: bool) -> None:
        """Set the existing database aside, so that its name is free.

        `was_loading` is True if an earlier call created a database with this name and began to load
        a dump into it.
        """
        planned = self.replacement
        with translated_errors(f"replacing database {self._name}"):
            now = self.server.database_id(self._name)
            if not now:
                return
            is_planned = now == planned.database_id
            is_new_data = not planned.has_data and self.server.size_bytes(self._name) > 0
            if is_planned and not is_new_data:
                self.server.rename(self._name, planned.set_aside)
            elif was_loading and not is_planned:
                self._rename_incomplete()
            elif self.server.size_bytes(self._name):
                raise Refused(
                    f"database {self._name}: its data appeared after the plan was made. Rename the "
                    "database, then retry the step."
                )

    def _is_set_aside(self) -> bool:
        planned = self.replacement
        return self.server.database_id(planned.set_aside) == planned.database_id

    def _rename_incomplete(self) -> None:
        self.server.rename(self._name, self.replacement.free_incomplete_name(self.server))

    def _write(self, action: str, **detail: str | None) -> None:
        self.journal.write(action, source=self.source, database=self._name, **detail)
