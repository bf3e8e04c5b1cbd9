"""An interrupted restore continues, verifies all, and ends the same."""

import json
import os
import shutil
import stat
import struct
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup.errors import BackupError, NotWritable, UnsafePath
from backup.records import Progress
from backup.repository import Repository
from backup.restorer.direct_io import DirectWriter
from backup.stores.directory import DirectoryStore
from tests.backup.site import Site, new_site
from tests.backup.trees import KIB, describe, noise, strange_tree

JOURNAL = ".standfast-restore"


class CountingStore(DirectoryStore):
    """A store that counts the bytes that are read of packs."""

    bytes_read = 0

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        data = super()._get_range(name, start, length)
        if "/p/" in name:
            self.bytes_read += len(data)
        return data

    def _read_into(self, name: str, start: int, into: memoryview) -> int:
        count = super()._read_into(name, start, into)
        self.bytes_read += count
        return count


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = strange_tree(tmp_path / "source")
    (top / "long.wav").write_bytes(noise(16_000 * KIB, 9))
    return top


@pytest.fixture
def stored(tmp_path: Path, source: Path) -> Site:
    site = new_site(tmp_path / "site", CountingStore(tmp_path / "vault"))
    site.back_up(source)
    return site


def begun(site: Site, out: Path) -> None:
    """Make the folder of a restore that is killed at its last step."""
    site.restore("latest", out, workers=1)
    (out / JOURNAL).write_text(journal_of(site))


def journal_of(site: Site) -> str:
    """Return the journal of a restore of everything."""
    repository = site.repository()
    point = repository.resolve("latest")
    value = {
        "format": 1,
        "kind": "restore",
        "repository": repository.trust.root.repository.hex(),
        "point": point.name,
        "snapshot": point.sha256,
        "patterns": [],
        "owner": False,
    }
    return json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n"


def read_by(site: Site, out: Path) -> int:
    """Restore again; return how many bytes of the packs were read."""
    vault = site.vault
    assert isinstance(vault, CountingStore)
    vault.bytes_read = 0
    result = site.restore("latest", out, workers=1)
    assert result.problems == ()
    assert result.is_resumed
    assert not (out / JOURNAL).exists()
    return vault.bytes_read


def test_complete_files_are_not_read_again(stored: Site, source: Path, tmp_path: Path) -> None:
    begun(stored, tmp_path / "out")
    assert read_by(stored, tmp_path / "out") < 1000 * KIB
    assert describe(tmp_path / "out/files") == describe(source)


def test_interrupted_file_is_continued(stored: Site, source: Path, tmp_path: Path) -> None:
    begun(stored, tmp_path / "out")
    os.truncate(tmp_path / "out/files/long.wav", 12_000 * KIB)
    assert 3_000 * KIB < read_by(stored, tmp_path / "out") < 12_000 * KIB
    assert describe(tmp_path / "out/files") == describe(source)


