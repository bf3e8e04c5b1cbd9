"""On later nights of a large set another process looks ahead, and nothing is found otherwise."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backup.archiver import manifest_builder, parent_snapshot
from backup.checker.verification import verify
from backup.errors import SourceFailed
from backup.records import BackupResult
from backup.sources import OpenSource
from backup.sources.files import file_walk
from backup.sources.files import metadata_prefetch as survey_module
from backup.sources.files.files_source import FilesSource
from backup.sources.files.metadata_prefetch import FolderListing, MetadataPrefetch
from tests.backup.site import Site, TamperedStore, new_site
from tests.backup.trees import describe, noise

# From 3.12 on Python warns of it; the process that is forked here only looks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

COUNTED = (
    "files", "directories", "bytes_total", "bytes_read", "files_new", "files_changed",
    "files_unchanged", "vanished", "unread", "left_out", "complete",
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent_snapshot, "LARGE_PAGES", 1)
    monkeypatch.setattr(manifest_builder, "MAX_PAGE_ENTRIES", 40)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for number in range(600):
        folder = top / f"{number % 7}" / f"{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04}").write_bytes(noise(300, number))
    (top / "empty").mkdir()
    os.link(top / "0" / "0" / "0000", top / "1" / "second-name")
    (top / "link").symlink_to("0")
    return top


def counted(result: BackupResult) -> list[object]:
    return [getattr(result, name) for name in COUNTED]


def check(site: Site, tree: Path, out: Path) -> None:
    assert site.restore("latest", out).problems == ()
    assert describe(out / "files") == describe(tree)
    assert verify(site.vault, keys=site.keys, identity=site.identity, read=True).is_sound


def change_some(tree: Path) -> None:
    (tree / "0" / "0" / "0035").write_bytes(noise(300, 9999))
    (tree / "3" / "3" / "0003").chmod(0o600)
    (tree / "2" / "2" / "0002").unlink()
    (tree / "2" / "2" / "new").write_text("new")
    shutil.rmtree(tree / "4" / "1")
    (tree / "5" / "2").rename(tree / "5" / "moved")
    (tree / "6" / "sub").mkdir()
    (tree / "6" / "sub" / "deep").write_text("deep")
    os.link(tree / "6" / "4" / "0034", tree / "6" / "another")
    (tree / "link").unlink()
    (tree / "link").mkdir()


def test_what_changed_is_found_as_without_it(
    site: Site, tree: Path, tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = new_site(tmp_path / "plain", TamperedStore())
    for one in (site, plain):
        one.back_up(tree)
    forks.clear()
    results = {}
    for night in ("unchanged", "changed", "unchanged again"):
        if night == "changed":
            change_some(tree)
        site.clock.forward(days=1)
        plain.clock.forward(days=1)
        results[night] = counted(site.back_up(tree))
        with monkeypatch.context() as patch:
            patch.setattr(parent_snapshot, "LARGE_PAGES", 1000)
            assert counted(plain.back_up(tree)) == results[night]
    assert len(forks) == 3, "one for each night, and none for the others"
    assert len({tuple(map(str, one)) for one in results.values()}) == 3
    check(site, tree, tmp_path / "out")


def meddle_in_the_survey(
    patch: pytest.MonkeyPatch, meddle: Callable[[FolderListing], None], here: int
) -> None:
    original = survey_module.list_folders

    def survey(*these: Any) -> Iterator[FolderListing]:
        for told in original(*these):
            yield told
            assert os.getpid() != here
            meddle(told)

    patch.setattr(file_walk, "list_folders", survey)


def test_a_run_goes_on_alone_when_the_other_process_is_killed(
    site: Site, tree: Path, tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(tree)
    change_some(tree)

    def die(told: FolderListing) -> None:
        if told[0] == b"3":
            os.kill(os.getpid(), signal.SIGKILL)

    meddle_in_the_survey(monkeypatch, die, os.getpid())
    result = site.back_up(tree)
    assert len(forks) == 2
    assert result.complete
    assert result.files_changed
    check(site, tree, tmp_path / "out")


def test_a_folder_that_goes_after_it_was_told_of_is_not_in_the_point(
    site: Site, tree: Path, tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(tree)

    def remove(told: FolderListing) -> None:
        if told[0] == b"6/4":  # the last but the root's own files
            shutil.rmtree(tree / "6" / "4")
            shutil.rmtree(tree / "6" / "2")

    meddle_in_the_survey(monkeypatch, remove, os.getpid())
    result = site.back_up(tree)
    assert len(forks) == 2
    assert result.complete
    check(site, tree, tmp_path / "out")


def test_what_the_backup_itself_writes_in_a_tree_leaves_the_rest_of_it_surveyed(
    site: Site, tree: Path, tmp_path: Path, forks: list[int]
) -> None:
    own = tree / "3" / "3" / "own"
    own.write_text("before the first night")
    source = FilesSource("files", tree, own_files=(own,))
    with source.opened(tmp_path, site.clock) as opened:
        told = {path for path, *_ in opened.list_folders()}
    assert {b"", b"0", b"0/0", b"3", b"6/4"} < told
    first = site.back_up(source)
    own.write_text("after the first night")
    again = site.back_up(source)
    assert len(forks) == 2
    assert (again.files, again.files_unchanged) == (first.files, first.files)
    assert site.restore("latest", tmp_path / "out").problems == ()
    wanted = describe(tree)
    del wanted[b"3/3/own"]
    assert describe(tmp_path / "out" / "files") == wanted


def test_what_is_too_large_to_be_told_is_left_to_the_walk(
    site: Site, tree: Path, tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.back_up(tree)
    monkeypatch.setattr(survey_module, "_MOST_BYTES", 900)
    again = site.back_up(tree)
    assert len(forks) == 2
    assert again.files_unchanged == again.files == first.files
    check(site, tree, tmp_path / "out")


def test_a_source_that_fails_midway_does_not_mix_with_the_next(
    site: Site, tree: Path, tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(tree, tmp_path / "other", symlinks=True)
    sources = [FilesSource("a", other), FilesSource("files", tree)]
    first = site.back_up(*sources)
    here, original = os.getpid(), OpenSource.scan_expecting

    def failing(self: OpenSource) -> Iterator[object]:
        for item in original(self):
            yield item
            if self.name == "a" and os.getpid() == here and isinstance(item, range):
                raise SourceFailed("source a went away")

    with monkeypatch.context() as patch:
        patch.setattr(OpenSource, "scan_expecting", failing)
        again = site.back_up(*sources)
    assert not again.complete
    assert again.unread[0].path == "a"
    assert again.files_unchanged > first.files // 2
    assert site.back_up(*sources).files_unchanged == first.files
    assert len(forks) == 3
    check(site, tree, tmp_path / "out")


def test_a_survey_gives_a_folder_only_in_its_turn() -> None:
    told = [(path, b"x", bytes(56), b"\1") for path in (b"", b"a", b"a/b", b"a-b", b"c")]
    survey = MetadataPrefetch(iter(told))
    found = [survey.folder(path) is not None for path in (b"", b"a", b"a/c", b"a-b", b"b", b"c")]
    assert found == [True, True, False, True, False, True]
    assert survey.folder(b"d") is None
