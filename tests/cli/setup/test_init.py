"""`standfast init` makes a whole installation, or is repeated."""

import os
import shlex
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from standfast.config import load
from standfast.config.sections.backup import FilesSourceConfig
from standfast.usecases.setup import new_installation
from tests.cli.desk import Desk, run_apart
from tests.sampling import sample


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "Call Recordings 2026"
    folder.mkdir()
    (folder / "call.wav").write_bytes(b"RIFF")
    return folder


def test_new_installation_backs_up_and_restores(desk: Desk, source: Path) -> None:
    made = desk.json("init", "place", "--source", source, "--yes")
    config = Path(made["config"])
    assert config == desk.folder / "place/standfast.toml"
    assert desk.run("-c", config, "backup", "run").status == 0
    restored = desk.run(
        *("-c", config, "backup", "restore", "latest"),
        *("--to", "restored", "--identity", made["identity"]),
    )
    assert restored.status == 0
    inside = desk.folder / "restored" / made["source_name"] / "call.wav"
    assert inside.read_bytes() == b"RIFF"


def test_suggested_commands_work_for_any_folder_name(desk: Desk, source: Path) -> None:
    made = desk.run("init", "a place", "--source", source, "--yes")
    (line,) = [line for line in made.out.splitlines() if line.startswith("Next: ")]
    words = shlex.split(line.removeprefix("Next: standfast "))
    assert desk.run(*words).status == 0


def test_init_lists_files_to_keep_without_secrets(desk: Desk, source: Path) -> None:
    said = desk.run("init", "place", "--source", source, "--yes").out
    offline = desk.folder / "place/offline"
    assert f"Copy {offline} to two USB sticks" in said
    assert str(offline / "identity.txt") in said
    assert "AGE-SECRET-KEY" not in said
    kept = {path.name for path in offline.iterdir()}
    assert kept == {"identity.txt", "owner.json", "README.txt", "break_glass.py", "k"}


def test_init_says_what_notification_still_needs(desk: Desk, source: Path) -> None:
    bare = desk.run("init", "place", "--source", source, "--yes").out
    assert "set organisation.name and organisation.contact_line" in bare
    named = ("--organisation", "Harbour Calls", "--contact-line", "020 7946 0000")
    whole = desk.run("init", "other", "--source", source, "--yes", *named).out
    assert "contact_line" not in whole


def test_folder_becomes_a_set_of_its_name(desk: Desk, source: Path) -> None:
    made = desk.json("init", "place", "--source", source, "--yes")
    config = load(Path(made["config"]))
    (only,) = config.backup.sets["main"].sources
    assert isinstance(only, FilesSourceConfig)
    assert (only.kind, only.name, only.path) == ("files", "call-recordings-2026", source)


def test_sqlite_database_becomes_a_sqlite_set(desk: Desk) -> None:
    with closing(sqlite3.connect("crm2.db")) as crm, crm:
        crm.execute("CREATE TABLE customers (id)")
    crm.close()
    made = desk.json("init", "place", "--source", "crm2.db", "--yes")
    assert (made["source_kind"], made["source_name"]) == ("sqlite", "crm2")
    assert desk.run("-c", made["config"], "backup", "run").status == 0


