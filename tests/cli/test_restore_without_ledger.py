"""A restore while the ledger is lost does not wait for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backup.trees import describe
from tests.cli.desk import Desk


def lose(installation: Path) -> None:
    for file in installation.glob("ledger.db*"):
        file.unlink()


def damage(installation: Path) -> None:
    (installation / "ledger.db").write_bytes(b"no database" * 1000)


def unplug(installation: Path) -> None:
    file = installation / "standfast.toml"
    url = "postgresql://standfast@127.0.0.1:9/ledger"
    text = file.read_text()
    assert '#url = "sqlite:///ledger.db"' in text
    file.write_text(text.replace('#url = "sqlite:///ledger.db"', f'url = "{url}"'))


ILLS = [
    pytest.param(lose, "missing", id="it is gone"),
    pytest.param(damage, "not a ledger|is damaged|not a database", id="it is damaged"),
    pytest.param(unplug, "no answer", id="its server is down"),
]


@pytest.mark.parametrize(("ail", "why"), ILLS)
def test_restore_without_ledger_reports_missing_record(
    desk: Desk, installation: Path, ail: Callable[[Path], None], why: str
) -> None:
    desk.run("backup", "run", "main")
    ail(installation)
    words = ("backup", "restore", "latest", "--identity", installation / "offline/identity.txt")
    answer = desk.run(*words, "--to", desk.folder / "out")
    assert answer.status == 0, answer.err
    assert "The ledger did not record this restore" in answer.out
    assert describe(desk.folder / "out/source") == describe(desk.folder / "source")
    document = desk.json(*words, "--to", desk.folder / "again")
    assert document["run"] == ""
    assert any(part in document["unrecorded"] for part in why.split("|"))


def test_file_is_printed_without_a_ledger(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run", "main")
    lose(installation)
    file = min((desk.folder / "source").iterdir())
    words = ("backup", "restore", "latest", f"source/{file.name}", "--to", "-")
    answer = desk.run(*words, "--identity", installation / "offline/identity.txt")
    assert answer.status == 0
    assert answer.out == file.read_text()
    assert "The ledger did not" in answer.err


def test_content_is_listed_without_a_ledger(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run", "main")
    lose(installation)
    assert "host-1/0000000001" in desk.run("backup", "list").out
    identity = installation / "offline/identity.txt"
    for words in (("ls", "latest"), ("find", "*"), ("diff", "1", "latest")):
        answer = desk.run("backup", *words, "--identity", identity)
        assert answer.status == 0, answer.err


def test_restore_with_ledger_reports_no_missing_record(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run", "main")
    words = ("backup", "restore", "latest", "--identity", installation / "offline/identity.txt")
    document = desk.json(*words, "--to", desk.folder / "out")
    assert (document["unrecorded"], bool(document["run"])) == ("", True)
