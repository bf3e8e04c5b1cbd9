"""What every part of the ledger stands on: the database, the vault, and how to read and write."""

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from standfast.ledger.database import reading
from standfast.ledger.transaction import Write, write
from standfast.ledger.vault import Vault
from standfast.records import Json


def new_token() -> str:
    """Give a fresh random name of 128 bits, in hex."""
    return secrets.token_hex(16)


@dataclass(frozen=True, kw_only=True)
class Core:
    """The engine and the vault, handed to each part."""

    engine: Engine
    vault: Vault

    def reading(self) -> AbstractContextManager[Connection]:
        return reading(self.engine)

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
            detail=detail,
        )
