"""A ledger on each database, and an intruder with that database only."""

from tests.ledger.conftest import intruder as intruder
from tests.ledger.conftest import ledger as ledger
from tests.ledger.conftest import place as place
from tests.ledger.conftest import postgres_place as postgres_place
from tests.ledger.conftest import sqlite_place as sqlite_place
