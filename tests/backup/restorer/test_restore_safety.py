"""A restore writes only inside its target, whatever the manifest says."""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup.errors import BackupError, Busy, NotWritable, UnsafePath, UsageError
from backup.format.manifest import Entry
from backup.records import Progress
from backup.restorer import tree_writer as restore_target
from backup.restorer.resume_check import Proof
from backup.restorer.safe_paths import JOURNAL
from backup.restorer.tree_writer import TreeWriter
from backup.stores.directory import DirectoryStore
from tests.backup.site import Site, new_site
from tests.backup.trees import KIB, describe, noise, plain_tree, strange_tree


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


@contextmanager
def tree_in(
    target: Path, *, owner: bool = False, is_resumed: bool = False, umask: int = 0o777
) -> Iterator[TreeWriter]:
    target.mkdir(exist_ok=True)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with TreeWriter(root, owner=owner, umask=umask, is_resumed=is_resumed) as tree:
            yield tree
    finally:
        os.close(root)


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
     b"s/a\0b", b"./a", b"/x", b"/.standfast-restore"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "fifo"])
def test_path_out_of_target_is_refused_and_named(
    tmp_path: Path, outside: Path, path: bytes, kind: str
) -> None:
    before = describe(outside)
    with tree_in(tmp_path / "out", owner=False) as tree:
        write(tree, entry(path, kind, target=b"x" if kind == "symlink" else None))
        write(tree, entry(b"t/good", size=2), b"ok")
    assert len(tree.problems) == 1
    assert describe(outside) == before
    assert sorted(describe(tmp_path / "out")) == [b"t", b"t/good"]


@pytest.mark.parametrize("path", [b".standfast-restore", b"/.standfast-restore"])
@pytest.mark.parametrize("is_resumed", [False, True])
def test_journal_name_is_refused_as_a_path(tmp_path: Path, path: bytes, is_resumed: bool) -> None:
    journal = tmp_path / ".standfast-restore"
    journal.write_text("journal")
    with tree_in(tmp_path, is_resumed=is_resumed) as tree:
        write(tree, entry(path, size=6), b"forged")
        tree.write_file(entry(path, size=6), b"forged")
        write(tree, entry(path, "symlink", target=b"x"))
    assert len(tree.problems) == 3
    assert all("not restored" in problem.reason for problem in tree.problems)
    assert journal.read_text() == "journal"


