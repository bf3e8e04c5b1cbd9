"""Paths of a test's ledger: database, keys and witness."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from standfast.ledger import Ledger, open_ledger
from tests.ledger_schema import create

# The time of `init`; enrolments on this day are founding enrolments.
FOUNDED = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOW = FOUNDED + timedelta(days=10)  # when the incidents of these tests happen


@dataclass(frozen=True, kw_only=True)
class Place:
    """The three parts of a ledger; an intruder may hold each one alone."""

    url: str
    keys: Path
    witness: Path

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def file(self) -> Path:
        """Return the database's file, on SQLite."""
        return Path(self.url.removeprefix("sqlite:///"))

    def create(self) -> None:
        create(self.url, self.keys, self.witness, FOUNDED)

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        with open_ledger(self.url, self.keys, self.witness) as ledger:
            yield ledger
