"""Comparison of rows with the digests in their last event; checkpoints.

An audit event describes one transaction: it contains the digests of the changed rows and the hash
of the event before it. An effect is one change of one target, such as one locked account. Each
planning of a step is a round of effects.

Rules
- A row was changed outside this program if its digest is not the digest in the last event about
  this row. An older copy of the row is found too, because a later event has another digest.
- The hash and seal (MAC) of each event are verified, from a checkpoint to the newest event. A
  checkpoint is an event with the digests of all rows of the tables in `_LASTING`, so that no
  command has to read the events of a year. The rows of an incident are verified from the last
  checkpoint before the incident's first event.
- Each process verifies an event once. An incident may have a million effects, and the digest of an
  effect takes 45 bytes. At most 300,000 digests of effects stay in memory, and the rest is in a
  temporary file.
- A ledger (the database) was rolled back if it lacks an event that this process has read, or that
  its witness (a file with signed hashes of events) names.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, desc, func, select

from standfast.errors import Damaged
from standfast.ledger.audit.hash_chain import GENESIS, Chain, digest_of_row
from standfast.ledger.schema.tables import (
    approval,
    as_stored,
    attempt,
    audit_event,
    effect,
    incident,
    installation,
    notice,
    passkey,
    person,
    step,
)
from standfast.records import Json

CHECKPOINT = ("checkpoint", "audit.checkpoint")  # subject and action
VERIFIED_TABLES = frozenset(
    table.name
    for table in (installation, person, passkey, incident, step, approval, notice, attempt, effect)
)

EVENTS_A_CHECKPOINT = 1000  # events between checkpoints; verifying 1,000 takes about 20 ms

_LASTING = frozenset(
    {installation.name, person.name, passkey.name}
)  # tables without rows of incidents
_EVENTS_PER_READ = 200
_EFFECTS_PER_READ = 1000
_CACHE = -16_000  # kilobytes in memory; the rest is in an unnamed temporary file
_READS = 3  # a difference must be found in so many reads: another process may be writing
_TOKEN_HEX = 15  # the first digits of an effect's token: 60 bits

Key = tuple[Any, ...]


class RowVerifier:
    """The digests of rows in verified events; safe for many threads."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._guard = threading.RLock()
        self._first_events: dict[str, int] = {}  # by incident
        self._rounds: dict[tuple[str, str, int], int] = {}  # by incident, step and round
        self._is_witnessed = False
        self._has_begun = False
        self._has_effects = False
        self._begin(None)

    def changed(
        self,
        connection: Connection,
        table: Table,
        *conditions: ColumnElement[bool],
        incident_id: str | None = None,
    ) -> list[Key]:
        """Return the keys of rows changed outside this program.

        In a transaction that only reads, call this before any other statement.
        """
        with self._guard:
            for _ in range(_READS):
                rows = connection.execute(select(*as_stored(table)).where(*conditions)).all()
                found = self.differing(connection, table, rows, incident_id=incident_id)
                if not found:
                    break
            return found

    def changed_effects(
        self,
        open_view: Callable[[], AbstractContextManager[Connection]],
        *conditions: ColumnElement[bool],
        incident_id: str,
    ) -> list[Key]:
        """Return up to 1,000 keys of effects changed outside this program."""
        statement = select(*as_stored(effect)).where(*conditions)
        while True:
            suspects: list[Key] = []
            with open_view() as connection:
                with self._guard:
                    view = self._view(connection, incident_id, has_effects=True)
                found = connection.execute(
                    statement, execution_options={"yield_per": _EFFECTS_PER_READ}
                )
                for rows in found.partitions():
                    suspects += view._differing(effect, rows)
                    if len(suspects) > _EFFECTS_PER_READ:
                        break
            if not suspects:
                return []
            # Another process may have changed these rows during the read. Read them again.
            tokens = effect.c.token.in_([key[0] for key in suspects[:_EFFECTS_PER_READ]])
            with open_view() as connection:
                if changed := self.changed(connection, effect, tokens, incident_id=incident_id):
                    return changed
            if len(suspects) <= _EFFECTS_PER_READ:
                return []

    def differing(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[Sequence[Any]],
        *,
        incident_id: str | None = None,
    ) -> list[Key]:
        """Return the keys of the rows that differ from the audit chain.

        `rows` come from a statement over `as_stored(table)`; the caller has locked them if other
        processes may write them. `incident_id` is the incident of the rows. Damaged if the chain
        itself does not verify.
        """
        if not rows:
            return []
        with self._guard:
            return self._view(connection, incident_id, has_effects=table is effect)._differing(
                table, rows
            )

    def count_planned_effects(
        self, connection: Connection, incident_id: str, step_name: str, round_: int
    ) -> int:
        """Return the number of effects that a round planned.

        This includes pages (messages that ask for approval).
        """
        with self._guard:
            view = self._view(connection, incident_id, has_effects=True)
            number = view._rounds.get((incident_id, step_name, round_))
            statement = "SELECT count(*) FROM effect WHERE planned_for = ?"
            return int(view._effects.execute(statement, (number,)).fetchone()[0])

    def refuse_rolled_back(self, connection: Connection) -> None:
        """Raise Damaged when the ledger lacks the newest head of its witness."""
        self._chain.refuse_rolled_back(
            lambda sequence: connection.scalar(
                select(audit_event.c.hash).where(audit_event.c.sequence == sequence)
            )
        )

    def is_checkpoint_due(self, connection: Connection) -> bool:
        """Return whether a new checkpoint is due."""
        newest = connection.scalar(select(func.max(audit_event.c.sequence))) or 0
        last = _checkpoint_before(connection, None)
        return newest - (last["sequence"] if last else 0) >= EVENTS_A_CHECKPOINT

    def checkpoint(self, connection: Connection) -> dict[str, Json]:
        """Return a checkpoint: table → [[key…, digest]…] for tables in `_LASTING`."""
        with self._guard:
            digests = self._view(connection, None, has_effects=False)._digests
            found: dict[str, Json] = {name: [] for name in sorted(_LASTING)}
            for (name, key), digest in sorted(digests.items()):
                if name in _LASTING and digest is not None:
                    cast("list[Json]", found[name]).append([*key, digest])
        return found

    def _differing(self, table: Table, rows: Sequence[Sequence[Any]]) -> list[Key]:
        names = tuple(table.columns.keys())
        places = [names.index(column.name) for column in table.primary_key.columns]
        by_key = {
            tuple([row[place] for place in places]): digest_of_row(table.name, names, row)
            for row in rows
        }
        with self._guard:
            known = self._known_digests(table, by_key)
        return [key for key, digest in by_key.items() if known.get(key) != digest]

    def _begin(self, start: Mapping[str, Any] | None) -> None:
        self._start = self._sequence = start["sequence"] if start else 0
        self._hash = start["hash"] if start else GENESIS
        self._digests: dict[tuple[str, Key], str | None] = {}
        self._effects = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._effects.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = {_CACHE};"
            "CREATE TABLE effect (token INTEGER PRIMARY KEY, digest BLOB, planned_for INTEGER)"
        )
        if start:
            self._add_digests(json.loads(start["detail"]), start)

    def _view(
        self, connection: Connection, incident_id: str | None, *, has_effects: bool
    ) -> "RowVerifier":
        """Verify new events; return a verifier for the snapshot of `connection`.

        `incident_id` is the incident of the compared rows; `has_effects` means that effects are
        among these rows.
        """
        is_newest = bool(connection.get_execution_options().get("standfast_writes"))
        if is_newest and not self._is_witnessed:
            self.refuse_rolled_back(connection)
            self._is_witnessed = True
        first = None if incident_id is None else self._first_event(connection, incident_id)
        lacks_effects = has_effects and not self._has_effects
        if not self._has_begun or lacks_effects or (first is not None and first <= self._start):
            known = [
                checkpoint
                for checkpoint in (first, self._start if self._has_begun else None)
                if checkpoint
            ]
            limit = min(known, default=None)
            self._has_effects |= has_effects
            self._begin(_verified_checkpoint(self._chain, connection, limit))
            self._has_begun = True
        if not self._is_seen(connection):
            if is_newest:
                raise Damaged(
                    f"event {self._sequence} of the ledger: missing, or not the one that this "
                    "process has seen: the ledger was rolled back to an older copy, or "
                    "rewritten. Nothing was done. Restore the newer copy"
                )
            # Another thread has verified events that are not in this connection's snapshot. Use a
            # new verifier, which reads only the events in the snapshot.
            return RowVerifier(self._chain)._view(connection, incident_id, has_effects=has_effects)
        try:
            self._verify_new(connection)
        except BaseException:
            self._has_begun = False  # read all events again next time: some may be processed now
            raise
        return self

    def _is_seen(self, connection: Connection) -> bool:
        """Return whether the connection's snapshot has the newest verified event."""
        if not self._sequence:
            return True
        statement = select(audit_event.c.hash).where(audit_event.c.sequence == self._sequence)
        return bool(connection.scalar(statement) == self._hash)

    def _verify_new(self, connection: Connection) -> None:
        while True:
            events = connection.execute(
                select(*as_stored(audit_event))
                .where(audit_event.c.sequence > self._sequence)
                .order_by(audit_event.c.sequence)
                .limit(_EVENTS_PER_READ)
            ).mappings()
            read = 0
            for read, event in enumerate(events, 1):  # noqa: B007 - read after the loop
                self._verify(cast("Mapping[str, Any]", event))
            if read < _EVENTS_PER_READ:
                return

    def _verify(self, event: Mapping[str, Any]) -> None:
        sequence = event["sequence"]
        problem = self._chain.problem_of_event(event, self._hash)
        if sequence != self._sequence + 1:
            problem = f"event {self._sequence + 1} is missing before it"
        if problem:
            raise Damaged(
                f"event {sequence} of the ledger: {problem}. Nothing was done. Run `standfast "
                "audit verify`"
            )
        changes = event["changes"]
        if any(f'"{name}":' in changes for name in VERIFIED_TABLES if self._wants(name)):
            self._add_digests(json.loads(changes), event)
        self._sequence, self._hash = sequence, event["hash"]

    def _wants(self, name: str) -> bool:
        return name != effect.name or self._has_effects

    def _add_digests(
        self, changes: Mapping[str, Sequence[Sequence[Any]]], event: Mapping[str, Any]
    ) -> None:
        for name, rows in changes.items():
            if name == effect.name:
                if self._has_effects:
                    self._add_effect_digests(rows, event)
            elif name in VERIFIED_TABLES:
                for *key, digest in rows:
                    self._digests[name, tuple(key)] = digest

    def _add_effect_digests(self, rows: Sequence[Sequence[Any]], event: Mapping[str, Any]) -> None:
        detail = json.loads(event["detail"])  # names the round of planned effects
        planned_for = (event["subject"], detail.get("step", ""), detail.get("round", 0))
        number = self._rounds.setdefault(planned_for, len(self._rounds))
        self._effects.execute("BEGIN")
        self._effects.executemany(
            "INSERT INTO effect VALUES (?, ?, ?)"
            " ON CONFLICT (token) DO UPDATE SET digest = excluded.digest",
            [(_number(token), bytes.fromhex(digest), number) for token, digest in rows if digest],
        )
        self._effects.executemany(
            "DELETE FROM effect WHERE token = ?",
            [(_number(token),) for token, digest in rows if not digest],
        )
        self._effects.execute("COMMIT")

    def _known_digests(self, table: Table, keys: Mapping[Key, str]) -> dict[Key, str | None]:
        if table is not effect:
            return {key: self._digests.get((table.name, key)) for key in keys}
        tokens: dict[int, Key] = {}
        for key in keys:
            with suppress(ValueError, TypeError):  # the row with this token was manipulated
                tokens[_number(key[0])] = key
        found = self._effects.execute(
            "SELECT token, digest FROM effect WHERE token IN (SELECT value FROM json_each(?))",
            (json.dumps([*tokens]),),
        )
        return {tokens[token]: digest.hex() for token, digest in found}

    def _first_event(self, connection: Connection, incident_id: str) -> int | None:
        if incident_id not in self._first_events:
            statement = select(func.min(audit_event.c.sequence)).where(
                audit_event.c.subject == incident_id
            )
            first = connection.scalar(statement)
            if first is None:
                return None
            self._first_events[incident_id] = first
        return self._first_events[incident_id]


def _checkpoint_before(connection: Connection, sequence: int | None) -> Mapping[str, Any] | None:
    """Return the newest checkpoint before an event, unverified.

    Without a `sequence`, return the newest checkpoint.
    """
    subject, action = CHECKPOINT
    statement = select(*as_stored(audit_event)).where(
        audit_event.c.subject == subject, audit_event.c.action == action
    )
    if sequence is not None:
        statement = statement.where(audit_event.c.sequence < sequence)
    newest = statement.order_by(desc(audit_event.c.sequence)).limit(1)
    return cast("Mapping[str, Any] | None", connection.execute(newest).mappings().first())


def _verified_checkpoint(
    chain: Chain, connection: Connection, sequence: int | None
) -> Mapping[str, Any] | None:
    """Return the newest checkpoint before an event; Damaged if it is forged."""
    found = _checkpoint_before(connection, sequence)
    if found is not None and (problem := chain.problem_of_event(found, found["previous"])):
        raise Damaged(
            f"event {found['sequence']} of the ledger: {problem}. Nothing was done. Run `standfast "
            "audit verify`"
        )
    return found


def _number(token: str) -> int:
    return int(token[:_TOKEN_HEX], 16)
