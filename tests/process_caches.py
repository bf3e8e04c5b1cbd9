"""Results that the tests of one process compute once."""

from functools import cache, partial
from typing import Any

import pytest
from argon2.low_level import hash_secret_raw
from sqlalchemy import create_engine

from standfast.people.passphrase_keys import enrol


def keep_derived_keys() -> None:
    """Keep each passphrase's key: Argon2 takes 0.2 s of CPU on purpose.

    A passphrase that was enrolled before in this process gets its salt and key again. A new
    passphrase, and each sign-in with a wrong one, costs what it costs users. Call this before a
    module imports `enrol`.
    """
    patch = pytest.MonkeyPatch()
    patch.setattr("standfast.people.passphrase_keys.hash_secret_raw", cache(hash_secret_raw))
    patch.setattr("standfast.people.passphrase_keys.enrol", cache(enrol))


def keep_compiled_statements() -> None:
    """Share SQLAlchemy's compiled statements between the ledgers of all tests.

    Each ledger has its own engine, which compiles every statement again: a fifth of the CPU time
    of a test of an incident.
    """
    pytest.MonkeyPatch().setattr(
        "standfast.ledger.database.connections.create_engine",
        partial(create_engine, execution_options={"compiled_cache": _Statements()}),
    )


class _Statements(dict[tuple[Any, ...], Any]):
    """Compiled statements by the dialect's name, not by the engine's object."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), value)
