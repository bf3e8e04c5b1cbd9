"""One write to the ledger: the rows it changes, and the one audit event that tells it.

Rules
- Every change goes through `Write`; at its end the rows it touched are read back, and their digests
  stand in the event. So the chain says what the database holds, not what we meant to write.
- The event's hash is open to every auditor; its seal is a MAC whose key is not in the database, so
  who holds the database alone can neither add an event nor rewrite those that no head covers yet.
- One event a transaction; a transaction that touched nothing and has nothing to say leaves none.
- The event comes last, under a lock on the chain's tail: on PostgreSQL writers work side by side
  until here.
- Statements that every transaction runs are built once: building one takes longer than running it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    desc,
    insert,
    select,
    text,
    tuple_,
    update,
)

from standfast.ledger.database import writing
from standfast.ledger.tables import as_stored, audit_event
from standfast.records import Json, JsonObject, canonical, digest, timestamp

GENESIS = "0" * 64
_ROW_DIGEST_HEX = 32
_KEYS_A_STATEMENT = 500  # SQLite's and PostgreSQL's limits on bound values are far above
_CHAIN_LOCK = 7_236_114  # any number that nothing else in this database locks

_WRITER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_TAIL = (
    select(audit_event.c.sequence, audit_event.c.hash)
    .order_by(desc(audit_event.c.sequence))
    .limit(1)
)

Key = tuple[Any, ...]
Values = Mapping[str, Any]


def row_digest(table: Table, row: RowMapping) -> str:
    """Give the digest of one row as the database holds it: column names and values, in order.

    `row` is of a statement over `as_stored(table)`.
    """
    plain = [
        [name, _plain(value)]
        for name, value in zip(table.columns.keys(), row.values(), strict=True)
    ]
    # Not `canonical`: its checks cost more than the hash, and these values are all ours. A lone
    # surrogate is what `reading_anything` makes of a byte that is not UTF-8.
    body = _WRITER.encode(plain)
    return hashlib.sha256(body.encode(errors="surrogatepass")).hexdigest()[:_ROW_DIGEST_HEX]


def _plain(value: Any) -> Json:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return [value.hex()]  # a list: SQLite would keep the same digits as text
    if isinstance(value, int):
        return int(value)  # SQLite keeps true as 1
    return [type(value).__name__, repr(value)]  # what no column of ours ever holds


@dataclass(kw_only=True)
class Write:
    """The hands that change rows inside one transaction."""

    connection: Connection
    actor: str
    subject: str
    action: str
    now: datetime
    seal: Callable[[str], str]  # gives the MAC over an event's hash
    detail: dict[str, Json] = field(default_factory=dict)
    _touched: dict[str, tuple[Table, dict[Key, None]]] = field(default_factory=dict)

    @property
    def is_postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def tell(self, **facts: Json) -> None:
        """Add facts to the event's detail; nothing personal."""
        self.detail.update(facts)

    def alone(self) -> None:
        """From here to the end no other transaction writes (SQLite: from its start anyway)."""
        if self.is_postgresql:
            self.connection.execute(text(f"SELECT pg_advisory_xact_lock({_CHAIN_LOCK})"))

    def insert(self, table: Table, *rows: Values) -> None:
        """Add rows; a key that is there already is an IntegrityError."""
        if rows:
            self.connection.execute(insert(table), [dict(row) for row in rows])
            self._touch(table, (_key_of(table, row) for row in rows))

    def insert_new(self, table: Table, *rows: Values) -> int:
        """Add the rows whose key is not there yet; give their number."""
        keyed = {_key_of(table, row): row for row in rows}
        there = set(self._keys_present(table, list(keyed)))
        new = {key: row for key, row in keyed.items() if key not in there}
        if not self.is_postgresql:  # nobody else writes now
            self.insert(table, *new.values())
            return len(new)
        if not new:
            return 0
        from sqlalchemy.dialects import postgresql  # 0.05 s that a ledger on SQLite never needs

        # Another writer may have added one since: its row stands, and only ours are told.
        added = self.connection.execute(
            postgresql.insert(table).on_conflict_do_nothing().returning(*table.primary_key.columns),
            [dict(row) for row in new.values()],
        )
        ours = {tuple(row) for row in added}
        if ours:
            self._touch(table, [key for key in new if key in ours])
        return len(ours)

    def update(
        self, table: Table, key: Key, *conditions: ColumnElement[bool], **values: Any
    ) -> bool:
        """Change one row if the conditions hold; say whether it did (compare-and-swap)."""
        changed = self.connection.execute(
            update(table).where(_has_key(table, key), *conditions).values(**values)
        )
        if changed.rowcount:
            self._touch(table, [key])
        return bool(changed.rowcount)

    def update_many(self, table: Table, rows: Sequence[Values]) -> None:
        """Change many rows, each given as its key and the columns to set (the same for all)."""
        if not rows:
            return
        names = _key_names(table)
        bound = {name: f"key_{name}" if name in names else f"set_{name}" for name in rows[0]}
        self.connection.execute(
            _change_by_key(table, tuple(rows[0])),
            [{bound[name]: value for name, value in row.items()} for row in rows],
        )
        self._touch(table, (_key_of(table, row) for row in rows))

    def _touch(self, table: Table, keys: Iterator[Key] | Sequence[Key] | Mapping[Key, Any]) -> None:
        self._touched.setdefault(table.name, (table, {}))[1].update(dict.fromkeys(keys))

    def _keys_present(self, table: Table, keys: Sequence[Key]) -> Iterator[Key]:
        statement = select(*table.primary_key.columns).where(_has_any_key(table))
        for part in _parts(keys):
            for row in self.connection.execute(statement, {"keys": _bound(part)}).all():
                yield tuple(row)

    def changes(self) -> dict[str, Json]:
        """Read back what was touched: table → [[key…, digest]…], in the order of touching."""
        found: dict[str, Json] = {}
        for name, (table, keys) in self._touched.items():
            digests: dict[Key, str] = {}
            for part in _parts(list(keys)):
                found_now = self.connection.execute(_by_keys(table), {"keys": _bound(part)})
                for row in found_now.mappings().all():
                    digests[_key_of(table, row)] = row_digest(table, row)
            found[name] = [[*key, digests[key]] for key in keys]
        return found

    def finish(self) -> None:
        """Append the event that tells this transaction."""
        changes = self.changes()
        if not changes and not self.detail:
            return
        self.alone()
        tail = self.connection.execute(_TAIL).first()
        event: dict[str, Json] = {
            "sequence": tail.sequence + 1 if tail else 1,
            "at": timestamp(self.now),
            "actor": self.actor,
            "subject": self.subject,
            "action": self.action,
            "detail": canonical(self.detail).decode(),
            "changes": canonical(changes).decode(),
            "previous": tail.hash if tail else GENESIS,
        }
        hash_ = event_hash(event)
        values = {**event, "at": self.now, "hash": hash_, "seal": self.seal(hash_)}
        self.connection.execute(insert(audit_event), values)