@pytest.mark.parametrize(
    "change",
    ["flip", "zeros", "longer", "empty", "gone", "link", "folder_gone", "hole", "mode", "all_gone"],
)
def test_existing_content_is_never_trusted(
    stored: Site, source: Path, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out"
    begun(stored, out)
    files = out / "files"
    before = (files / "long.wav").stat()
    match change:
        case "flip":
            with (files / "long.wav").open("r+b") as file:
                file.seek(8_000 * KIB)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 1]))
            os.utime(files / "long.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
        case "zeros":
            (files / "calls/one.wav").write_bytes(bytes(300 * KIB))
        case "longer":
            with (files / "note.txt").open("ab") as file:
                file.write(b"forged")
        case "empty":
            os.truncate(files / "note.txt", 0)
        case "gone":
            (files / "note.txt").unlink()
        case "link":
            (files / "link").unlink()
            (files / "link").symlink_to("/etc/passwd")
        case "folder_gone":
            shutil.rmtree(files / "calls")
        case "hole":
            with (files / "sparse").open("r+b") as file:
                file.write(b"not zero")
        case "mode":
            (files / "note.txt").chmod(0o777)
            (files / "locked").chmod(0o700)
        case "all_gone":
            shutil.rmtree(files)
    read_by(stored, out)
    assert describe(files) == describe(source)


def test_file_with_other_names_is_not_written_through(
    stored: Site, source: Path, tmp_path: Path
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    begun(stored, out)
    outside.write_bytes(b"precious")
    outside.chmod(0o640)
    before = outside.stat()
    for name in ("long.wav", "empty", "calls/one.wav"):
        (out / "files" / name).unlink()
        os.link(outside, out / "files" / name)
    read_by(stored, out)
    assert outside.read_bytes() == b"precious"
    after = outside.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert describe(out / "files") == describe(source)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_file_of_another_owner_is_not_continued(stored: Site, source: Path, tmp_path: Path) -> None:
    """The owner of that file could read the data, and may have it open."""
    (source / "theirs").write_text("of a colleague")
    os.chown(source / "theirs", 1234, 1234)
    stored.back_up(source)
    out = tmp_path / "out"
    begun(stored, out)
    os.chown(out / "files/theirs", 1234, 1234)
    read_by(stored, out)
    assert (out / "files/theirs").stat().st_uid == os.geteuid()
    assert describe(out / "files") == describe(source)


def test_link_in_the_way_is_not_followed(stored: Site, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    begun(stored, out)
    outside.mkdir()
    shutil.rmtree(out / "files/calls")
    (out / "files/calls").symlink_to(outside)
    result = stored.restore("latest", out, workers=1)
    assert {problem.path.split("/")[1] for problem in result.problems} == {"calls"}
    assert list(outside.iterdir()) == []
    assert (out / JOURNAL).exists(), "something lacks: the same command goes on"


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o333, 0o555])
def test_unprivileged_restore_resumes_in_closed_folders(tmp_path: Path, mode: int) -> None:
    source = tmp_path / "source"
    (source / "shut" / "within").mkdir(parents=True)
    (source / "shut" / "within" / "note.txt").write_text("who called, and why")
    (source / "shut" / "within").chmod(mode)
    (source / "shut").chmod(mode)
    site = new_site(tmp_path / "site")
    site.back_up(source)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for folder in (source / "shut", source / "shut" / "within"):
        folder.chmod(folder.stat().st_mode | 0o700)  # so that any user can compare and remove it
    journal = journal_of(site)
    repository = site.repository()
    point = repository.resolve("latest")
    # The user nobody may not load modules that Python has not loaded yet.
    assert repository.restore(point, tmp_path / "by-us").problems == ()

    def as_nobody() -> None:
        os.chdir(open_to_all)
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        out = Path("out")
        assert repository.restore(point, out).problems == ()
        (out / JOURNAL).write_text(journal)
        result = repository.restore(point, out)
        assert (result.is_resumed, result.problems) == (True, ())
        for folder in (out / "files/shut", out / "files/shut/within"):
            assert stat.S_IMODE(folder.lstat().st_mode) == mode
            folder.chmod(0o700)

    in_a_process(as_nobody)
    restored = open_to_all / "out" / "files" / "shut" / "within" / "note.txt"
    assert restored.read_text() == "who called, and why"


@pytest.fixture
def linked_far_off(tmp_path: Path) -> tuple[Site, Path]:
    """Make a point with a second name of a late file, in a closed folder."""
    source = tmp_path / "source"
    for folder in ("a", "m", "n", "z"):
        (source / folder).mkdir(parents=True)
    for folder in ("m", "z"):
        for number in range(400):
            (source / folder / f"{number:03}").write_text(str(number))
    (source / "a" / "first").write_text("who called, and why")
    os.link(source / "a" / "first", source / "n" / "second")
    os.utime(source / "n", ns=(1, 1_500_000_000_123_456_789))
    (source / "n").chmod(0o555)
    site = new_site(tmp_path / "site")
    site.back_up(source)
    return site, source


def test_folder_keeps_mode_and_time_after_late_link(
    linked_far_off: tuple[Site, Path], tmp_path: Path
) -> None:
    site, source = linked_far_off
    out = tmp_path / "out"
    site.restore("latest", out, workers=2)
    assert describe(out / "files") == describe(source)
    (out / JOURNAL).write_text(journal_of(site))
    result = site.restore("latest", out, workers=2)
    assert (result.is_resumed, result.problems) == (True, ())
    assert describe(out / "files") == describe(source)


def test_folder_created_for_late_link_has_its_attributes(
    linked_far_off: tuple[Site, Path], tmp_path: Path
) -> None:
    site, source = linked_far_off
    out = tmp_path / "out"
    patterns = ("files/a/first", "files/m", "files/n/second")
    assert site.restore("latest", out, *patterns, workers=2).problems == ()
    expected = {path: one for path, one in describe(source).items() if path[:1] in b"amn"}
    assert describe(out / "files") == expected


def test_unprivileged_restore_links_into_read_only_folder(
    linked_far_off: tuple[Site, Path], tmp_path: Path
) -> None:
    site, source = linked_far_off
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    repository = site.repository()
    point = repository.resolve("latest")
    # The user nobody may not load modules that Python has not loaded yet.
    assert repository.restore(point, tmp_path / "by-us", workers=2).problems == ()

    def as_nobody() -> None:
        os.chdir(open_to_all)
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        assert repository.restore(point, Path("out"), workers=2).problems == ()

    in_a_process(as_nobody)
    assert describe(open_to_all / "out" / "files") == describe(source)


def test_new_file_inherits_no_rights_from_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "private").write_text("who called, and why")
    (source / "private").chmod(0o640)
    rights = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, may, who)
        for tag, may, who in (
            (1, 7, 2**32 - 1), (2, 7, 1000), (4, 5, 2**32 - 1), (16, 7, 2**32 - 1),
            (32, 0, 2**32 - 1),
        )
    )  # fmt: skip
    os.setxattr(source, "system.posix_acl_default", rights)
    site = new_site(tmp_path / "site")
    site.back_up(source)
    out = tmp_path / "out"
    begun(site, out)
    (out / "files" / "private").unlink()
    assert site.restore("latest", out).problems == ()
    assert os.listxattr(out / "files" / "private") == []
    assert os.getxattr(out / "files", "system.posix_acl_default") == rights


