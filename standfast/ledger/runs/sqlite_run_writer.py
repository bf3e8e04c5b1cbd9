"""Plain SQL that records backup runs in a SQLite ledger (database).

This module avoids the import of SQLAlchemy, which takes 0.2 s: a whole backup without changes takes
only 0.3 s.

Rules
- This module writes the same bytes as `run_store.Runs` and `Auditor.sign_head`, in the same
  transactions and under the same lock. `tests/ledger/runs/test_sqlite_run_writer.py` compares the
  written rows.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from standfast.ledger.audit.hash_chain import Chain, digest_of_row, next_event, refuse_other_keys
from standfast.ledger.database.sqlite_file import (
    HEAD,
    begin_writing,
    connected,
    ledger_missing_error,
    not_a_ledger_error,
    refuse_concurrent_write,
    refused,
    schema_mismatch_error,
    unavailable,
    write_queue,
)
from standfast.ledger.runs.run_record import NOWHERE, Origin, RunRecord, running_summary
from standfast.ledger.schema.column_encryption import ColumnCipher
from standfast.ledger.schema.row_ids import new_token
from standfast.records import JsonObject, canonical, moment, timestamp


class SqliteRunWriter:
    """The runs of a ledger in a SQLite file; safe for several threads."""

    def __init__(self, path: str, keys: Path, witness: Path) -> None:
        """Raise ConfigurationError unless `path` is a ledger of this schema."""
        self._path = path
        self._refuse_other_schema()
        self._cipher = ColumnCipher(keys)
        self._chain = Chain(self._cipher, witness)

    def start(
        self,
        kind: str,
        subject: str,
        way: str,
        actor: str,
        now: datetime,
        *,
        origin: Origin = NOWHERE,
    ) -> str:
        """Do the same as `Runs.start`."""
        token = new_token()
        with self._write_transaction() as connection:
            connection.execute(
                "INSERT INTO run (id, kind, subject, way, state, started_at, ended_at, summary)"
                " VALUES (?, ?, ?, ?, 'running', ?, NULL, ?)",
                (token, kind, subject, way, timestamp(now), running_summary(origin)),
            )
            self._append_event(
                connection, token, f"{kind}.started", {"set": subject, "way": way}, actor, now
            )
        return token

    def finish(
        self, token: str, kind: str, state: str, summary: JsonObject, actor: str, now: datetime
    ) -> None:
        """Do the same as `Runs.finish`."""
        with self._write_transaction() as connection:
            connection.execute(
                "UPDATE run SET state = ?, ended_at = ?, summary = ? WHERE id = ?",
                (state, timestamp(now), canonical(summary).decode(), token),
            )
            self._append_event(connection, token, f"{kind}.{state}", summary, actor, now)

    def all(
        self,
        kind: str,
        subject: str | None = None,
        *,
        states: Collection[str] = (),
        most: int | None = None,
    ) -> list[RunRecord]:
        """Do the same as `Runs.all`."""
        rows = self._read(
            "SELECT id, kind, subject, way, state, started_at, ended_at, summary FROM run"
            " WHERE kind = ? AND (? IS NULL OR subject = ?)"
            " AND (? OR state IN (SELECT value FROM json_each(?)))"
            " ORDER BY started_at DESC LIMIT ?",
            (
                kind,
                subject,
                subject,
                not states,
                json.dumps([*states]),
                -1 if most is None else most,
            ),
        )
        return [
            RunRecord(
                id=row["id"],
                kind=row["kind"],
                subject=row["subject"],
                way=row["way"],
                state=row["state"],
                started_at=moment(row["started_at"]),
                ended_at=moment(row["ended_at"]) if row["ended_at"] else None,
                summary=json.loads(row["summary"]),
            )
            for row in rows
        ]

    def sign_head(self, now: datetime) -> int:
        """Do the same as `Auditor.sign_head`."""
        with self._connect() as connection:
            with self._transaction(connection):
                end = self._signed_end(connection, now)
            self._chain.send_to_witness(
                lambda sequence: _rows(
                    connection,
                    "SELECT sequence, hash, signed_at, key, signature FROM audit_head"
                    " WHERE sequence > ? ORDER BY sequence",
                    (sequence,),
                )
            )
        return end[0]

    def _signed_end(self, connection: sqlite3.Connection, now: datetime) -> tuple[int, str]:
        def hash_at(sequence: int) -> str | None:
            statement = "SELECT hash FROM audit_event WHERE sequence = ?"
            row = connection.execute(statement, (sequence,)).fetchone()
            return row[0] if row else None

        self._chain.refuse_rolled_back(hash_at)
        heads = _rows(connection, "SELECT * FROM audit_head ORDER BY sequence DESC LIMIT 1")
        newest = heads[0] if heads else None
        hashes = {}
        if newest is not None:
            covered = _rows(
                connection,
                "SELECT sequence, hash FROM audit_event WHERE sequence = ?",
                (newest["sequence"],),
            )
            hashes = {row["sequence"]: row["hash"] for row in covered}
        base = self._chain.verified_start(newest, hashes)
        events = _rows(
            connection, "SELECT * FROM audit_event WHERE sequence > ? ORDER BY sequence", (base[0],)
        )
        end = self._chain.verified_end(base, events)
        if end != base:
            connection.execute(
                "INSERT INTO audit_head (sequence, hash, signed_at, key, signature)"
                " VALUES (:sequence, :hash, :signed_at, :key, :signature)",
                self._chain.head(*end, now),
            )
        return end

    def _append_event(
        self,
        connection: sqlite3.Connection,
        token: str,
        action: str,
        detail: JsonObject,
        actor: str,
        now: datetime,
    ) -> None:
        # Read the columns in the order of the table, because the digest uses this order.
        (row,) = _rows(connection, "SELECT * FROM run WHERE id = ?", (token,))

        def end(order: str) -> dict[str, Any] | None:
            ends = "SELECT sequence, hash, seal FROM audit_event ORDER BY sequence"
            return next(iter(_rows(connection, f"{ends} {order} LIMIT 1")), None)

        def first() -> tuple[str, str] | None:
            oldest = end("ASC")
            return (oldest["hash"], oldest["seal"]) if oldest else None

        tail = end("DESC")
        if tail:
            refuse_other_keys(self._cipher.seal_of_event, (tail["hash"], tail["seal"]), first)
        event = next_event(
            (tail["sequence"], tail["hash"]) if tail else None,
            at=now,
            actor=actor,
            subject=token,
            action=action,
            detail=detail,
            changes={"run": [[token, digest_of_row("run", tuple(row), row.values())]]},
        )
        event["seal"] = self._cipher.seal_of_event(str(event["hash"]))
        names = ", ".join(event)
        values = ", ".join(f":{name}" for name in event)
        connection.execute(
            f"INSERT INTO audit_event ({names}) VALUES ({values})",  # noqa: S608 - our own names
            event,
        )

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        with self._connect() as connection:
            return _rows(connection, statement, values)

    @contextmanager
    def _write_transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as connection, self._transaction(connection):
            yield connection

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        with write_queue(self._path):
            begin_writing(connection, self._path)
            try:
                yield
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            commit(connection)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connected(self._path)) as connection, refuse_concurrent_write(connection):
                yield connection
        except sqlite3.OperationalError as error:
            raise unavailable(self._path, str(error), type(error).__name__) from None
        except sqlite3.Error as error:
            raise refused(getattr(error, "sqlite_errorname", type(error).__name__)) from None

    def _refuse_other_schema(self) -> None:
        if not Path(self._path).exists():
            # A connection would create an empty file if the path is mistyped.
            raise ledger_missing_error(self._path)
        with self._connect() as connection:
            tables = _rows(
                connection, "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
            )
            if not tables:
                raise not_a_ledger_error(self._path)
            versions = _rows(connection, "SELECT version_num FROM alembic_version")
        version = versions[0]["version_num"] if versions else None
        if version != HEAD:
            raise schema_mismatch_error(self._path, str(version), HEAD)


def commit(connection: sqlite3.Connection) -> None:
    """Commit a transaction; the only commit of this module."""
    connection.execute("COMMIT")


def _rows(
    connection: sqlite3.Connection, statement: str, values: Sequence[object] = ()
) -> list[dict[str, Any]]:
    cursor = connection.execute(statement, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
