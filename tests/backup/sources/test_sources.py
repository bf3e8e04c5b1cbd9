"""Results and side effects of sources."""

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


def test_every_source_yields_root_first_in_order(
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


def test_source_reports_its_consistent_moment(
    tmp_path: Path, scratch: Path, database: Path
) -> None:
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
def test_excluded_paths_are_not_yielded(
    tmp_path: Path, scratch: Path, exclude: list[str], left: set[str]
) -> None:
    source = FilesSource("a", plain_tree(tmp_path / "tree"), exclude)
    assert {found.path.decode() for found in found_in(source, scratch)} == left | {""}


def test_only_the_root_may_be_a_link(tmp_path: Path, scratch: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    (tmp_path / "way").symlink_to(tree)
    (tree / "inside").symlink_to(tmp_path)
    paths = {found.path for found in found_in(FilesSource("a", tmp_path / "way"), scratch)}
    assert b"note.txt" in paths
    assert b"inside" in paths
    assert not [path for path in paths if path.startswith(b"inside/")]


def test_tree_deeper_than_path_limit_is_yielded(tmp_path: Path, scratch: Path) -> None:
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
def test_missing_source_fails_with_its_name(
    tmp_path: Path, scratch: Path, make: type[FilesSource] | type[SqliteSource]
) -> None:
    with pytest.raises(SourceFailed, match="source crm"):
        found_in(make("crm", tmp_path / "absent"), scratch)


def test_permanently_locked_database_is_abandoned(
    scratch: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.sources.sqlite.BUSY_SECONDS", 0.0)
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceFailed, match="another program locked it"):
            found_in(SqliteSource("crm", database), scratch)


def test_error_of_the_caller_is_no_source_failure(
    tmp_path: Path, scratch: Path, database: Path
) -> None:
    for source in (FilesSource("a", tmp_path), SqliteSource("a", database)):
        with pytest.raises(OSError, match="my own"), source.opened(scratch, now):
            raise OSError("my own")