def in_a_process(work: Callable[[], None]) -> None:
    """Run an act in another process, because this one could not undo it."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    "other", [{"point": "desk-1/0000000009"}, {"patterns": ["files/note.txt"]}, {"owner": True}]
)
def test_other_restore_is_not_resumed(
    stored: Site, tmp_path: Path, other: dict[str, object]
) -> None:
    out = tmp_path / "out"
    begun(stored, out)
    journal = json.loads((out / JOURNAL).read_text())
    text = json.dumps(journal | other, separators=(",", ":"), sort_keys=True) + "\n"
    (out / JOURNAL).write_text(text)
    before = describe(out)
    with pytest.raises(UnsafePath, match="incomplete restore"):
        stored.restore("latest", out)
    assert describe(out) == before


def test_case_insensitive_target_is_not_resumed(
    stored: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`case` would replace the complete `Case` without a message."""
    out = tmp_path / "out"
    begun(stored, out)
    # On FAT a lookup finds this name, although a listing does not contain it.
    (out / JOURNAL.upper()).write_text(journal_of(stored))
    before = describe(out)
    listed = os.listdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda at: [n for n in listed(at) if n != JOURNAL.upper()])
        with pytest.raises(UnsafePath):
            stored.restore("latest", out)
    assert describe(out) == before
    shutil.rmtree(out)
    assert stored.restore("latest", out).problems == ()
    assert describe(out / "files") == describe(source)


