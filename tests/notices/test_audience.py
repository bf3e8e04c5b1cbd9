import csv
import io
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from standfast.adapters.audience_sources.files import csv_audience, read_suppressed, sqlite_audience
from standfast.errors import ConfigurationError, Unavailable
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Recipient, Rules, Suppression

COLUMNS = {"address": "email", "name": "name", "language": "lang"}
RULES = Rules(why="their record was open")
HEADER = ("email", "name", "lang", "secret")


def written(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def read(path: Path, columns: Mapping[str, str] = COLUMNS, **more: Any) -> Audience:
    return csv_audience(path, columns, more.pop("rules", RULES), **more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def test_each_row_becomes_one_recipient(file: Path) -> None:
    written(file, [("Ana@Shop.Test", "Ana", "es", "card number")])
    assert read(file).recipients == (
        Recipient(
            key="ana@shop.test",
            address="Ana@shop.test",
            name="Ana",
            language="es",
            why="their record was open",
        ),
    )


def test_further_columns_become_slots(file: Path) -> None:
    written(file, [("ana@shop.test", "Ana", "", "Gold")])
    columns = {**COLUMNS, "plan": "secret", "key": "name"}
    (person,) = read(file, columns, rules=Rules(language="de", why="x")).recipients
    assert person.slots == {"plan": "Gold"}
    assert (person.key, person.language) == ("Ana", "de")
    assert person.values() == {
        "plan": "Gold",
        "name": "Ana",
        "address": "ana@shop.test",
        "language": "de",
        "why": "x",
    }


def test_default_columns_need_only_an_address(file: Path) -> None:
    file.write_text("email,name\nana@shop.test,Ana\n")
    (person,) = read(file, is_strict=False).recipients
    assert (person.address, person.name, person.language) == ("ana@shop.test", "Ana", "")
    with pytest.raises(ConfigurationError, match="no column lang"):
        read(file)
    file.write_text("name\nAna\n")
    with pytest.raises(ConfigurationError, match="no column email"):
        read(file, is_strict=False)


def test_default_columns_include_known_names(file: Path) -> None:
    file.write_text(
        "email,name,is_minor,postal_1,postal_2\n"
        "ana@shop.test,Ana,,,\n"
        "kid@shop.test,Kid,yes,,\n"
        ",Ben,,12 Street,London\n"
    )
    found = read(file, is_strict=False)
    assert [one.name for one in found.recipients] == ["Ana", "Ben"]
    assert found.recipients[1].postal == ("Ben", "12 Street", "London")
    assert [one.name for one in found.held] == ["Kid"], "a child is not written to by itself"
    # A column `address` usually has postal addresses.
    file.write_text("email,address,key,why\nana@a.test,1 Road,7,a\nana@b.test,1 Road,7,b\n")
    found = read(file, is_strict=False)
    assert [(one.address, one.key, one.why) for one in found.recipients] == [
        ("ana@a.test", "7", "a")
    ]
    file.write_text("name,postal_1,postal_2\nBen,12 Street,London\n")
    assert len(read(file, is_strict=False).recipients) == 1
    # Only the chosen columns are read.
    file.write_text("email,name,lang,is_minor\nkid@shop.test,Kid,en,yes\n")
    columns = {"address": "email", "name": "name", "language": "lang"}
    assert len(read(file, columns).recipients) == 1


def test_every_row_is_accounted_for_by_number(file: Path) -> None:
    written(
        file,
        [
            ("ana@shop.test", "Ana", "es", ""),
            ("nobody", "Ben", "es", ""),
            ("ANA@shop.test", "Ana again", "es", ""),
            ("eva@münchen.test", "Eva", "de", ""),
            ("eva@xn--mnchen-3ya.test", "Eva", "de", ""),
            ("zoe@shop.test", "x" * 10_000_000, "en", ""),
            ("", "", "", ""),
            ("too", "few"),
            ("a@shop.test", "b", "c", "d", "e"),
        ],
    )
    audience = read(file)
    assert [one.address for one in audience.recipients] == [
        "ana@shop.test",
        "eva@xn--mnchen-3ya.test",
    ]
    assert [(one.row_number, one.reason) for one in audience.rejected] == [
        (3, "the address is not of the form name@domain"),
        (7, "column 'name' is longer than 200 characters"),
        (8, "there is no address"),
        (9, "has 2 fields where the header has 4"),
        (10, "has 5 fields where the header has 4"),
    ]
    assert [(one.row_number, one.reason) for one in audience.repeated] == [
        (4, "same address as row 2"),
        (6, "same address as row 5"),
    ]
    assert audience.rows == 9


def test_empty_line_is_no_row(file: Path) -> None:
    file.write_text("email,name,lang\nana@shop.test,Ana,\n\nnobody,Ben,\n")
    audience = read(file)
    assert [one.row_number for one in audience.rejected] == [4]
    assert audience.rows == 2


def test_cell_text_never_becomes_a_row(file: Path) -> None:
    evil = 'Ana\r\nall@evil.test,Evil,en,x\r\n"},{{ recipient.name }}\u202e'
    written(file, [("ana@shop.test", evil, "es\r\nBcc: x", ""), ("ben@shop.test", "Ben", "", "")])
    ana, ben = read(file).recipients
    assert ana.name == 'Ana all@evil.test,Evil,en,x "},{{ recipient.name }}'
    assert ana.language == ""
    assert ben.name == "Ben"


def test_huge_field_hides_no_row(file: Path) -> None:
    evil = "x\nall@evil.test,Evil,en,x\n" * 20_000
    written(file, [("ana@shop.test", evil, "", ""), ("ben@shop.test", "Ben", "", "")])
    audience = read(file)
    assert [one.address for one in audience.recipients] == ["ben@shop.test"]
    assert [one.row_number for one in audience.rejected] == [2]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_spreadsheets_separators_and_byte_order_marks_are_read(
    file: Path, separator: str, mark: str
) -> None:
    lines = [("email", "name", "lang"), ("ana@shop.test", "García, Ana; x", "es")]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(lines)
    for first in ("", f"sep={separator}\r\n"):
        for encoding in ("utf-8", "utf-16"):
            file.write_text(f"{mark * (encoding == 'utf-8')}{first}{text.getvalue()}", encoding)
            (person,) = read(file).recipients
            assert person.name == "García, Ana; x"


def test_undecodable_row_is_rejected_alone(file: Path) -> None:
    file.write_bytes(b"email,name,lang\nana@shop.test,Garc\xeda,es\nben@shop.test,Ben,en\n")
    audience = read(file)
    assert [one.name for one in audience.recipients] == ["Ben"]
    assert [(one.row_number, one.reason) for one in audience.rejected] == [
        (2, "column 'name' is not UTF-8")
    ]


@pytest.mark.parametrize("more", [b"b", b"\x00\xd8\n\x00", b"\x00\xdcb\x00"])
def test_truncated_utf16_file_is_refused(file: Path, more: bytes) -> None:
    file.write_bytes("email,name,lang\nana@shop.test,Ana,es\n".encode("utf-16") + more)
    for reading in (read, read_suppressed):
        with pytest.raises(ConfigurationError, match=r"people\.csv: begins as UTF-16") as caught:
            reading(file)
        assert "ana" not in str(caught.value)


@pytest.mark.parametrize("line", ['ana@shop.test,"Ana,es', 'ana@shop.test,"A"na,es'])
def test_file_with_ambiguous_rows_is_refused(file: Path, line: str) -> None:
    file.write_text(f"email,name,lang\n{line}\nben@shop.test,Ben,en\n")
    with pytest.raises(ConfigurationError, match="quote") as caught:
        read(file)
    assert "ana" not in str(caught.value)


def test_missing_file_or_column_is_named(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"people\.csv"):
        read(file)
    file.write_text("ana@shop.test,Ana,es\nben@shop.test,Ben,en\n")
    with pytest.raises(ConfigurationError, match="email, lang, name") as caught:
        read(file)
    assert "ana" not in str(caught.value)
    file.write_text("")
    with pytest.raises(ConfigurationError, match="email"):
        read(file)


@pytest.mark.parametrize("is_strict", [True, False])
def test_repeated_column_is_refused(file: Path, is_strict: bool) -> None:
    written(file, [("agent@shop.test", "ana@shop.test")], ("email", "email"))
    with pytest.raises(ConfigurationError, match="column email more than once"):
        read(file, {"address": "email"}, is_strict=is_strict)
    written(file, [("ana@shop.test", "x", "y")], ("email", "note", "note"))
    assert len(read(file, {"address": "email"}, is_strict=is_strict).recipients) == 1


@pytest.mark.parametrize("columns", [{"name": "name"}, {"address": "email", "Name": "name"}])
def test_columns_without_an_address_are_refused(file: Path, columns: dict[str, str]) -> None:
    written(file, [])
    with pytest.raises(ConfigurationError):
        read(file, columns)


FIELD = st.text(max_size=30) | st.sampled_from(
    ["ana@shop.test", "ANA@shop.test", "ben@shop.test", '"', "\r\n", "a\nb,c", "=cmd()"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(FIELD, FIELD, FIELD, FIELD), max_size=8))
def test_every_row_is_counted_once_whatever_it_contains(
    file: Path, rows: list[tuple[str, str, str, str]]
) -> None:
    rows = [
        tuple(cell.encode("utf-8", "replace").decode() for cell in row)  # type: ignore[misc]  # still four
        for row in rows
    ]
    written(file, rows)
    audience = read(file)
    assert audience.rows == len(rows)
    keys = [recipient.address.casefold() for recipient in audience.recipients]
    assert len(set(keys)) == len(keys)
    assert all("\n" not in person.name for person in audience.recipients)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "crm?#.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE customer (id INTEGER, email, full_name, lang, raw BLOB)")
        connection.executemany(
            "INSERT INTO customer VALUES (?, ?, ?, ?, ?)",
            [
                (1, "ana@shop.test", "Ana", "es", None),
                (2, "nobody", "Ben", None, None),
                (3, "Ana@Shop.test", "Ana", None, None),
                (4, "eva@shop.test", None, None, None),
                (5, "zoe@shop.test", "Zoe", None, b"\xff"),
            ],
        )
        connection.execute(
            "INSERT INTO customer VALUES (6, 'x@shop.test', CAST(x'ff' AS TEXT), '', '')"
        )
    connection.close()
    return path


SELECT = "SELECT id AS key, email AS address, full_name AS name, lang AS language FROM customer"


def test_query_rows_are_all_accounted_for(database: Path) -> None:
    audience = sqlite_audience(database, f"{SELECT} ORDER BY id", Rules(language="de", why="x"))
    assert [(one.key, one.address, one.name) for one in audience.recipients] == [
        ("1", "ana@shop.test", "Ana"),
        ("4", "eva@shop.test", ""),
        ("5", "zoe@shop.test", "Zoe"),
    ]
    assert [one.language for one in audience.recipients] == ["es", "de", "de"]
    assert [one.row_number for one in audience.rejected] == [2, 6]
    assert [one.row_number for one in audience.repeated] == [3]


def test_bytes_are_no_text(database: Path) -> None:
    audience = sqlite_audience(
        database, "SELECT email AS address, raw FROM customer WHERE id = 5", RULES
    )
    assert [one.reason for one in audience.rejected] == ["column 'raw' is not text"]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM customer",
        "UPDATE customer SET email = 'x' RETURNING email AS address",
        "ATTACH 'other.db' AS other",
        "PRAGMA journal_mode = WAL",
        "SELECT 1; DROP TABLE customer",
        "SELECT email FROM customer",
        "SELECT email AS address, id AS name, id AS name FROM customer",
        'SELECT email AS address, id AS "odd name" FROM customer',
        "SELECT nothing AS address FROM customer",
        "SELECT load_extension('x') AS address",
        "no SQL",
        "",
    ],
)
def test_a_query_only_reads_and_names_its_columns(
    database: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(database.parent)
    before = database.read_bytes()
    with pytest.raises(ConfigurationError):
        sqlite_audience(database, query, RULES)
    assert database.read_bytes() == before
    assert {path.name for path in database.parent.iterdir()} == {database.name}


def test_a_query_that_never_ends_is_cut(database: Path) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT 'x' AS address FROM n WHERE i < 0"
    )
    ticks = iter(range(1_000))
    with pytest.raises(ConfigurationError, match="5 seconds"):
        sqlite_audience(database, endless, timeout_seconds=5, monotonic=lambda: next(ticks))


