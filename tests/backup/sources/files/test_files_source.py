"""Round trips of all file types; exclusions are recorded."""

import os
import random
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup.errors import NothingToBackUp
from backup.records import BackupResult, Unread
from backup.sources.files import folder_listing
from backup.sources.files.files_source import FilesSource
from backup.stores.directory import DirectoryStore
from tests.backup.site import Site, new_site
from tests.backup.sources.test_sources import found_in, now
from tests.backup.trees import KIB, describe, noise, plain_tree
from tests.servers import refused_to_root

_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 65534
_NO_ID = 0xFFFFFFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Encode a POSIX access control list as Linux stores it in an attribute."""
    return struct.pack("<I", _ACL_VERSION) + b"".join(
        struct.pack("<HHI", tag, permissions, who) for tag, permissions, who in entries
    )


SHARED = acl(
    (_USER_OBJ, 6, _NO_ID),
    (_USER, 4, _NOBODY),
    (_GROUP_OBJ, 4, _NO_ID),
    (_MASK, 4, _NO_ID),
    (_OTHER, 0, _NO_ID),
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def named(items: tuple[Unread, ...]) -> dict[str, str]:
    return {item.path: item.reason for item in items}


def check_round_trip(
    site: Site, source: FilesSource, original: Path, out: Path, *without: bytes, owner: bool = False
) -> BackupResult:
    result = site.back_up(source)
    assert result.complete
    assert result.warnings == ()
    assert site.restore("latest", out, owner=owner).problems == ()
    wanted = describe(original)
    assert wanted
    for path in without:
        del wanted[path]
    assert describe(out / source.name) == wanted
    return result


def test_access_control_lists_are_restored(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    os.setxattr(tree / "note.txt", "system.posix_acl_access", SHARED)
    os.setxattr(tree / "calls", "system.posix_acl_default", SHARED)
    check_round_trip(site, FilesSource("files", tree), tree, tmp_path / "out")
    restored = tmp_path / "out" / "files"
    assert os.getxattr(restored / "note.txt", "system.posix_acl_access") == SHARED
    assert os.getxattr(restored / "calls", "system.posix_acl_default") == SHARED
    assert stat.S_IMODE((restored / "note.txt").stat().st_mode) == 0o640


@needs_root
def test_root_can_restore_owners(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    os.chown(tree / "note.txt", 12345, 54321)
    os.chown(tree / "calls", _NOBODY, 0)
    (tree / "link").symlink_to("note.txt")
    os.chown(tree / "link", 77, 88, follow_symlinks=False)
    check_round_trip(site, FilesSource("files", tree), tree, tmp_path / "out", owner=True)
    for name in ("note.txt", "calls", "link", "empty"):
        before, after = (top / name for top in (tree, tmp_path / "out" / "files"))
        assert (after.lstat().st_uid, after.lstat().st_gid) == (
            before.lstat().st_uid,
            before.lstat().st_gid,
        )


def test_hard_link_across_folders_is_restored(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    os.link(tree / "calls" / "one.wav", tree / "calls-old" / "again.wav")
    os.link(tree / "calls" / "one.wav", tree / "zz.wav")
    result = check_round_trip(site, FilesSource("files", tree), tree, tmp_path / "out")
    restored = tmp_path / "out" / "files"
    assert len({path.stat().st_ino for path in restored.rglob("*.wav")}) == 2
    assert result.bytes_read < 2 * 300 * KIB + 600 * KIB


def test_sparse_files_of_every_shape_are_restored(site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    shapes: dict[str, list[tuple[int, int]]] = {
        "hole-first": [(512, 64)],
        "hole-last": [(0, 64)],
        "hole-between": [(0, 64), (1024, 64)],
        "many": [(n * 256, 8) for n in range(40)],
        "none": [(0, 300)],
    }
    for seed, (name, extents) in enumerate(shapes.items()):
        with (tree / name).open("wb") as file:
            file.truncate(12 * 1024 * KIB)
            for start, length in extents:
                file.seek(start * KIB)
                file.write(noise(length * KIB, seed))
    check_round_trip(site, FilesSource("files", tree), tree, tmp_path / "out")
    for name in shapes:
        blocks = (tmp_path / "out" / "files" / name).stat().st_blocks
        assert blocks <= (tree / name).stat().st_blocks + 64


def test_names_of_any_bytes_are_restored(site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    dice = random.Random(7)
    for _ in range(60):
        name = bytes(dice.choice([b for b in range(1, 256) if b != 0x2F]) for _ in range(40))
        (tree / os.fsdecode(name)).write_bytes(name)
    (tree / os.fsdecode(b"\xff-folder")).mkdir()
    (tree / os.fsdecode(b"\xff-folder/\xfe")).symlink_to(os.fsdecode(b"\xfd"))
    check_round_trip(site, FilesSource("files", tree), tree, tmp_path / "out")


def test_sockets_are_left_out_and_noted(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tree / "calls" / "agent"))
        result = check_round_trip(
            site, FilesSource("files", tree), tree, tmp_path / "out", b"calls/agent"
        )
    assert named(result.left_out) == {
        "files/calls/agent": "is a socket, which only its program can use"
    }
    assert result.left_out_total == 1


def test_lost_links_between_symlinks_are_named(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    (tree / "one").symlink_to("note.txt")
    os.link(tree / "one", tree / "two", follow_symlinks=False)
    for round_number in range(2):  # unchanged paths are also reported
        result = site.back_up(FilesSource("files", tree))
        assert result.complete
        assert set(named(result.left_out)) == {"files/one", "files/two"}, round_number
    site.restore("latest", tmp_path / "out")
    for name in ("one", "two"):
        assert (tmp_path / "out" / "files" / name).readlink() == Path("note.txt")


def test_hundred_sockets_are_named_and_all_counted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(103):
        os.mknod(tree / f"s{number:03}", stat.S_IFSOCK | 0o600)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with FilesSource("a", tree).opened(scratch, now) as opened:
        assert [item.path for item in opened.scan()] == [b""]
    assert (len(opened.left_out.named), opened.left_out.total) == (100, 103)


@needs_root
def test_root_can_restore_devices(site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    try:
        os.mknod(tree / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
        os.mknod(tree / "loop", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    except PermissionError:
        refused_to_root("this machine lets nobody make devices")
    assert site.back_up(tree).complete
    assert site.restore("latest", tmp_path / "out", owner=True).problems == ()
    for name in ("null", "loop"):
        before, after = ((top / name).lstat() for top in (tree, tmp_path / "out" / "files"))
        assert (after.st_mode, after.st_rdev, after.st_mtime_ns) == (
            before.st_mode,
            before.st_rdev,
            before.st_mtime_ns,
        )


def test_only_excluded_paths_are_missing(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    (tree / "calls" / "cache").mkdir()
    (tree / "calls" / "cache" / "x").write_text("x")
    (tree / "calls-old" / "cache").write_text("a file of that name stays")
    source = FilesSource("files", tree, ["cache/", "/calls/*.wav", "!/calls/two.wav"])
    check_round_trip(
        site, source, tree, tmp_path / "out", b"calls/cache", b"calls/cache/x", b"calls/one.wav"
    )


def test_excluded_paths_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = plain_tree(tmp_path / "tree")
    looked_at = []
    original = os.stat

    def spying(path: str | bytes, **more: Any) -> os.stat_result:
        looked_at.append(path)
        return original(path, **more)

    (tmp_path / "scratch").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", spying)
        found_in(FilesSource("a", tree, ["calls", "em*/"]), tmp_path / "scratch")
    assert b"calls" not in looked_at
    assert b"empty" in looked_at  # the pattern matches only folders


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False).returncode:
        refused_to_root("this machine lets nobody mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@needs_root
def test_mounted_file_system_is_entered_by_default(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    with mounted(tree / "calls" / "mounted"):
        (tree / "calls" / "mounted" / "far").write_text("on another disk")
        across = FilesSource("files", tree)
        assert check_round_trip(site, across, tree, tmp_path / "all").left_out == ()
        within = FilesSource("files", tree, one_file_system=True)
        result = check_round_trip(site, within, tree, tmp_path / "some", b"calls/mounted/far")
    assert named(result.left_out) == {
        "files/calls/mounted": "has another file system mounted on it"
    }


def test_vault_below_the_root_is_excluded(tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    folders = (tree / "srv" / "vault", tree / "srv" / "copy")
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "within").write_text("a backup")
    (tree / "by-another-name").symlink_to(folders[1])
    site = new_site(tmp_path / "site", DirectoryStore(folders[0]))
    source = FilesSource(
        "files", tree, not_entered=(folders[0], tree / "by-another-name", tree / "absent")
    )
    assert [one.prevents for one in source.obstacles(tmp_path)] == [False] * 3
    assert FilesSource("files", folders[0] / "w", not_entered=folders).obstacles(tmp_path) == []
    for _ in range(3):
        result = site.back_up(source)
        assert result.complete
        reason = "contains the backups themselves"
        assert named(result.left_out) == {f"files/srv/{n}": reason for n in ("vault", "copy")}
    out = tmp_path / "out"
    assert site.restore("latest", out).problems == ()
    own = (b"srv/vault", b"srv/copy")
    wanted, restored = (
        {path: one for path, one in describe(top).items() if not path.startswith(own)}
        for top in (tree, out / "files")
    )
    assert restored == wanted
    assert not any(any((out / "files" / os.fsdecode(folder)).iterdir()) for folder in own)
    itself = FilesSource("files", folders[0], not_entered=folders)
    with pytest.raises(NothingToBackUp, match="the backups themselves are there"):
        site.back_up(itself)


@pytest.mark.parametrize("many_names", [50_000, 2])
@pytest.mark.parametrize("folder", ["", "calls", "sta*te [1]\n\\\udcff"])
def test_own_files_of_backup_are_excluded_by_path(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, many_names: int
) -> None:
    monkeypatch.setattr(folder_listing, "MANY_NAMES", many_names)
    monkeypatch.setattr(folder_listing, "LARGE_FOLDER_BYTES", many_names)
    tree = plain_tree(tmp_path / "tree")
    own = tree / folder / "own-*log"
    own.parent.mkdir(exist_ok=True)
    for name in ("own-*log", "own-*log.lock", "own-log", "an own-*log"):
        (own.parent / name).write_text(name)
    (own.parent / "own-*log.d").mkdir()
    (own.parent / "own-*log.d" / "within").write_text("like a cache of it")
    (tree / "calls-old" / "own-*log").write_text("another's")
    (tmp_path / "link").symlink_to(tree)
    source = FilesSource("files", tmp_path / "link", own_files=(own, tree, tmp_path / "link"))
    for round_number in range(3):
        own.write_text(f"after backup {round_number}")
        result = site.back_up(source)
        assert (result.complete, result.left_out) == (True, ())
        out = tmp_path / f"out-{round_number}"
        assert site.restore("latest", out).problems == ()
        like_own = os.fsencode(own.relative_to(tree))
        wanted = {
            path: one for path, one in describe(tree).items() if not path.startswith(like_own)
        }
        assert describe(out / "files") == wanted
        assert len(describe(tree)) == len(wanted) + 4


def test_unstable_inode_numbers_are_ignored_when_configured(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    (tmp_path / "scratch").mkdir()

    def vectors(*, ignore_inode: bool) -> dict[bytes, tuple[int, ...]]:
        """Return the change vector without ctime, which `rename` changes."""
        source = FilesSource("files", tree, ignore_inode=ignore_inode)
        return {
            one.path: one.vector[:3] + one.vector[4:]
            for one in found_in(source, tmp_path / "scratch")
            if one.vector is not None and one.kind == "file"
        }

    ignoring, watching = vectors(ignore_inode=True), vectors(ignore_inode=False)
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        twin = path.with_suffix(".twin")
        shutil.copy2(path, twin)
        twin.rename(path)
    assert vectors(ignore_inode=True) == ignoring
    assert vectors(ignore_inode=False) != watching
    check_round_trip(site, FilesSource("files", tree, ignore_inode=True), tree, tmp_path / "out")


def test_hard_links_with_unstable_numbers_are_separate_files(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    os.link(tree / "note.txt", tree / "same")
    assert site.back_up(FilesSource("files", tree, ignore_inode=True)).complete
    assert site.restore("latest", tmp_path / "out").problems == ()
    restored = tmp_path / "out" / "files"
    assert (restored / "same").read_bytes() == (tree / "note.txt").read_bytes()
    assert (restored / "same").stat().st_nlink == 1


def test_lost_hard_links_of_symbolic_links_are_named(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "tree")
    (tree / "first").symlink_to("note.txt")
    os.link(tree / "first", tree / "second", follow_symlinks=False)
    result = site.back_up(FilesSource("files", tree))
    assert set(named(result.left_out)) == {"files/first", "files/second"}
    assert site.restore("latest", tmp_path / "out").problems == ()
    for name in ("first", "second"):
        assert (tmp_path / "out/files" / name).readlink() == Path("note.txt")


def test_unreadable_folder_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root can read every file, so the test raises the error that the kernel would raise.
    tree = plain_tree(tmp_path / "tree")
    original = os.scandir
    inode = (tree / "calls").stat().st_ino

    def refusing(path: int) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if os.fstat(path).st_ino == inode:
            raise PermissionError(13, "Permission denied")
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(folder_listing, "LARGE_FOLDER_BYTES", 0)  # scan also without a worker
        patch.setattr(os, "scandir", refusing)
        result = site.back_up(tree)
    assert named(result.unread) == {"files/calls": "cannot be read: Permission denied"}
    assert site.restore("latest", tmp_path / "out").problems == ()
    wanted = describe(tree)
    del wanted[b"calls/one.wav"], wanted[b"calls/two.wav"]
    assert describe(tmp_path / "out" / "files") == wanted


def test_more_attributes_than_are_kept_are_noted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = plain_tree(tmp_path / "tree")
    os.setxattr(tree / "note.txt", "user.a", b"a" * 600)
    os.setxattr(tree / "note.txt", "user.b", b"b" * 600)
    monkeypatch.setattr("backup.sources.files.extended_attributes.MOST_ATTRIBUTE_BYTES", 1000)
    result = site.back_up(tree)
    assert result.complete
    assert set(named(result.left_out)) == {"files/note.txt"}
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert os.listxattr(tmp_path / "out" / "files" / "note.txt") == ["user.a"]