def test_a_link_is_not_walked_through(tmp_path: Path, outside: Path) -> None:
    before = describe(outside)
    with tree_in(tmp_path / "out", owner=False) as tree:
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
    with tree_in(tmp_path / "out", owner=False) as tree:
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
def test_hard_link_to_missing_file_is_not_created(
    tmp_path: Path, outside: Path, first: bytes
) -> None:
    with tree_in(tmp_path / "out", owner=False) as tree:
        write(tree, entry(b"way", "symlink", target=os.fsencode(outside)))
        assert not tree.link(b"x", first)
    assert (outside / "precious").stat().st_nlink == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_target_without_hard_links_gets_separate_files(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    source = tmp_path / "source"
    (source / "later").mkdir(parents=True)
    (source / "a").write_bytes(noise(40 * KIB, 1))
    (source / "b").hardlink_to(source / "a")
    (source / "later" / "c").hardlink_to(source / "a")
    site.back_up(source)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    result = site.restore("latest", tmp_path / "out", workers=workers)
    assert (result.problems, result.files) == ((), 3)
    for name in ("a", "b", "later/c"):
        restored = tmp_path / "out/files" / name
        assert restored.read_bytes() == (source / name).read_bytes()
        assert restored.stat().st_nlink == 1


def test_a_restore_over_something_is_refused(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    before, changed = describe(source), source.stat().st_mtime_ns
    with pytest.raises(UnsafePath, match="not empty"):
        site.restore("latest", source)
    assert source.stat().st_mtime_ns == changed
    with pytest.raises(UnsafePath, match="not a folder"):
        site.restore("latest", source / "note.txt")
    assert describe(source) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    assert site.restore("latest", empty).problems == ()


def test_full_disk_ends_the_restore(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(plain_tree(tmp_path / "source"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(restore_target, "write_at", full)
        with pytest.raises(NotWritable, match=r"No space.*Make room"):
            site.restore("latest", tmp_path / "out")
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in left if path.stat().st_size} == {".standfast-restore"}
    result = site.restore("latest", tmp_path / "out")
    assert (result.problems, result.is_resumed) == ((), True)
    assert describe(tmp_path / "out/files") == describe(tmp_path / "source")


@pytest.mark.parametrize("way", [write, TreeWriter.write_file], ids=["in parts", "at once"])
def test_content_of_wrong_size_leaves_no_file(
    tmp_path: Path, way: Callable[[TreeWriter, Entry, bytes], None]
) -> None:
    with tree_in(tmp_path / "out", owner=False) as tree:
        way(tree, entry(b"short", size=10), b"12345")
        way(tree, entry(b"long", size=3), b"12345")
        way(tree, entry(b"right", size=5), b"12345")
    assert [problem.path for problem in tree.problems] == ["short", "long"]
    assert sorted(describe(tmp_path / "out")) == [b"right"]


@pytest.mark.parametrize("is_full", [False, True])
def test_short_write_of_small_file_never_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    write_some = os.write

    def full(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", lambda to, content: write_some(to, content[:2]))
    if is_full:
        monkeypatch.setattr(os, "pwrite", full)
    with tree_in(tmp_path / "out") as tree:
        tree.write_file(entry(b"note", size=5), b"12345")
    if is_full:
        assert [problem.path for problem in tree.problems] == ["note"]
        assert list((tmp_path / "out").iterdir()) == []
    else:
        assert tree.problems == []
        assert (tmp_path / "out/note").read_bytes() == b"12345"


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_set_id_bits_are_restored_only_with_owner(tmp_path: Path, mode: int) -> None:
    with tree_in(tmp_path / "without", owner=False) as tree:
        write(tree, entry(b"tool", mode=mode))
    assert (tmp_path / "without" / "tool").stat().st_mode & 0o7777 == 0o755
    assert ["set-id" in problem.reason for problem in tree.problems] == [True]
    with tree_in(tmp_path / "at once", owner=False, umask=0) as tree:
        tree.write_file(entry(b"tool", mode=mode, size=4), b"data")
    assert (tmp_path / "at once" / "tool").stat().st_mode & 0o7777 == 0o755
    assert ["set-id" in problem.reason for problem in tree.problems] == [True]


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("name", [b"security.capability", b"trusted.overlay.origin"])
def test_privileged_attributes_are_restored_only_with_owner(
    tmp_path: Path, kind: str, name: bytes
) -> None:
    xattrs = ((name, bytes.fromhex("0100000280000000000000000000000000000000")),)
    with tree_in(tmp_path / "without", owner=False) as tree:
        write(tree, entry(b"tool", kind, xattrs=(*xattrs, (b"user.who", b"agent"))))
    assert os.listxattr(tmp_path / "without" / "tool") == ["user.who"]
    reasons = [problem.reason for problem in tree.problems]
    assert reasons == [f"without attribute {name.decode()}; it needs the owner"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_restores_capabilities_with_owners(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000280000000000000000000000000000000")
    with tree_in(tmp_path / "with", owner=True) as tree:
        write(tree, entry(b"tool", xattrs=((b"security.capability", capability),)))
    assert tree.problems == []
    assert os.getxattr(tmp_path / "with" / "tool", "security.capability") == capability


@pytest.mark.parametrize("call", ["fchown", "chown", "fchmod", "chmod", "utime"])
def test_unsupported_attributes_cost_no_content(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT stores no owners, and root in a container may not change them."""
    site = new_site(tmp_path)
    source = strange_tree(tmp_path / "source")
    site.back_up(source)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, call, refused)
    result = site.restore("latest", tmp_path / "out", owner=True)
    monkeypatch.undo()
    for path in source.rglob("*"):
        back = tmp_path / "out/files" / path.relative_to(source)
        assert back.is_symlink() == path.is_symlink()
        if path.is_file():
            assert back.read_bytes() == path.read_bytes()
    assert result.problems
    assert not any(problem.is_missing for problem in result.problems)
    lacks = {"fchown": "owner", "chown": "owner", "fchmod": "mode", "chmod": "mode"}
    reason = f"without its {lacks.get(call, 'time')}: Operation not permitted"
    assert {p.reason for p in result.problems if "set-id" not in p.reason} == {reason}


def test_target_without_modes_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "half").write_bytes(b"te??")
    proof = Proof.of((out / "half").stat())

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refused)
    with tree_in(out, is_resumed=True) as tree:
        tree.begin(entry(b"half", size=4), proof)
        tree.skip(2)
        tree.write(b"xt")
        tree.end()
    assert (out / "half").read_bytes() == b"text"
    assert [one.reason for one in tree.problems] == ["without its mode: Operation not permitted"]


def test_file_without_its_owner_gets_no_owner_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    capability = (b"security.capability", bytes.fromhex("01000002" + "80000000" + 24 * "0"))
    with tree_in(tmp_path / "out", owner=True) as tree:
        write(tree, entry(b"tool", mode=0o6755, uid=1234, size=4, xattrs=(capability,)), b"text")
    tool = tmp_path / "out/tool"
    assert tool.read_bytes() == b"text"
    assert tool.stat().st_mode & 0o7777 == 0o755
    assert os.listxattr(tool) == []
    assert len(tree.problems) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_restores_owners_when_asked(tmp_path: Path) -> None:
    with tree_in(tmp_path / "with", owner=True) as tree:
        write(tree, entry(b"folder", "directory", uid=1234, gid=2345))
        write(tree, entry(b"folder/tool", mode=0o4755, uid=1234, gid=2345))
        write(tree, entry(b"link", "symlink", target=b"x", uid=1234, gid=2345))
    assert tree.problems == []
    for name in ("folder", "folder/tool", "link"):
        status = (tmp_path / "with" / name).lstat()
        assert (status.st_uid, status.st_gid) == (1234, 2345)
    assert (tmp_path / "with/folder/tool").stat().st_mode & 0o7777 == 0o4755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("kind", ["plain", "gives its group", "masks modes"])
def test_small_files_get_owner_and_mode_everywhere(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if kind == "gives its group":
        os.chown(out, -1, 2345)
        out.chmod(0o2755)
    elif kind == "masks modes":
        everyone = 0xFFFFFFFF
        rights = struct.pack("<I" + 3 * "HHI", 2, 1, 7, everyone, 4, 0, everyone, 32, 0, everyone)
        os.setxattr(out, "system.posix_acl_default", rights)
    before = os.umask(0)
    try:
        with tree_in(out, owner=True, umask=0) as tree:
            tree.write_file(entry(b"open", size=4), b"text")
            tree.write_file(entry(b"closed", mode=0o640, size=4), b"text")
            tree.write_file(entry(b"other's", uid=1234, gid=2345, size=4), b"text")
            tree.write_file(entry(b"team's", gid=2345, size=4), b"text")
        assert tree.problems == []
    finally:
        os.umask(before)
    found = {path.name: path.stat() for path in out.iterdir()}
    assert {
        name: (one.st_mode & 0o7777, one.st_uid, one.st_gid) for name, one in found.items()
    } == {
        "open": (0o644, os.getuid(), os.getgid()),
        "closed": (0o640, os.getuid(), os.getgid()),
        "other's": (0o644, 1234, 2345),
        "team's": (0o644, os.getuid(), 2345),
    }


def test_small_file_attributes_ignore_the_umask(
    tmp_path: Path,
) -> None:
    before = os.umask(0o027)
    try:
        with tree_in(tmp_path / "out", umask=0o027) as tree:
            tree.write_file(entry(b"open", mode=0o666, size=4), b"text")
            tree.write_file(
                entry(b"told", mode=0o640, size=4, xattrs=((b"user.who", b"agent"),)), b"text"
            )
    finally:
        os.umask(before)
    assert tree.problems == []
    assert (tmp_path / "out/open").stat().st_mode & 0o7777 == 0o666
    assert os.getxattr(tmp_path / "out/told", "user.who") == b"agent"


def test_unprivileged_user_cannot_request_owners(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="root"):
        site.restore("latest", tmp_path / "out", owner=True)
    assert not (tmp_path / "out").exists()


def test_read_only_folder_is_restored_with_content(tmp_path: Path) -> None:
    with tree_in(tmp_path / "out", owner=False) as tree:
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
        with tree_in(tmp_path / "out", owner=False) as tree:
            tree.begin(entry(b"half", size=10))
            tree.write(b"12345")
            raise ends

    with pytest.raises(ends):
        interrupted()
    assert list((tmp_path / "out").iterdir()) == []


def test_the_target_itself_may_be_no_link(site: Site, tmp_path: Path, outside: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    before = describe(outside)
    (tmp_path / "way").symlink_to(outside)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty-way").symlink_to(tmp_path / "empty")
    for name in ("way", "empty-way"):
        with pytest.raises(UnsafePath, match="symbolic link"):
            site.restore("latest", tmp_path / name)
    assert describe(outside) == before
    assert not any((tmp_path / "empty").iterdir())


def test_journal_that_is_a_link_is_not_written(site: Site, tmp_path: Path, outside: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.standfast-restore").symlink_to(outside / "precious")
    with pytest.raises(BackupError):
        site.restore("latest", tmp_path / "out")
    assert (outside / "precious").read_text() == "untouched"


def test_foreign_file_next_to_empty_journal_is_kept(site: Site, tmp_path: Path) -> None:
    """The restore died before it wrote its journal; the folder is used since."""
    site.back_up(plain_tree(tmp_path / "source"))
    out = tmp_path / "out"
    (out / "files").mkdir(parents=True)
    (out / "files" / "note.txt").write_text("mine")
    (out / JOURNAL.decode()).touch()
    with pytest.raises(UnsafePath, match="not empty"):
        site.restore("latest", out)
    assert (out / "files" / "note.txt").read_text() == "mine"
    assert [path.name for path in out.iterdir()] == ["files"]


def test_unusable_target_is_named_and_retryable(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    with pytest.raises(NotWritable, match="/proc/nowhere"):
        site.restore("latest", Path("/proc/nowhere"))
    out = tmp_path / "out"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for call in ("pwrite", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            told = f"{out}: cannot be written .No space left on device"
            with pytest.raises(NotWritable, match=told):
                site.restore("latest", out)
    assert site.restore("latest", out).problems == ()
    assert describe(out / "files") == describe(tmp_path / "source")


def test_the_manifest_cannot_replace_the_journal(tmp_path: Path) -> None:
    with tree_in(tmp_path / "out") as tree:
        write(tree, entry(b".standfast-restore", size=2), b"no")
        write(tree, entry(b".standfast-restore/x", size=2), b"no")
        write(tree, entry(b"s/.standfast-restore", size=3), b"yes")
    assert [problem.path for problem in tree.problems] == [
        ".standfast-restore",
        ".standfast-restore/x",
    ]
    assert sorted(describe(tmp_path / "out")) == [b"s", b"s/.standfast-restore"]


def test_link_created_during_the_restore_leads_nowhere(tmp_path: Path, outside: Path) -> None:
    before = describe(outside)
    out = tmp_path / "out"
    with tree_in(out) as tree:
        write(tree, entry(b"s/a/one", size=1), b"1")
        write(tree, entry(b"s/b", "directory"))
        # Between two entries, another process moves the folders away and replaces them by links.
        (out / "s/a").rename(tmp_path / "moved-a")
        (out / "s/a").symlink_to(outside)
        (out / "s/b").rmdir()
        (out / "s/b").symlink_to(outside)
        write(tree, entry(b"s/a/two", size=1), b"2")
        write(tree, entry(b"s/b/three", size=1), b"3")
        assert not tree.link(b"s/c", b"s/a/precious")
    assert describe(outside) == before


def test_file_replaced_by_link_is_not_followed(tmp_path: Path, outside: Path) -> None:
    out = tmp_path / "out"
    (out / "s").mkdir(parents=True)
    (out / "s/a").symlink_to(outside / "precious")
    (out / "s/b").mkdir()
    with tree_in(out, is_resumed=True) as tree:
        write(tree, entry(b"s/a", size=1), b"1")
        write(tree, entry(b"s/b", size=1), b"2")
    assert (outside / "precious").read_text() == "untouched"
    assert (out / "s/a").read_text() == "1"
    assert [problem.path for problem in tree.problems] == ["s/b"]


def test_names_merged_by_file_system_are_not_mixed(tmp_path: Path) -> None:
    """Without case, the second name opens the file of the first name."""
    with tree_in(tmp_path / "out") as tree:
        write(tree, entry(b"s/Readme", size=1), b"1")
        os.link(tmp_path / "out/s/Readme", tmp_path / "out/s/README")
        write(tree, entry(b"s/README", size=1), b"2")
        write(tree, entry(b"s/README/deeper", size=1), b"3")
    assert (tmp_path / "out/s/Readme").read_text() == "1"
    assert [problem.path for problem in tree.problems] == ["s/README", "s/README/deeper"]


def test_two_restores_never_write_into_one_target(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    out = tmp_path / "out"
    refused: list[str] = []

    def again(_: Progress) -> None:
        if not refused:
            with pytest.raises(Busy, match="another restore"):
                site.restore("latest", out)
            refused.append("yes")

    assert site.restore("latest", out, progress=again, workers=1).problems == ()
    assert refused


@pytest.mark.sampled
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_many_workers_restore_the_same_tree(tmp_path: Path, workers: int) -> None:
    source = strange_tree(tmp_path / "source")
    for number in range(1500):
        folder = source / f"{number // 100:02}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_text(f"number {number}")
        if number % 9 == 0:
            os.link(folder / f"{number}", source / f"link-{number}")
    for folder in source.glob("[0-9]*"):
        os.utime(folder, ns=(1, 1_300_000_000_000_000_000))
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    site.back_up(source)
    for patterns in ((), ("files/0*/1*", "files/link-*")):
        out = tmp_path / f"out{len(patterns)}"
        result = site.restore("latest", out, *patterns, workers=workers)
        assert result.problems == ()
        alone = site.restore("latest", tmp_path / f"alone{len(patterns)}", *patterns, workers=1)
        assert (result.files, result.directories, result.bytes) == (
            alone.files,
            alone.directories,
            alone.bytes,
        )
        assert describe(out) == describe(tmp_path / f"alone{len(patterns)}")
    assert describe(tmp_path / "out0/files") == describe(source)