def event_hash(event: JsonObject) -> str:
    """Give the hash of one event: SHA-256 over its canonical form, the previous hash included."""
    return digest(event)


@contextmanager
def write(
    engine: Engine,
    *,
    actor: str,
    subject: str,
    action: str,
    now: datetime,
    seal: Callable[[str], str],
    detail: Mapping[str, Json] | None = None,
) -> Iterator[Write]:
    """Change rows in one transaction, told by one event; nothing stays when anything escapes."""
    with writing(engine) as connection:
        hands = Write(
            connection=connection,
            actor=actor,
            subject=subject,
            action=action,
            now=now,
            seal=seal,
            detail=dict(detail or {}),
        )
        yield hands
        hands.finish()


@cache
def _key_names(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key.columns)


def _key_of(table: Table, row: Mapping[Any, Any]) -> Key:
    return tuple(row[name] for name in _key_names(table))


def _has_key(table: Table, key: Key) -> ColumnElement[bool]:
    columns = table.primary_key.columns
    return and_(*(column == part for column, part in zip(columns, key, strict=True)))


@cache
def _by_keys(table: Table) -> Select[Any]:
    """Give the statement that reads rows back, as stored, by the keys that it is run with."""
    return select(*as_stored(table)).where(_has_any_key(table))


@cache
def _change_by_key(table: Table, columns: tuple[str, ...]) -> Update:
    """Give the statement that sets these columns, but for the key, in the row of the key."""
    keys = [column == bindparam(f"key_{column.name}") for column in table.primary_key.columns]
    settings: dict[str, Any] = {
        name: bindparam(f"set_{name}") for name in columns if name not in _key_names(table)
    }
    return update(table).where(and_(*keys)).values(settings)


def _has_any_key(table: Table) -> ColumnElement[bool]:
    """Match what is bound as `keys`: plain values where the key is one column, else tuples."""
    columns = list(table.primary_key.columns)
    wanted: BindParameter[Any] = bindparam("keys", expanding=True)
    return columns[0].in_(wanted) if len(columns) == 1 else tuple_(*columns).in_(wanted)


def _bound(keys: Sequence[Key]) -> list[Any]:
    return [key[0] if len(key) == 1 else key for key in keys]


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _KEYS_A_STATEMENT):
        yield keys[start : start + _KEYS_A_STATEMENT]
