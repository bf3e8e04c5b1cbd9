"""The run writer writes and refuses as the ledger's own classes do."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError, Unavailable
from standfast.ledger.full_ledger import create, open_ledger
from standfast.ledger.lazy_ledger import LazyLedger
from standfast.ledger.runs.run_record import Origin
from standfast.ledger.runs.sqlite_run_writer import SqliteRunWriter
from standfast.ledger.schema.column_encryption import INSTALLATION, ColumnCipher
from standfast.records import moment

NOW = moment("2026-11-25T10:00:00.000000Z")
LATER = moment("2026-11-25T10:05:00.000000Z")


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, Path, Path]:
    place = (f"sqlite:///{tmp_path}/ledger.db", tmp_path / "keys", tmp_path / "heads.jsonl")
    create(*place, NOW)
    return place


def test_both_writers_share_one_whole_chain(where: tuple[str, Path, Path]) -> None:
    url, keys, witness = where
    book = SqliteRunWriter(url.removeprefix("sqlite:///"), keys, witness)
    with open_ledger(*where) as ledger:
        ways = ((book, book.sign_head), (ledger.runs, ledger.audit.sign_head)) * 2
        for runs, sign in ways:
            token = runs.start(
                "backup", "main", "direct", "os:test", NOW, origin=Origin(host="a", machine="b")
            )
            runs.finish(token, "backup", "done", {"files": 3, "point": "a/1"}, "os:test", LATER)
            assert sign(LATER) == ledger.newest_event()
        report = ledger.audit.verify()
        assert report.findings == ()
        assert (report.heads, report.witnessed) == (5, 5)
        rows = ledger.runs.all("backup")
        assert [replace(row, id="") for row in rows] == [replace(rows[0], id="")] * 4
        assert sorted(book.all("backup"), key=lambda row: row.id) == sorted(
            rows, key=lambda row: row.id
        )
        assert book.all("backup", "other") == []
        events = [
            (event.action, event.actor, event.detail)
            for event in ledger.timeline()
            if event.subject != "installation"
        ]
    assert events == events[:2] * 4


def test_both_readers_return_the_newest_states(
    where: tuple[str, Path, Path],
) -> None:
    url, keys, witness = where
    book = SqliteRunWriter(url.removeprefix("sqlite:///"), keys, witness)
    for number, state in enumerate(["done", "failed", "partial", "running"]):
        began = NOW + timedelta(minutes=number)
        token = book.start("backup", "main", "direct", "os:test", began)
        if state != "running":
            book.finish(token, "backup", state, {}, "os:test", LATER)
    with open_ledger(*where) as ledger:
        for runs in (book, ledger.runs):
            good = runs.all("backup", "main", states=["done", "partial"])
            assert [run.state for run in good] == ["partial", "done"]
            assert runs.all("backup", states=["partial", "done"], most=1) == good[:1]
            assert [run.state for run in runs.all("backup", most=2)] == ["running", "partial"]
            assert runs.all("backup", states=["lost"]) == []


def test_changed_run_row_is_detected(
    where: tuple[str, Path, Path],
) -> None:
    url, keys, witness = where
    book = SqliteRunWriter(url.removeprefix("sqlite:///"), keys, witness)
    token = book.start("backup", "main", "direct", "os:test", NOW)
    with open_ledger(*where) as ledger:
        with ledger.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE run SET state = 'done'")
        findings = ledger.audit.verify().findings
    assert [(one.where, one.problem) for one in findings] == [
        (f"run {token}", "it was changed outside the ledger")
    ]


def test_moved_ledger_is_not_recreated(
    where: tuple[str, Path, Path],
) -> None:
    url, keys, witness = where
    file = Path(url.removeprefix("sqlite:///"))
    book = SqliteRunWriter(str(file), keys, witness)
    token = book.start("backup", "main", "direct", "os:test", NOW)
    file.rename(file.with_name("elsewhere.db"))
    with pytest.raises(Unavailable, match="removed while"):
        book.finish(token, "backup", "done", {}, "os:test", LATER)
    assert not file.exists()


def test_missing_ledger_is_not_created(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="missing"),
        LazyLedger(f"sqlite:///{tmp_path}/none.db", tmp_path, tmp_path / "heads"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_recorded_without_importing_sqlalchemy(where: tuple[str, Path, Path]) -> None:
    url, keys, witness = where
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import standfast.usecases.backups.backup_run\n"
        "from standfast.ledger.lazy_ledger import LazyLedger\n"
        f"with LazyLedger({url!r}, Path({str(keys)!r}), Path({str(witness)!r})) as ledger:\n"
        "    ledger.runs.all('backup')\n"
        "print('sqlalchemy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_foreign_keys_write_nothing(where: tuple[str, Path, Path], tmp_path: Path) -> None:
    url, _, witness = where
    ColumnCipher(tmp_path / "other").create(INSTALLATION)
    book = SqliteRunWriter(url.removeprefix("sqlite:///"), tmp_path / "other", witness)
    with pytest.raises(ConfigurationError, match=r"ledger\.keys"):
        book.start("backup", "main", "direct", "os:test", NOW)
    assert book.all("backup") == []
