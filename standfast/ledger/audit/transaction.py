"""Write transaction: inserts, updates, digests of rows, one audit event.

The audit events form a chain: each one contains the hash of the event before it.

Rules
- Every change goes through `Write`. At the end of the transaction, the changed rows are read back,
  and the event contains their digests. So the chain proves what the database contains, not what the
  program intended to write.
- Anybody can verify the hash of an event. The seal of an event is a MAC whose key is not in the
  database. So access to the database alone is not enough to add an event, or to rewrite events that
  no signature covers yet.
- Nothing is written with the keys of another ledger (database). If a second host with its own keys
  could write, every later verification would fail.
- A row of `VERIFIED_TABLES` is changed only while its digest equals the digest in its last event
  (`row_verification`). Otherwise the new event would confirm a manipulated value.
- A transaction has one event, or none if it changed nothing and has no detail. If the transaction
  concerns two incidents, it has a further event for the second incident, without changes
  (`add_event`).
- The event is inserted last, under a lock on the end of the chain. On PostgreSQL, transactions
  therefore run in parallel until they insert their event.
- SQL statements that every transaction uses are built once, because building a statement takes
  longer than running it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    desc,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from standfast.errors import Damaged
from standfast.ledger.audit.hash_chain import digest_of_row, next_event, refuse_other_keys
from standfast.ledger.audit.row_verification import VERIFIED_TABLES, RowVerifier
from standfast.ledger.database.bulk_write import Values, change_many, insert_many, insert_missing
from standfast.ledger.database.connections import writing
from standfast.ledger.schema.tables import as_stored, audit_event, incident
from standfast.records import Json, JsonObject

_KEYS_A_STATEMENT = 500  # far below the limits of SQLite and PostgreSQL on bound values
_CHAIN_LOCK = 7_236_114  # number of the PostgreSQL advisory lock; no other lock has it

_ENDS = select(audit_event.c.sequence, audit_event.c.hash, audit_event.c.seal)
_TAIL = _ENDS.order_by(desc(audit_event.c.sequence)).limit(1)
_FIRST = _ENDS.order_by(audit_event.c.sequence).limit(1)

Key = tuple[Any, ...]


def row_digest(table: Table, row: Sequence[Any]) -> str:
    """Return the digest of a stored row: names and values, in order.

    `row` comes from a statement over `as_stored(table)`.
    """
    return digest_of_row(table.name, _names_of(table), row)


@cache
def _names_of(table: Table) -> tuple[str, ...]:
    return tuple(table.columns.keys())


@dataclass(kw_only=True)
class Write:
    """Changes of rows in one transaction, and its audit event."""

    connection: Connection
    actor: str
    subject: str
    action: str
    now: datetime
    seal: Callable[[str], str]  # returns the MAC over an event's hash
    rows: RowVerifier
    detail: dict[str, Json] = field(default_factory=dict)
    _further: list[tuple[str, JsonObject]] = field(default_factory=list)  # subject, detail
    _touched: dict[str, tuple[Table, dict[Key, None]]] = field(default_factory=dict)
    _deleted: set[tuple[str, Key]] = field(default_factory=set)
    _read_back: dict[tuple[str, Key], str] = field(default_factory=dict)  # digests of rows

    @property
    def is_postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def add_detail(self, **facts: Json) -> None:
        """Add facts to the event's detail; they must not be personal."""
        self.detail.update(facts)

    def add_event(self, subject: str, detail: JsonObject) -> None:
        """Add an event of this action about another subject, without changes."""
        self._further.append((subject, detail))

    def exclude_writers(self) -> None:
        """Exclude other writers until the end of the transaction."""
        if self.is_postgresql:
            self.connection.execute(text(f"SELECT pg_advisory_xact_lock({_CHAIN_LOCK})"))

    def insert(self, table: Table, *rows: Values) -> None:
        """Insert rows; IntegrityError if a key exists."""
        if rows:
            insert_many(self.connection, table, rows)
            self._touch(table, (_key_of(table, row) for row in rows))

    def insert_new(self, table: Table, *rows: Values) -> int:
        """Insert the rows with a new key; return their number."""
        # On conflict, keep the existing row; audit only rows that were inserted.
        added = insert_missing(self.connection, table, rows) if rows else []
        self._record_returned(table, added)
        return len(added)

    def change_all(
        self, table: Table, statement: ReturningUpdate[Any], keys: Sequence[Key], **bound: Any
    ) -> dict[Key, Any]:
        """Run a statement that changes the rows of `keys`; return the new rows.

        The statement has the parameter `keys` and returns the columns `as_stored(table)`. The rows
        are returned by key, as stored.
        """
        found: dict[Key, Any] = {}
        for part in _parts(keys):
            given = {"keys": _bound(part), **bound}
            found |= self._record_returned(table, self.connection.execute(statement, given).all())
        return found

    def _record_returned(self, table: Table, rows: Sequence[Any]) -> dict[Key, Any]:
        """Record the rows that a writing statement returned; return them by key."""
        places = _key_places(table)
        found = {tuple([row[place] for place in places]): row for row in rows}
        if not found:
            return found
        self._touch(table, found)
        self._read_back.update(
            ((table.name, key), row_digest(table, row)) for key, row in found.items()
        )
        return found

    def update(
        self, table: Table, key: Key, *conditions: ColumnElement[bool], **values: Any
    ) -> bool:
        """Update one row if the conditions hold; return whether it was updated.

        Damaged if the row was changed outside this program.
        """
        self._refuse_changed(table, [key])
        return self.replace(table, key, *conditions, **values)

    def replace(
        self, table: Table, key: Key, *conditions: ColumnElement[bool], **values: Any
    ) -> bool:
        """Update one row, even if it was changed outside this program."""
        changed = self.connection.execute(
            update(table).where(_has_key(table, key), *conditions).values(**values)
        )
        if changed.rowcount:
            self._touch(table, [key])
        return bool(changed.rowcount)

    def update_many(
        self, table: Table, rows: Sequence[Values], *, is_checked: bool = False
    ) -> None:
        """Update many rows, each given as its key and the same columns.

        Damaged if a row was changed outside this program. A caller that has checked this already
        passes `is_checked`.
        """
        if not rows:
            return
        if not is_checked:
            self._refuse_changed(table, [_key_of(table, row) for row in rows])
        change_many(self.connection, table, rows)
        self._touch(table, (_key_of(table, row) for row in rows))

    def delete(self, table: Table, keys: Sequence[Key]) -> None:
        """Delete rows; the event names each of them."""
        for part in _parts(keys):
            self.connection.execute(
                delete(table).where(_has_any_key(table)), {"keys": _bound(part)}
            )
        self._touch(table, keys)
        self._deleted.update((table.name, key) for key in keys)

    def _refuse_changed(self, table: Table, keys: Sequence[Key]) -> None:
        """Raise Damaged if a row differs from the digest in its last event.

        Otherwise the event of the next change would confirm the manipulated row.
        """
        if table.name not in VERIFIED_TABLES:
            return
        touched = self._touched.get(table.name, (table, {}))[1]
        for part in _parts([key for key in keys if key not in touched]):
            # The same lock as an UPDATE: it does not block inserts of rows that refer to these
            # rows.
            statement = _by_keys(table).with_for_update(key_share=True)
            found = self.connection.execute(statement, {"keys": _bound(part)}).all()
            owners = {_incident_of(table, row) for row in found}
            for owner in owners:
                of_owner = [row for row in found if _incident_of(table, row) == owner]
                refuse_changed_rows(self.rows, self.connection, table, of_owner, incident_id=owner)

    def _touch(self, table: Table, keys: Iterator[Key] | Sequence[Key] | Mapping[Key, Any]) -> None:
        touched = self._touched.setdefault(table.name, (table, {}))[1]
        for key in keys:
            if key in touched:
                self._read_back.pop((table.name, key), None)  # its content has changed
            touched[key] = None

    def changes(self) -> dict[str, Json]:
        """Return the changed rows: table → [[key…, digest]…], in order.

        A deleted row has the digest null.
        """
        found: dict[str, Json] = {}
        for name, (table, keys) in self._touched.items():
            places = _key_places(table)
            digests = {
                key: self._read_back[name, key] for key in keys if (name, key) in self._read_back
            }
            for part in _parts([key for key in keys if key not in digests]):
                found_now = self.connection.execute(_by_keys(table), {"keys": _bound(part)})
                for row in found_now.all():
                    digests[tuple([row[place] for place in places])] = row_digest(table, row)
            found[name] = [
                [*key, None if (name, key) in self._deleted else digests[key]] for key in keys
            ]
        return found

    def finish(self) -> None:
        """Append the events of this transaction."""
        changes = self.changes()
        if not changes and not self.detail and not self._further:
            return
        self.exclude_writers()
        tail = self.connection.execute(_TAIL).first()
        if tail:
            refuse_other_keys(self.seal, (tail.hash, tail.seal), self._first)
        end = (tail.sequence, tail.hash) if tail else None
        end = self._append(end, self.subject, self.detail, changes)
        for subject, detail in self._further:
            end = self._append(end, subject, detail, {})

    def _append(
        self, end: tuple[int, str] | None, subject: str, detail: JsonObject, changes: JsonObject
    ) -> tuple[int, str]:
        """Append one event after `end` (sequence, hash); return the new end."""
        event = next_event(
            end,
            at=self.now,
            actor=self.actor,
            subject=subject,
            action=self.action,
            detail=detail,
            changes=changes,
        )
        digest = str(event["hash"])
        values = {**event, "at": self.now, "seal": self.seal(digest)}
        self.connection.execute(insert(audit_event), values)
        return (end[0] if end else 0) + 1, digest

    def _first(self) -> tuple[str, str] | None:
        row = self.connection.execute(_FIRST).first()
        return (row.hash, row.seal) if row else None


