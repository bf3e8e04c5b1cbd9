"""Lists, searches and comparisons of points, and their numbers of reads."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from backup.errors import NotFound, UsageError
from backup.format.canonical_json import from_path_text
from backup.format.manifest import Kind, path_key
from backup.format.snapshot import Body, Snapshot
from backup.reader.blob_reader import BlobReader
from backup.reader.manifest_walk import leaves, top_page
from backup.reader.path_selection import Selection
from backup.records import Difference, RecoveryPoint, Unread
from backup.repository import Repository
from backup.sources import Content, Found, OpenSource, Source
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import Site, new_site
from tests.backup.trees import describe, plain_tree, strange_tree

MANY = 100_000
CHANGED = 83_456


class CountingStore(MemoryStore):
    """A store that counts the ranges that are read of packs."""

    reads = 0

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        self.reads += "/p/" in name
        return super()._get_range(name, start, length)


class ManyPaths(Source):
    """A source of very many small files, one of which changes in each run."""

    kind = "many"

    def __init__(self, version: int) -> None:
        super().__init__("many")
        self.version = version

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        yield _Open(self.name, now(), self.version)


class _Open(OpenSource):
    def __init__(self, name: str, consistent_at: datetime, version: int) -> None:
        super().__init__(name, consistent_at)
        self._version = version

    def _scan(self) -> Iterator[Found | Unread]:
        yield self._found(b"", "directory", 0)
        for number in range(MANY):
            if number % 1000 == 0:
                yield self._found(b"%03d" % (number // 1000), "directory", 0)
            version = self._version if number == CHANGED else 0
            yield self._found(b"%03d/%06d" % (number // 1000, number), "symlink", version)

    def _found(self, path: bytes, kind: Kind, version: int) -> Found:
        return Found(
            path=path,
            kind=kind,
            mode=0o755,
            uid=0,
            gid=0,
            user="",
            group="",
            modified_ns=version,
            size=0,
            target=b"version %d" % version if kind == "symlink" else None,
            device=None,
            same_file=None,
            vector=(len(path), version),
            changed_ns=0,
        )

    def read(self, found: Found) -> Content:  # type: ignore[override]  # nothing here is a file
        raise AssertionError(found)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        raise AssertionError(found)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = new_site(tmp_path_factory.mktemp("many"), CountingStore())
    for version in (0, 1):
        site.back_up(ManyPaths(version))
    return site


def opened(site: Site) -> tuple[Repository, list[RecoveryPoint], CountingStore]:
    repository = site.repository()
    points = repository.points()
    store = site.vault
    assert isinstance(store, CountingStore)
    store.reads = 0
    return repository, points, store


def pages_of(site: Site) -> int:
    repository = site.repository()
    _, body, reader = repository.open_point(repository.resolve("latest"))
    return len(list(leaves(reader, top_page(body), Selection(()))))


def test_path_among_many_needs_few_pages(many: Site, tmp_path: Path) -> None:
    assert pages_of(many) > 50
    repository, points, store = opened(many)
    result = repository.restore(points[-1], tmp_path / "out", ["many/083/083456"], workers=1)
    assert (result.problems, (tmp_path / "out/many/083/083456").readlink()) == (
        (),
        Path("version 1"),
    )
    assert store.reads < 25, "each a pack's header, or a range of it"


def test_large_folder_listing_needs_few_pages(many: Site) -> None:
    repository, points, store = opened(many)
    assert len(repository.list_folder(points[-1], "many/077")) == 1000
    assert store.reads < 25
    repository, points, store = opened(many)
    assert [entry.path for entry in repository.list_folder(points[-1])] == [b"many"]
    assert store.reads < 25


def test_comparison_of_similar_points_reads_few_pages(many: Site) -> None:
    repository, points, store = opened(many)
    (found,) = repository.diff(points[0], points[1])
    assert (found.path, found.change, found.aspects) == (
        "many/083/083456",
        "changed",
        ("target", "time"),
    )
    assert store.reads < 25


def test_search_reads_shared_pages_once(many: Site) -> None:
    repository, points, store = opened(many)
    found = repository.find(["083456"], points[1:])
    once, store.reads = store.reads, 0
    assert [row.points for row in found] == [(points[1].name,)]
    found = repository.find(["083456"], points)
    assert store.reads < once + 25
    assert {row.points for row in found} == {(points[0].name,), (points[1].name,)}


@pytest.fixture
def two(site: Site, tmp_path: Path) -> tuple[Site, Path]:
    source = strange_tree(tmp_path / "source")
    site.back_up(source)
    (source / "note.txt").write_text("changed")
    (source / "calls/two.wav").chmod(0o600)
    (source / "empty").unlink()
    (source / "new").write_text("new")
    os.setxattr(source / "calls/one.wav", "user.x", b"1")
    (source / "link").unlink()
    (source / "link").mkdir()
    (source / "fifo").unlink()
    site.back_up(source)
    return site, source


def test_comparison_names_each_difference(two: tuple[Site, Path]) -> None:
    site, _ = two
    repository = site.repository()
    old, new = repository.points()
    found = {one.path.removeprefix("files/"): one for one in repository.diff(old, new)}
    assert {path: one.change for path, one in found.items() if one.change != "changed"} == {
        "empty": "removed",
        "fifo": "removed",
        "new": "added",
    }
    assert "content" in found["note.txt"].aspects
    assert found["calls/two.wav"].aspects == ("mode",)
    assert found["calls/one.wav"].aspects == ("xattrs",)
    assert "kind" in found["link"].aspects
    assert (found["new"].size_before, found["new"].size_after) == (None, 3)
    turned = {one.path.removeprefix("files/"): one for one in repository.diff(new, old)}
    assert turned["new"].change == "removed"
    assert turned.keys() == found.keys()


def test_comparison_equals_a_walk_of_both_trees(tmp_path: Path, site: Site) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3000):
        (source / f"{number:04}").write_text(str(number))
    site.back_up(source)
    for number in range(0, 3000, 7):
        (source / f"{number:04}").unlink()
    for number in range(0, 3000, 11):
        (source / f"{number:04}+").mkdir()
    (source / "2999").write_text("changed")
    site.back_up(source)
    repository = site.repository()
    old, new = repository.points()
    before = {entry.path: entry for entry in repository.entries(old)}
    after = {entry.path: entry for entry in repository.entries(new)}
    expected = [
        path
        for path in sorted(before.keys() | after.keys(), key=path_key)
        if _facts(before.get(path)) != _facts(after.get(path))
    ]
    assert [one.path.encode() for one in repository.diff(old, new)] == expected
    assert list(repository.diff(new, new)) == []
    some: list[Difference] = list(repository.diff(old, new, ["files/0*7"]))
    assert {one.path for one in some} == {
        path.decode() for path in expected if path.startswith(b"files/0") and path.endswith(b"7")
    }


def _facts(entry: object) -> object:
    names = ("kind", "size", "mode", "modified_ns", "target")
    ids = [ref.id for ref in getattr(entry, "blobs", ())]
    return None if entry is None else (ids, *(getattr(entry, name) for name in names))


def test_points_without_common_id_key_are_not_compared(
    two: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, _ = two
    repository = site.repository()
    old, new = repository.points()
    real = Repository.open_point

    def other_key(self: Repository, point: RecoveryPoint) -> tuple[Snapshot, Body, BlobReader]:
        snapshot, body, reader = real(self, point)
        key = bytes(32) if point.name == old.name else body.id_key
        return snapshot, replace(body, id_key=key), reader

    monkeypatch.setattr(Repository, "open_point", other_key)
    with pytest.raises(UsageError, match="cannot be compared"):
        list(repository.diff(old, new))


def test_folder_lists_its_direct_content(two: tuple[Site, Path]) -> None:
    site, source = two
    repository = site.repository()
    point = repository.resolve("latest")
    for folder in ("", "calls", "calls-old", "link"):
        listed = repository.list_folder(point, f"files/{folder}".rstrip("/"))
        names = [entry.path.rpartition(b"/")[2] for entry in listed]
        assert sorted(names) == sorted(
            os.fsencode(path.name) for path in (source / folder).iterdir()
        )
        assert names == sorted(names)
    assert [entry.text for entry in repository.list_folder(point, "files/note.txt")] == [
        "files/note.txt"
    ]
    with pytest.raises(NotFound):
        repository.list_folder(point, "files/absent")


def test_search_returns_each_version_with_its_points(two: tuple[Site, Path]) -> None:
    site, _ = two
    repository = site.repository()
    old, new = repository.points()
    rows = repository.find(["note.txt"], [old, new])
    assert [(row.path, row.points) for row in rows] == [
        ("files/note.txt", (new.name,)),
        ("files/note.txt", (old.name,)),
    ]
    (row,) = repository.find(["files/calls-old/*"], [old, new])
    assert row.points == (new.name, old.name)
    assert [row.path for row in repository.find(["calls"], [new])] == ["files/calls"]
    assert repository.find(["absent*"], [old, new]) == []


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["files/calls"], {"calls", "calls/one.wav", "calls/two.wav"}),
        (["files/**/*.wav"], {"calls", "calls/one.wav", "calls/two.wav"}),
        (["**/note.txt"], {"note.txt"}),
        (["files/calls/**"], {"calls", "calls/one.wav", "calls/two.wav"}),
        (["files/[ce]*y", "files/note.???"], {"empty", "note.txt"}),
        (["files/[!c]*"], {"empty", "note.txt"}),
        (["files/calls-old/dump.sql", "files/empty"], {"calls-old", "calls-old/dump.sql", "empty"}),
    ],
)
def test_patterns_select_what_is_restored(
    site: Site, tmp_path: Path, patterns: list[str], expected: set[str]
) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    result = site.restore("latest", tmp_path / "out", *patterns)
    assert result.problems == ()
    restored = describe(tmp_path / "out/files")
    assert set(restored) == {path.encode() for path in expected}
    whole = describe(source)
    assert restored == {path: fact for path, fact in whole.items() if path in restored}
    shutil.rmtree(tmp_path / "out")


def test_every_path_selects_itself_as_it_is_listed(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    names = (b"bad\xff", b"bad%FF", b"line\nbreak", b"[ab]", b"[ab", b"a]", b"*", b"?", b"100%41")
    for name in names:
        folder = source / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / "note.txt").write_bytes(name)
    (source / "bystander").write_text("selected by nobody but the star")
    site.back_up(source)
    repository = site.repository()
    point = repository.resolve("latest")
    listed = [entry.text for entry in repository.list_folder(point, b"files")]
    assert len(listed) == len(names) + 1
    for number, text in enumerate(listed):
        note = from_path_text(text, "a path") + b"/note.txt"
        out = tmp_path / f"out-{number}"
        assert repository.restore(point, out, [text]).problems == ()
        restored = describe(out)
        assert note in restored or text == "files/bystander"
        assert (b"files/bystander" in restored) == (text in ("files/*", "files/bystander"))
        for searched in (text, text.removeprefix("files/")):
            assert text in {row.path for row in repository.find([searched], [point])}