def test_time_limit_counts_only_the_database(
    database: Path,
) -> None:
    now = 0.0
    halts = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i || '@x.test' AS address FROM n WHERE i % 4000 = 0 LIMIT 20"
    )

    def monotonic() -> float:
        nonlocal now
        now += 1
        return now

    class Slow(Suppression):
        def reason(self, mailbox: str, key: str) -> str:
            nonlocal now
            now += 1_000
            return super().reason(mailbox, key)

    rules = Rules(why="was open", suppression=Slow())
    found = sqlite_audience(database, halts, rules, timeout_seconds=900, monotonic=monotonic)
    assert len(found.recipients) == 20
    with pytest.raises(ConfigurationError, match="30 seconds"):
        sqlite_audience(database, halts, rules, timeout_seconds=30, monotonic=monotonic)


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        sqlite_audience(tmp_path / "none.db", SELECT)
    assert list(tmp_path.iterdir()) == []


def test_busy_database_is_retried(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_connect = sqlite3.connect

    def impatient(*args: Any, **options: Any) -> Any:
        return real_connect(*args, **{**options, "timeout": 0.0})

    holder = real_connect(database, isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        with monkeypatch.context() as patched:
            patched.setattr(sqlite3, "connect", impatient)
            with pytest.raises(Unavailable):
                sqlite_audience(database, SELECT, RULES)
    finally:
        holder.close()