@contextmanager
def write(
    engine: Engine,
    *,
    actor: str,
    subject: str,
    action: str,
    now: datetime,
    seal: Callable[[str], str],
    rows: RowVerifier,
    detail: Mapping[str, Json] | None = None,
) -> Iterator[Write]:
    """Change rows in one transaction with one event; roll back on errors."""
    with writing(engine) as connection:
        changes = Write(
            connection=connection,
            actor=actor,
            subject=subject,
            action=action,
            now=now,
            seal=seal,
            rows=rows,
            detail=dict(detail or {}),
        )
        yield changes
        changes.finish()


def refuse_changed_rows(
    rows: RowVerifier,
    connection: Connection,
    table: Table,
    found: Sequence[Any],
    *,
    incident_id: str | None = None,
) -> None:
    """Raise Damaged if a locked row was changed outside this program."""
    changed = rows.differing(connection, table, found, incident_id=incident_id)
    if changed:
        raise damaged(table, changed)


def damaged(table: Table, keys: Sequence[Key]) -> Damaged:
    """Return the error for rows changed outside this program."""
    name = f"{table.name} {'/'.join(ascii(part).strip(chr(39)) for part in keys[0])}"
    more = f", and {len(keys) - 1} more" if len(keys) > 1 else ""
    return Damaged(
        f"{name}{more}: changed outside the ledger. Nothing was done. Run `standfast audit verify`."
    )


