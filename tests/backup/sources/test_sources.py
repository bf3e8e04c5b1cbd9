"""What sources give, and leave alone."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup.errors import SourceFailed
from backup.records import Unread
from backup.sources import Found, Source
from backup.sources.files.files_source import FilesSource
from backup.sources.sqlite import SqliteSource
from tests.backup.trees import describe, plain_tree, strange_tree


def now() -> datetime:
    return datetime(2026, 1, 2, tzinfo=UTC)


def found_in(source: Source, scratch: Path) -> list[Found]:
    with source.opened(scratch, now) as opened:
        items = list(opened.scan())
    assert not [item for item in items if isinstance(item, Unread)]
    return [item for item in items if isinstance(item, Found)]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
    return path


def test_every_source_gives_its_root_first_and_paths_in_order(
    tmp_path: Path, scratch: Path, database: Path
) -> None:
    sources = [
        FilesSource("a", strange_tree(tmp_path / "tree")),
        FilesSource("a", database),
        SqliteSource("a", database),
    ]
    for source in sources:
        paths = [found.path for found in found_in(source, scratch)]
        assert paths[0] == b""
        assert paths == sorted(paths, key=lambda path: path.replace(b"/", b"\0"))
        assert len(set(paths)) == len(paths)


def test_a_source_is_not_changed_by_reading(tmp_path: Path, scratch: Path) -> None:
    tree = strange_tree(tmp_path / "tree")
    before = describe(tree)
    with FilesSource("a", tree).opened(scratch, now) as opened:
        for item in opened.scan():
            if isinstance(item, Found) and item.kind == "file":
                with opened.read(item) as content:
                    assert content.changed() is None
    assert describe(tree) == before


def test_a_source_says_when_it_is_consistent(tmp_path: Path, scratch: Path, database: Path) -> None:
    for source in (FilesSource("a", tmp_path), SqliteSource("a", database)):
        with source.opened(scratch, now) as opened:
            assert opened.consistent_at == now()


def test_a_socket_is_left_out(scratch: Path, tmp_path: Path) -> None:
    tree = tmp_path / "t"
    tree.mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tree / "socket"))
        assert [found.path for found in found_in(FilesSource("a", tree), scratch)] == [b""]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["*.wav"], {"empty", "note.txt", "calls", "calls-old", "calls-old/dump.sql"}),
        (["calls"], {"empty", "note.txt", "calls-old", "calls-old/dump.sql"}),
        (["calls/"], {"empty", "note.txt", "calls-old", "calls-old/dump.sql"}),
        (["/calls*/one.wav", "empty"],
         {"note.txt", "calls", "calls/two.wav", "calls-old", "calls-old/dump.sql"}),
        (["*"], set()),
    ],
)  # fmt: skip
def test_what_is_excluded_is_not_given(
    tmp_path: Path, scratch: Path, exclude: list[str], left: set[str]
) -> None:
    source = FilesSource("a", plain_tree(tmp_path / "tree"), exclude)
    assert {found.path.decode() for found in found_in(source, scratch)} == left | {""}


def test_a_link_to_a_folder_may_be_the_root_and_is_followed_nowhere_else(
    tmp_path: Path, scratch: Path
) -> None:
    tree = plain_tree(tmp_path / "tree")
    (tmp_path / "way").symlink_to(tree)
    (tree / "inside").symlink_to(tmp_path)
    paths = {found.path for found in found_in(FilesSource("a", tmp_path / "way"), scratch)}
    assert b"note.txt" in paths
    assert b"inside" in paths
    assert not [path for path in paths if path.startswith(b"inside/")]


def test_a_tree_deeper_than_a_path_may_be_long_is_given(tmp_path: Path, scratch: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "top").mkdir()
    name = "d" * 200
    for part in ["top", *[name] * 40]:
        if part != "top":
            os.mkdir(part, dir_fd=descriptor)
        deeper = os.open(part, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    paths = [found.path for found in found_in(FilesSource("a", tmp_path / "top"), scratch)]
    assert len(paths) == 42
    assert paths[-1].endswith(b"/leaf")
    assert len(paths[-1]) > 8000


@pytest.mark.parametrize("make", [FilesSource, SqliteSource])
def test_a_source_that_is_not_there_fails_and_names_itself(
    tmp_path: Path, scratch: Path, make: type[FilesSource] | type[SqliteSource]
) -> None:
    with pytest.raises(SourceFailed, match="source crm"):
        found_in(make("crm", tmp_path / "absent"), scratch)


def test_a_database_that_stays_locked_is_given_up(
    scratch: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.sources.sqlite._BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceFailed, match="another program locked it"):
            found_in(SqliteSource("crm", database), scratch)


def test_what_the_user_of_a_source_raises_is_not_the_sources_failure(
    tmp_path: Path, scratch: Path, database: Path
) -> None:
    for source in (FilesSource("a", tmp_path), SqliteSource("a", database)):
        with pytest.raises(OSError, match="my own"), source.opened(scratch, now):
            raise OSError("my own")
