"""Trees deeper than the longest path or Python's stack."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup.records import Unread
from backup.restorer.target_folders import TargetFolders
from backup.sources.files.files_source import FilesSource
from backup.system.tree_removal import remove_tree
from tests.backup.restorer.test_restore_safety import entry
from tests.backup.site import Site
from tests.backup.sources.test_sources import now


@pytest.fixture
def scratch_of(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder; remove it at any depth, where Python's removal fails."""
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "tree", tmp_path / "tree-out"], check=True)


def dig(top: Path, name: str, levels: int) -> None:
    """Make nested folders deeper than the longest path, with a file in them."""
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=descriptor)
        deeper = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    with open(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor), "wb") as file:  # noqa: PTH123 - relative to an open folder
        file.write(b"at the bottom")
    os.close(descriptor)


def seen_by_folders(top: Path, scratch: Path) -> dict[bytes, tuple[object, ...]]:
    """Return the content of a folder of any depth, without long paths."""
    scratch.mkdir(exist_ok=True)
    seen: dict[bytes, tuple[object, ...]] = {}
    with FilesSource("a", top).opened(scratch, now) as opened:
        for item in opened.scan():
            assert not isinstance(item, Unread)
            content = bytearray(item.size)
            if item.kind == "file":
                with opened.read(item) as file:
                    assert file.readinto(memoryview(content)) == item.size
            seen[item.path] = (item.kind, item.mode, item.modified_ns, bytes(content))
    del seen[b""]
    return seen


@pytest.mark.parametrize(
    ("name", "levels"), [("d" * 200, 45), pytest.param("dddd", 1100, marks=pytest.mark.long)]
)
def test_paths_longer_than_kernel_limit_are_restored(
    site: Site, scratch_of: Path, name: str, levels: int
) -> None:
    tree = scratch_of / "tree"
    dig(tree, name, levels)
    (tree / "zz").write_text("after the deep one")
    result = site.back_up(tree)
    assert (result.complete, result.files, result.directories) == (True, 2, levels + 1)
    assert site.restore("latest", scratch_of / "tree-out").problems == ()
    wanted = seen_by_folders(tree, scratch_of / "scratch")
    assert seen_by_folders(scratch_of / "tree-out" / "files", scratch_of / "scratch") == wanted
    deep = b"/".join([name.encode()] * levels) + b"/leaf"
    assert wanted[deep][3] == b"at the bottom"
    assert len(deep) > 4096


def test_tree_deeper_than_python_stack_is_walked(
    scratch_of: Path,
) -> None:
    tree = scratch_of / "tree"
    dig(tree, "d", 1500)
    (tree / "zz").write_text("after the deep one")
    (scratch_of / "scratch").mkdir()
    most = 0
    before = len(list(Path("/proc/self/fd").iterdir()))
    paths = []
    with FilesSource("a", tree).opened(scratch_of / "scratch", now) as opened:
        for number, item in enumerate(opened.scan()):
            assert not isinstance(item, Unread)
            paths.append(item.path)
            if not number % 250:
                most = max(most, len(list(Path("/proc/self/fd").iterdir())))
    assert len(paths) == 1503
    assert paths[-2:] == [b"d/" * 1500 + b"leaf", b"zz"]
    assert most - before < 100


def test_endless_path_is_named_and_not_followed(scratch_of: Path) -> None:
    tree = scratch_of / "tree"
    dig(tree, "d" * 250, 270)
    (scratch_of / "scratch").mkdir()
    with FilesSource("a", tree).opened(scratch_of / "scratch", now) as opened:
        unread = [item for item in opened.scan() if isinstance(item, Unread)]
    assert [item.reason for item in unread] == ["is too deep: its path is longer than 65,536 bytes"]


def walk_and_move(scratch_of: Path, *depths: int) -> tuple[list[bytes], list[str]]:
    """Walk 80 folders down; at the bottom, move the folders of some depths."""
    tree = scratch_of / "tree"
    dig(tree, "d", 80)
    (tree / "zz").write_text("after the deep one")
    elsewhere = scratch_of / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("not of this source")
    (scratch_of / "scratch").mkdir()
    paths, unread = [], []
    with FilesSource("a", tree).opened(scratch_of / "scratch", now) as opened:
        for item in opened.scan():
            if isinstance(item, Unread):
                unread.append(item.path)
                continue
            paths.append(item.path)
            if item.path.endswith(b"leaf"):
                for depth in depths:
                    (tree / "/".join("d" * depth)).rename(elsewhere / str(depth))
    return paths, unread