def _incident_of(table: Table, row: Any) -> str | None:
    if table is incident:
        return cast("str", row.id)
    return cast("str", row.incident) if "incident" in table.columns else None


@cache
def _key_names(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key.columns)


@cache
def _key_places(table: Table) -> tuple[int, ...]:
    names = table.columns.keys()
    return tuple(names.index(name) for name in _key_names(table))


def _key_of(table: Table, row: Mapping[Any, Any]) -> Key:
    return tuple([row[name] for name in _key_names(table)])


def _has_key(table: Table, key: Key) -> ColumnElement[bool]:
    columns = table.primary_key.columns
    return and_(*(column == part for column, part in zip(columns, key, strict=True)))


@cache
def _by_keys(table: Table) -> Select[Any]:
    """Return the statement that reads stored rows by their keys."""
    return select(*as_stored(table)).where(_has_any_key(table))


def _has_any_key(table: Table) -> ColumnElement[bool]:
    """Return the condition that a row's key is among the bound `keys`."""
    columns = list(table.primary_key.columns)
    wanted: BindParameter[Any] = bindparam("keys", expanding=True)
    return columns[0].in_(wanted) if len(columns) == 1 else tuple_(*columns).in_(wanted)


def _bound(keys: Sequence[Key]) -> list[Any]:
    return [key[0] if len(key) == 1 else key for key in keys]


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _KEYS_A_STATEMENT):
        yield keys[start : start + _KEYS_A_STATEMENT]
