"""Messages about an unusable PostgreSQL ledger."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from standfast.errors import Unavailable
from standfast.ledger import Ledger
from standfast.ledger.database import connections
from standfast.ledger.database.postgresql_errors import error_message
from standfast.ledger.status_query import query_status


@pytest.mark.parametrize("part", ["database", "username"])
def test_missing_database_differs_from_an_absent_server(postgres_url: str, part: str) -> None:
    wrong = make_url(postgres_url).set(**{part: "wolfhound"})  # type: ignore[arg-type]
    url = wrong.render_as_string(hide_password=False)
    engine = connections.open_engine(url)
    with pytest.raises(Unavailable) as said, connections.reading(engine):
        pass
    engine.dispose()
    with pytest.raises(Unavailable) as glanced:
        query_status(url, datetime.now(UTC))
    for error in (said.value, glanced.value):
        assert "no such user or database. Correct ledger.url" in str(error)
        assert "wolfhound" not in str(error)


def test_replica_differs_from_a_refused_statement(postgres_ledger: Ledger) -> None:
    def write() -> None:
        with connections.writing(postgres_ledger.engine) as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(text("CREATE TABLE never (id integer)"))

    with pytest.raises(Unavailable, match="does not accept writes"):
        write()


@pytest.mark.parametrize(
    ("state", "words", "says"),
    [
        (None, "connection refused", "no answer. Check that it runs"),
        (
            None,
            'FATAL:  password authentication failed for user "x"',
            "sign-in refused. Correct",
        ),
        (None, "FATAL:  sorry, too many clients already", "too many connections"),
        ("40P01", "deadlock detected", "Run this again"),
        ("53100", "could not extend file", "its disk is full"),
        ("25006", "cannot execute INSERT in a read-only transaction", "does not accept writes"),
    ],
)
def test_each_database_error_names_an_action(state: str | None, words: str, says: str) -> None:
    said = error_message(state, words)
    assert says in said
    assert "standfast playbook show" in said
