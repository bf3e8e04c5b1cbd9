"""What every part of the ledger stands on: the database, the vault, and how to read and write."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from standfast.ledger.chain_rows import ChainRows
from standfast.ledger.database import planning, reading
from standfast.ledger.run_row import new_token as new_token
from standfast.ledger.transaction import Write, write
from standfast.ledger.vault import Vault
from standfast.records import Json


@dataclass(frozen=True, kw_only=True)
class Core:
    """The engine, the vault and what the chain says of rows, handed to each part."""

    engine: Engine
    vault: Vault
    rows: ChainRows

    def reading(self) -> AbstractContextManager[Connection]:
        return reading(self.engine)

    def planning(self) -> AbstractContextManager[None]:
        """Be the only one who plans what takes more than one transaction."""
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
            seal=self.vault.seal_of_event,
            rows=self.rows,
            detail=detail,
        )
