"""A restore writes inside its target and nowhere else, whatever the manifest says."""

import os
from pathlib import Path
from typing import Any

import pytest

from backup.errors import NotWritable, UnsafePath, UsageError
from backup.format.manifest import Entry
from backup.restore import TreeWriter
from tests.backup.site import Site
from tests.backup.trees import describe, plain_tree


def entry(path: bytes, kind: str = "file", **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "path": path,
        "kind": kind,
        "mode": 0o755 if kind == "directory" else 0o644,
        "uid": os.getuid(),
        "gid": os.getgid(),
        "user": "",
        "group": "",
        "modified_ns": 0,
        "size": 0,
        "blobs": (),
        "lists": (),
        "holes": (),
        "xattrs": (),
        "target": None,
        "hard_link": None,
        "device": None,
    }
    return Entry(**(fields | changes))


def write(tree: TreeWriter, item: Entry, content: bytes = b"") -> None:
    if item.kind != "file":
        tree.add(item)
        return
    tree.begin(item)
    tree.write(content)
    tree.end()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("untouched")
    return folder


@pytest.mark.parametrize(
    "path",
    [b"../outside/new", b"/tmp/new", b"s/../../outside/new", b"", b".", b"s//a", b"s/",
     b"s/a\0b", b"./a"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "fifo"])
def test_a_path_that_leads_out_is_refused_and_named(
    tmp_path: Path, outside: Path, path: bytes, kind: str
) -> None:
    before = describe(outside)
    with TreeWriter(tmp_path / "out", owner=False) as tree:
        write(tree, entry(path, kind, target=b"x" if kind == "symlink" else None))
        write(tree, entry(b"t/good", size=2), b"ok")
    assert len(tree.problems) == 1
    assert describe(outside) == before
    assert sorted(describe(tmp_path / "out")) == [b"t", b"t/good"]


def test_a_link_is_not_walked_through(tmp_path: Path, outside: Path) -> None:
    before = describe(outside)
    with TreeWriter(tmp_path / "out", owner=False) as tree:
        for target in (os.fsencode(outside), b"../outside"):
            name = b"s/way" + str(len(target)).encode()
            write(tree, entry(name, "symlink", target=target))
            write(tree, entry(name + b"/new", size=1), b"x")
            write(tree, entry(name + b"/deep/new", size=1), b"x")
            write(tree, entry(name + b"/folder", "directory"))
    assert len(tree.problems) == 6
    assert describe(outside) == before
    assert (tree.files, tree.directories) == (0, 0)


def test_a_link_is_not_written_through(tmp_path: Path, outside: Path) -> None:
    with TreeWriter(tmp_path / "out", owner=False) as tree:
        write(tree, entry(b"a", "symlink", target=os.fsencode(outside / "precious")))
        write(tree, entry(b"a", size=5), b"owned")
        write(tree, entry(b"b", size=1), b"1")
        write(tree, entry(b"b", size=1), b"2")
    assert (outside / "precious").read_text() == "untouched"
    assert (tmp_path / "out" / "b").read_text() == "1"
    assert [problem.path for problem in tree.problems] == ["a", "b"]


@pytest.mark.parametrize(
    "first", [b"../outside/precious", b"way/precious", b"absent", b"", b"/etc/passwd"]
)
def test_a_hard_link_to_what_was_not_restored_is_not_made(
    tmp_path: Path, outside: Path, first: bytes
) -> None:
    with TreeWriter(tmp_path / "out", owner=False) as tree:
        write(tree, entry(b"way", "symlink", target=os.fsencode(outside)))
        assert not tree.link(entry(b"x", hard_link=first))
    assert (outside / "precious").stat().st_nlink == 1


def test_a_restore_over_something_is_refused(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    before = describe(source)
    with pytest.raises(UnsafePath, match="not empty"):
        site.restore("latest", source)
    with pytest.raises(UnsafePath, match="no folder"):
        site.restore("latest", source / "note.txt")
    assert describe(source) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    assert site.restore("latest", empty).problems == ()


def test_a_full_disk_ends_the_restore_and_says_so(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(plain_tree(tmp_path / "source"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(NotWritable, match=r"No space.*Make room"):
            site.restore("latest", tmp_path / "out")
    assert [
        path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.stat().st_size
    ] == []


def test_content_that_does_not_fit_its_size_leaves_no_file(tmp_path: Path) -> None:
    with TreeWriter(tmp_path / "out", owner=False) as tree:
        write(tree, entry(b"short", size=10), b"12345")
        write(tree, entry(b"long", size=3), b"12345")
        write(tree, entry(b"right", size=5), b"12345")
    assert [problem.path for problem in tree.problems] == ["short", "long"]
    assert sorted(describe(tmp_path / "out")) == [b"right"]


def test_set_id_bits_come_back_with_the_owner_only(tmp_path: Path) -> None:
    with TreeWriter(tmp_path / "without", owner=False) as tree:
        write(tree, entry(b"tool", mode=0o4755))
    assert (tmp_path / "without" / "tool").stat().st_mode & 0o7777 == 0o755
    assert ["set-id" in problem.reason for problem in tree.problems] == [True]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_restores_owners_when_asked(tmp_path: Path) -> None:
    with TreeWriter(tmp_path / "with", owner=True) as tree:
        write(tree, entry(b"folder", "directory", uid=1234, gid=2345))
        write(tree, entry(b"folder/tool", mode=0o4755, uid=1234, gid=2345))
        write(tree, entry(b"link", "symlink", target=b"x", uid=1234, gid=2345))
    assert tree.problems == []
    for name in ("folder", "folder/tool", "link"):
        status = (tmp_path / "with" / name).lstat()
        assert (status.st_uid, status.st_gid) == (1234, 2345)
    assert (tmp_path / "with/folder/tool").stat().st_mode & 0o7777 == 0o4755


def test_who_is_not_root_cannot_ask_for_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="root"):
        TreeWriter(tmp_path / "out", owner=True)
    assert not (tmp_path / "out").exists()


def test_a_read_only_folder_comes_back_with_what_is_in_it(tmp_path: Path) -> None:
    with TreeWriter(tmp_path / "out", owner=False) as tree:
        write(tree, entry(b"locked", "directory", mode=0o555, modified_ns=7))
        write(tree, entry(b"locked/a", size=1), b"1")
        write(tree, entry(b"other", size=1), b"2")
    status = (tmp_path / "out/locked").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o555, 7)


@pytest.mark.parametrize("ends", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_restore_leaves_no_half_file(
    tmp_path: Path, ends: type[BaseException]
) -> None:
    def interrupted() -> None:
        with TreeWriter(tmp_path / "out", owner=False) as tree:
            tree.begin(entry(b"half", size=10))
            tree.write(b"12345")
            raise ends

    with pytest.raises(ends):
        interrupted()
    assert list((tmp_path / "out").iterdir()) == []
