"""Replacement of a MariaDB database by a move of its content; reversal.

Rules
- The dump is loaded into a database with another name, on which no account has rights: the
  incomplete database. The existing database stays in use until the load is complete.
- MariaDB cannot rename a database. Therefore the content of a database, its tables and its stored
  code, is moved to another database. The timeline of the incident has an event before and after
  each move. The event contains the names of the tables and code, encrypted with the incident's key.
- The progress is read from the timeline and not from the database, because the users of the
  database could change it there.
- If a call is interrupted, the next call first reverses it. The previous content gets its name
  back, and the loaded content is kept in an incomplete database.
- Existing content is moved away only if it has the same names of tables and code as it had when the
  recovery was planned.
- If another program creates a table in the database during the recovery, the reversal moves that
  table to an incomplete database.
- A database is dropped only if the recovery created it, it is empty, and its character set is
  unchanged. Thus an undo leaves no empty database under a name that was free before the recovery.
"""

import base64
from dataclasses import dataclass
from typing import Any, cast

from backup.targets import Stream
from backup.targets.mariadb import MariadbTarget
from backup.targets.mariadb_move import DatabaseContent
from standfast.errors import Refused
from standfast.records import Json
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.recovery.database_replacement import DatabaseReplacement
from standfast.usecases.recovery.recovery_journal import (
    LOADING,
    MOVED,
    MOVING,
    REPLACING,
    RecoveryJournal,
)

_CONTEXT = "database move"
_PREVIOUS, _LOADED = "previous", "loaded"  # moved content: from before the recovery, from the dump


@dataclass(frozen=True, kw_only=True)
class MariadbRecovery:
    """One database on a server, and the timeline events of its recovery."""

    server: MariadbTarget
    journal: RecoveryJournal
    source: str
    replacement: DatabaseReplacement

    @property
    def _name(self) -> str:
        return self.replacement.database

    def is_away(self) -> bool:
        """Return whether the previous content is still moved to another database."""
        moves = self.journal.moves(self.source, self._name)
        is_interrupted = bool(moves) and moves[-1].action == MOVING
        return is_interrupted or self._place(_PREVIOUS) != self._name

    def load(self, stream: Stream) -> int:
        """Replace the content with that of a dump; return the loaded bytes.

        Raise Refused if the database has changed since the recovery was planned.
        """
        aside = self.replacement.set_aside if self.replacement.has_data else None
        with translated_errors(f"loading database {self._name}"):
            self.revert()
            self._refuse_changed()
            staged = self.replacement.free_incomplete_name(self.server)
            self._write(LOADING, staged=staged)
            loaded, size = self.server.stage(staged, self._name, stream)
            self._write(REPLACING, set_aside=aside)
            self._refuse_changed()
            if aside is not None:
                self._move(_PREVIOUS, self._name, aside, self.server.content(self._name))
            if self.server.size_bytes(self._name):
                raise Refused(
                    f"database {self._name}: a program wrote to it while it was replaced. Stop"
                    " that program, then retry the step."
                )
            self._move(_LOADED, staged, self._name, loaded)
        return size

    def undo(self) -> None:
        """Move the previous content back to its name; keep the restored content."""
        self.revert(self.replacement.withdrawn)

    def revert(self, withdrawn: str = "") -> None:
        """Move the previous content back to its name after a failed call.

        If other content has this name now, it is moved first: to the database `withdrawn` if that
        name is not empty and not in use, otherwise to an incomplete database.
        """
        with translated_errors(f"returning database {self._name}"):
            self._finish()
            previous = self._place(_PREVIOUS)
            is_other = previous != self._name or self._place(_LOADED) == self._name
            if is_other and self.server.size_bytes(self._name):
                is_free = withdrawn and not self.server.database_id(withdrawn)
                kept_as = (
                    withdrawn if is_free else self.replacement.free_incomplete_name(self.server)
                )
                self._move(_LOADED, self._name, kept_as, self.server.content(self._name))
            if previous != self._name:
                self._move(_PREVIOUS, previous, self._name, self._recorded(_PREVIOUS))
            self._drop_created()

    def _refuse_changed(self) -> None:
        planned = self.replacement
        if planned.has_data:
            found = self.server.database_id(self._name)
            is_same = found == planned.database_id or not planned.database_id
        else:
            is_same = self.server.size_bytes(self._name) == 0
        if not is_same:
            raise Refused(
                f"database {self._name}: its tables or stored code changed after the plan was made."
                " Stop its programs, close this recovery, and open another one."
            )

    def _move(self, moved: str, old: str, new: str, content: DatabaseContent) -> None:
        if new != self._name and self.server.size_bytes(new):
            raise Refused(
                f"database {new}: it exists, and the recovery needs this name. Rename it."
            )
        creates = new == self._name and not self.server.database_id(new)
        installation, incident = self.journal.installation, self.journal.incident
        stored = {"content": content.as_json()}
        sealed = installation.ledger.cipher.seal(incident, _CONTEXT, stored)
        text = base64.b64encode(sealed).decode()
        self._write(MOVING, moved=moved, old=old, new=new, creates=creates, sealed=text)
        self._carry_out(moved, old, new, content)

    def _carry_out(self, moved: str, old: str, new: str, content: DatabaseContent) -> None:
        is_aside = new != self._name
        kept_as = "" if is_aside else self.replacement.free_incomplete_name(self.server)
        self.server.move(content, old, new, is_aside=is_aside, kept_as=kept_as)
        if old != self._name:
            self.server.drop_if_empty(old, content)
        self._write(MOVED, moved=moved, old=old, new=new)

    def _drop_created(self) -> None:
        """Drop the database if it is empty and the recovery created it."""
        for event in reversed(self.journal.moves(self.source, self._name)):
            if (event.action, event.detail["new"]) == (MOVING, self._name):
                if event.detail.get("creates"):
                    self.server.drop_if_empty(
                        self._name, self._decrypt_content(str(event.detail["sealed"]))
                    )
                return

    def _finish(self) -> None:
        """Complete a move that an interrupted call began."""
        moves = self.journal.moves(self.source, self._name)
        if moves and moves[-1].action == MOVING:
            detail = moves[-1].detail
            content = self._decrypt_content(str(detail["sealed"]))
            self._carry_out(str(detail["moved"]), str(detail["old"]), str(detail["new"]), content)

    def _place(self, moved: str) -> str:
        """Return the database that now has the content `moved`; "" if none."""
        place = self._name if moved == _PREVIOUS else ""
        for event in self.journal.moves(self.source, self._name):
            if event.action == MOVED and event.detail["moved"] == moved:
                place = str(event.detail["new"])
        return place

    def _recorded(self, moved: str) -> DatabaseContent:
        """Return the tables and code that the last move of `moved` recorded."""
        found = [
            event.detail
            for event in self.journal.moves(self.source, self._name)
            if event.action == MOVING and event.detail["moved"] == moved
        ]
        return self._decrypt_content(str(found[-1]["sealed"]))

    def _decrypt_content(self, sealed: str) -> DatabaseContent:
        cipher = self.journal.installation.ledger.cipher
        stored = cipher.open(self.journal.incident, _CONTEXT, base64.b64decode(sealed))
        return DatabaseContent.from_json(cast("dict[str, Any]", stored["content"]))

    def _write(self, action: str, **detail: Json) -> None:
        self.journal.write(action, source=self.source, database=self._name, **detail)
