"""Common access of all stores to the ledger (the database).

A store contains the queries and changes of one subject, such as incidents. Each change is a
transaction with an audit event (`transaction`).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from standfast.ledger.audit.row_verification import RowVerifier
from standfast.ledger.audit.transaction import Write, write
from standfast.ledger.database.connections import planning, reading
from standfast.ledger.schema.column_encryption import ColumnCipher
from standfast.records import Json


@dataclass(frozen=True, kw_only=True)
class AuditedDatabase:
    """The SQLAlchemy engine, the column cipher and the row verifier."""

    engine: Engine
    cipher: ColumnCipher
    rows: RowVerifier

    def reading(self) -> AbstractContextManager[Connection]:
        return reading(self.engine)

    def planning(self) -> AbstractContextManager[None]:
        """Lock the planning of a step that takes more than one transaction."""
        return planning(self.engine)

    def write(
        self,
        *,
        actor: str,
        subject: str,
        action: str,
        now: datetime,
        detail: Mapping[str, Json] | None = None,
    ) -> AbstractContextManager[Write]:
        return write(
            self.engine,
            actor=actor,
            subject=subject,
            action=action,
            now=now,
            seal=self.cipher.seal_of_event,
            rows=self.rows,
            detail=detail,
        )