def test_keys_and_the_ledger_are_closed_to_others(desk: Desk, source: Path) -> None:
    desk.run("init", "place", "--source", source, "--yes")
    installation = desk.folder / "place"
    private = [installation, *(installation / "offline").rglob("*"), installation / "offline"]
    private += installation.glob("ledger.db*")
    private += [*(installation / "keys/ledger").rglob("*"), installation / "keys/evidence-seal.key"]
    private += [installation / "keys/backup-host", *(installation / "keys/backup-host").rglob("*")]
    assert len(private) > 8
    assert [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_place_is_never_set_up_twice(desk: Desk, source: Path) -> None:
    desk.run("init", "place", "--source", source, "--yes")
    before = snapshot(desk.folder / "place")
    answer = desk.run("init", "place", "--source", source, "--yes")
    assert answer.status == 2
    assert "is set up already" in answer.err
    assert snapshot(desk.folder / "place") == before


@pytest.mark.parametrize(
    ("folder", "path", "why"),
    [
        ("place", "missing", "missing: not found"),
        ("", "source", "'' is not the path of a file or folder"),
        ("file", "source", "it is a file"),
        ("source/place", "source", "outside it"),
        ("source", "source", "outside it"),
        ("place", "pipe", "neither a folder nor a file"),
    ],
)
def test_invalid_location_creates_nothing(desk: Desk, folder: str, path: str, why: str) -> None:
    Path("source").mkdir()
    Path("file").touch()
    os.mkfifo("pipe")
    before = snapshot(desk.folder)
    answer = desk.run("init", folder, "--source", path, "--yes")
    assert answer.status == 2
    assert why in answer.err
    assert snapshot(desk.folder) == before


@pytest.mark.parametrize("option", ["--organisation", "--contact-line"])
def test_invalid_option_is_named(desk: Desk, source: Path, option: str) -> None:
    answer = desk.run("init", "place", "--source", source, option, "A\nB", "--yes")
    assert answer.status == 2
    assert answer.err == f"{option}: one line of text, at most 200 characters.\n"
    assert not Path("place").exists()


def test_unwritable_location_creates_no_installation(desk: Desk, source: Path) -> None:
    Path("file").touch()
    answer = desk.run("init", "file/place", "--source", source, "--yes")
    assert answer.status == 1
    assert "Not a directory" in answer.err
    assert "file/place. Name another path" in answer.err
    assert "Traceback" not in answer.err


def test_a_link_that_leads_nowhere_is_named(desk: Desk, source: Path) -> None:
    Path("link").symlink_to("nowhere")
    answer = desk.run("init", "link", "--source", source, "--yes")
    assert answer.status == 1
    assert "File exists" in answer.err
    assert "link. Remove it, or name another path" in answer.err


class Killed(BaseException):
    """Simulated kill that no error handler catches."""


def test_killed_init_is_completed_by_same_command(desk: Desk, source: Path) -> None:
    """A killed `init` leaves no configuration, so its repetition succeeds."""
    with desk.monkeypatch.context() as patch:
        unused = die_after(patch, 1000)
        assert desk.run("init", "whole", "--source", source, "--yes").status == 0
    writes = 1000 - len(list(unused))
    assert writes > 12  # the plan, the repository's files, the ledger, keys, the README
    for survived in sample(range(writes), "writes of an init"):
        folder = desk.folder / f"place-{survived}"
        desk.use(folder / "standfast.toml")
        with desk.monkeypatch.context() as patch:
            die_after(patch, survived)
            with pytest.raises(Killed):
                desk.run("init", folder, "--source", source, "--yes")
        if not (folder / "standfast.toml").exists():  # after the last file, only its draft is left
            assert desk.run("status").status == 2
            assert desk.run("init", folder, "--source", source, "--yes").status == 0
        assert desk.run("backup", "run").status == 0
        assert desk.json("check")["fail"] == 0
        assert desk.json("audit", "verify")["is_whole"]


def die_after(patch: pytest.MonkeyPatch, survived: int) -> Iterator[int]:
    """Permit a number of writes; raise at each later one, as after a kill.

    Return an iterator over the writes that have not happened.
    """
    left = iter(range(survived))

    def deadly(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return write(*arguments, **options)

        return wrapped

    for owner, name in (
        (os, "link"),
        (Path, "replace"),
        (Path, "unlink"),
        (new_installation, "create"),
    ):
        patch.setattr(owner, name, deadly(getattr(owner, name)))
    return left


def test_without_a_terminal_nothing_is_asked(desk: Desk, source: Path) -> None:
    answer = run_apart("init", "place", "--source", source, cwd=desk.folder)
    assert answer.status == 0, answer.err
    assert load(desk.folder / "place/standfast.toml").organisation.name == "Our contact centre"


def test_terminal_prompts_for_name_and_people(desk: Desk, source: Path) -> None:
    person = ["yes", "dana", "Dana Ray", "dana@example.com", "legal"]
    unfit = ["yes", "zoe", "Zoe", "nowhere", "legal"]
    typed = iter(["Northern Lights", "", *person, *unfit, "what?", "n"])
    asked: list[str] = []
    patch = desk.monkeypatch
    patch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    patch.setattr("builtins.input", lambda: next(typed))

    def type_unseen(what: str) -> str:
        asked.append(what)
        return "a long walk by the sea"

    patch.setattr("getpass.getpass", type_unseen)
    answer = desk.run("init", "place", "--source", source)
    assert answer.status == 0
    desk.use(desk.folder / "place/standfast.toml")
    assert load(desk.folder / "place/standfast.toml").organisation.name == "Northern Lights"
    assert desk.json("people", "list")["people"][0]["person"] == "dana"
    # An empty answer keeps the contact data; an invalid option is reported before any passphrase
    # prompt.
    assert "set organisation.name and organisation.contact_line" in answer.out
    assert "--mail: not a valid mail address" in answer.err
    assert [what for what in asked if "zoe" in what] == []


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every path below a folder, with the content of its files."""
    return {
        str(path): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def test_ledger_that_never_existed_is_created(desk: Desk, source: Path, postgres_url: str) -> None:
    again = ("init", "place", "--source", source, "--yes")
    config = Path(desk.json(*again)["config"])
    before = {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()}
    named = f'[ledger]\nurl = "{postgres_url}"\nwitness = "another.jsonl"\n'
    config.write_text(config.read_text().replace("[ledger]\n", named))
    away = desk.run("-c", config, "audit", "verify")
    assert (away.status, "`standfast init`" in away.err) == (2, True)
    made = desk.json("init", "place")  # `init` makes the ledger and nothing else
    assert made == {"config": "place/standfast.toml", "is_ledger_made": True}
    for path, content in before.items():
        assert path == config or path.read_bytes() == content, "nothing else was changed"
    assert desk.run("-c", config, "backup", "run", "main").status == 0
    assert desk.run("-c", config, "audit", "verify").status == 0
    for words in (again, ("init", "place")):
        answer = desk.run(*words)
        assert (answer.status, "is set up already" in answer.err) == (2, True)
    nowhere = desk.run("init", "elsewhere")
    assert (nowhere.status, "--source PATH" in nowhere.err) == (2, True)


def test_lost_ledger_is_not_replaced(desk: Desk, source: Path) -> None:
    again = ("init", "place", "--source", source, "--yes")
    installation = Path(desk.json(*again)["config"]).parent
    for file in installation.glob("ledger.db*"):
        file.unlink()
    lost = desk.run(*again)
    assert lost.status == 4
    assert f"{installation / 'witness.jsonl'} records an earlier one" in lost.err
    assert not (installation / "ledger.db").exists()