def test_folders_moved_during_the_walk_lead_nowhere(scratch_of: Path) -> None:
    # About thirty folders are open, so the way back leads through folders that are not open.
    paths, unread = walk_and_move(scratch_of, 41)
    assert paths[1:] == [b"d/" * n + b"d" for n in range(80)] + [b"d/" * 80 + b"leaf", b"zz"]
    assert unread == []


def test_folder_that_cannot_be_found_again_is_named(scratch_of: Path) -> None:
    paths, unread = walk_and_move(scratch_of, 42, 41)
    assert paths[-1] == b"zz"
    assert not [path for path in paths if b"secret" in path]
    assert unread == ["a/" + "/".join("d" * 41)]


@contextmanager
def few_open_files(count: int) -> Iterator[None]:
    """Limit the open files of this process and its children."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_deep_tree_needs_few_open_files(site: Site, scratch_of: Path) -> None:
    tree = scratch_of / "tree"
    dig(tree, "d", 1100)
    with few_open_files(256):
        assert site.back_up(tree).complete
        assert site.restore("latest", scratch_of / "tree-out").problems == ()
    wanted = seen_by_folders(tree, scratch_of / "scratch")
    assert len(wanted) == 1101
    assert seen_by_folders(scratch_of / "tree-out" / "files", scratch_of / "scratch") == wanted


class Restored:
    """The 80 nested folders of a restore, and the attributes that it set."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.finished: list[bytes] = []
        top = os.open(root, os.O_RDONLY)
        self.path = TargetFolders(
            top,
            is_resumed=False,
            set_attributes=lambda _, folder: self.finished.append(folder.path),
            count=lambda: None,
            report_merged=lambda _: None,
        )
        os.close(top)
        for depth in range(1, 81):
            at = self.below(depth)
            self.path.enter(at)
            self.path.step_into(b"d", at, entry(at, "directory"))

    @staticmethod
    def below(depth: int) -> bytes:
        return b"/".join([b"d"] * depth)

    def moved(self, depth: int, to: Path) -> None:
        (self.root / "/".join("d" * depth)).rename(to)


def test_restore_finds_moved_folders_by_name(
    tmp_path: Path,
) -> None:
    """Some moved folders are not open, and ".." would lead out of the target."""
    restored = Restored(tmp_path / "out")
    restored.moved(41, tmp_path / "elsewhere")
    folder, name = restored.path.enter(restored.below(40) + b"/late")
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    restored.path.close()
    assert (tmp_path / "out" / os.fsdecode(restored.below(40)) / "late").exists()
    assert {place.name for place in tmp_path.iterdir()} == {"elsewhere", "out"}
    assert len(restored.finished) == 80


def test_folder_not_found_again_is_never_written(
    tmp_path: Path,
) -> None:
    restored = Restored(tmp_path / "out")
    restored.moved(42, tmp_path / "one")
    restored.moved(41, tmp_path / "two")
    with pytest.raises(OSError, match="moved in the meantime") as caught:
        restored.path.enter(restored.below(41) + b"/late")
    assert caught.value.errno == errno.ESTALE
    restored.path.enter(b"behind it")
    made, _ = restored.path.hand_over(b"behind it")
    restored.path.close()
    assert restored.below(41) in {folder.path for folder in made}
    assert len(restored.finished) + len(made) == 80


def test_removal_handles_depth_modes_and_links(
    scratch_of: Path,
) -> None:
    tree = scratch_of / "tree"
    dig(tree, "d", 1500)
    other = scratch_of / "other"
    other.mkdir()
    (other / "kept").touch()
    (tree / "link").symlink_to(other)
    (tree / "shut" / "inner").mkdir(parents=True)
    (tree / "shut" / "inner" / "file").touch()
    (tree / "shut" / "inner").chmod(0)
    (tree / "shut").chmod(0o500)
    with few_open_files(256):
        remove_tree(tree)
    assert not tree.exists()
    assert (other / "kept").exists()
    remove_tree(tree)  # the tree does not exist, so nothing happens