@pytest.mark.parametrize("torn", ['{"format":1,"ki', "longer" * 500], ids=["short", "long"])
def test_truncated_journal_in_empty_folder_starts_again(
    stored: Site, source: Path, tmp_path: Path, torn: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / JOURNAL).write_text(torn)
    seen: list[str] = []

    def look(_: Progress) -> None:
        if not seen:
            seen.append((out / JOURNAL).read_text())

    result = stored.restore("latest", out, workers=1, progress=look)
    assert seen == [journal_of(stored)], "what an interrupted one is told by"
    assert (result.problems, result.is_resumed) == ((), False)
    assert describe(out / "files") == describe(source)


def test_partial_restore_resumes_too(stored: Site, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectWriter, "write", _full)
        with pytest.raises(NotWritable):
            stored.restore("latest", out, "files/long.wav", "files/calls", workers=1)
    result = stored.restore("latest", out, "files/long.wav", "files/calls", workers=1)
    assert (result.problems, result.is_resumed) == ((), True)
    assert (out / "files/long.wav").read_bytes() == (source / "long.wav").read_bytes()
    assert sorted(path.name for path in (out / "files").iterdir()) == ["calls", "long.wav"]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("workers", [1, 2])
def test_error_of_progress_report_ends_a_resumable_restore(
    stored: Site, source: Path, tmp_path: Path, workers: int
) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    repository: Repository = stored.repository()
    point = repository.resolve("latest")
    with pytest.raises(KeyboardInterrupt):
        repository.restore(point, tmp_path / "out", progress=stop, workers=workers)
    result = stored.restore("latest", tmp_path / "out", workers=workers)
    assert result.is_resumed
    assert describe(tmp_path / "out/files") == describe(source)


def test_unavailable_store_ends_a_resumable_restore(
    stored: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = stored.repository()
    point = repository.resolve("latest")
    reads = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def some(self: CountingStore, name: str, *more: Any) -> Any:
            nonlocal reads
            reads += "/p/" in name
            if reads > 6:
                raise OSError(5, "Input/output error")
            return real(self, name, *more)

        return some

    with monkeypatch.context() as patch:
        for way in ("_get_range", "_read_into"):
            patch.setattr(CountingStore, way, counted(getattr(CountingStore, way)))
        with pytest.raises(BackupError, match="run again"):
            repository.restore(point, tmp_path / "out", workers=1)
    result = stored.restore("latest", tmp_path / "out")
    assert (result.problems, result.is_resumed) == ((), True)
    assert describe(tmp_path / "out/files") == describe(source)


def test_unknown_files_of_the_target_remain(stored: Site, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun(stored, out)
    (out / "files/calls/added").write_bytes(b"by somebody")
    os.setxattr(out / "files/long.wav", "user.added", b"by somebody")
    read_by(stored, out)
    assert (out / "files/calls/added").read_bytes() == b"by somebody"
    assert os.getxattr(out / "files/long.wav", "user.added") == b"by somebody"


@pytest.mark.parametrize(
    "pattern", ["files/bad-\udcff.txt", "files/bad-*\udcff*", "files/100%.txt"]
)
def test_path_of_any_bytes_can_be_selected(tmp_path: Path, pattern: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("bad-\udcff.txt", "100%.txt"):
        (source / name).write_text(name, errors="surrogateescape")
    site = new_site(tmp_path / "site")
    site.back_up(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backup.restorer.restore_run.sync_file_system", _full_disk)
        with pytest.raises(NotWritable):
            site.restore("latest", tmp_path / "out", pattern)
    result = site.restore("latest", tmp_path / "out", pattern)
    assert (result.is_resumed, result.problems) == (True, ())
    (restored,) = (tmp_path / "out" / "files").iterdir()
    assert restored.read_bytes() == (source / restored.name).read_bytes()
    assert not (tmp_path / "out" / JOURNAL).exists()


def _full_disk(_: int) -> None:
    raise NotWritable("the disk did not take everything")
