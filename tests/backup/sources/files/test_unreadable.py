"""An unreadable file is reported; its stored content is kept if unchanged."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from backup.archiver import source_archiver
from backup.checker.verification import verify
from backup.format.object_names import pack_prefix
from backup.retention.retention_plan import MARK_AGE
from tests.backup.keep_site import kept_site
from tests.backup.site import WRITER, Site
from tests.backup.trees import KIB, describe, noise


@pytest.fixture(autouse=True)
def every_file_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_archiver, "REREAD_CYCLE_DAYS", 1)


@contextmanager
def unreadable(*names: str) -> Iterator[None]:
    """Simulate a bad sector, which root cannot read either."""
    opened = os.open

    def refusing(path: str | bytes | Path, *how: int, **more: int) -> int:
        if "dir_fd" in more and os.fsdecode(path) in names:
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *how, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", refusing)
        yield


def fill(folder: Path, files: int) -> Path:
    folder.mkdir()
    for number in range(files):
        (folder / f"{number:03}.wav").write_bytes(noise(400 * KIB, number))
    return folder


def test_unchanged_but_unreadable_file_stays_and_is_named(site: Site, tmp_path: Path) -> None:
    source = fill(tmp_path / "source", 3)
    site.back_up(source)
    with unreadable("001.wav"):
        result = site.back_up(source)
    (item,) = result.unread
    assert (item.path, result.complete) == ("files/001.wav", False)
    assert item.reason == (
        "cannot be read: Input/output error;"
        " the recovery point has the content that was read before"
    )
    assert (result.files, result.files_unchanged) == (3, 3)
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
    assert site.back_up(source).complete


def test_changed_unreadable_file_is_not_kept_as_old(site: Site, tmp_path: Path) -> None:
    source = fill(tmp_path / "source", 3)
    site.back_up(source)
    (source / "001.wav").write_bytes(b"another call")
    with unreadable("001.wav"):
        result = site.back_up(source)
    assert [item.reason for item in result.unread] == ["cannot be read: Input/output error"]
    assert result.files == 2
    site.restore("latest", tmp_path / "out")
    assert not (tmp_path / "out" / "files" / "001.wav").exists()


def test_unreadable_file_in_freed_packs_is_dropped(site: Site, tmp_path: Path) -> None:
    source = fill(tmp_path / "source", 3)
    site.back_up(source)
    for name in [stat.name for stat in site.vault.list(pack_prefix(WRITER))]:
        site.vault.remove(name)  # type: ignore[attr-defined]
    with unreadable("001.wav"):
        result = site.back_up(source)
    assert [item.reason for item in result.unread] == ["cannot be read: Input/output error"]
    assert site.restore("latest", tmp_path / "out").problems == ()


def test_unreadable_file_keeps_its_sparse_pack(tmp_path: Path) -> None:
    kept = kept_site(tmp_path / "site")
    source = fill(kept.source, 45)
    kept.site.back_up(source)
    for number in range(5, 45):
        (source / f"{number:03}.wav").unlink()
    kept.days(31)
    with unreadable("001.wav"):
        for _ in range(2):
            result = kept.site.back_up(source)
            assert [item.path for item in result.unread] == ["files/001.wav"]
            assert result.files == 5
    # The keeper sees that the point needs the pack for as long as the file is unreadable.
    for _ in range(3):
        kept.days((MARK_AGE + timedelta(days=10)).days)
        kept.keep(max_percent=100)
    assert kept.site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
    before = kept.packs()
    # Once the file is readable, its content moves to a new pack, as that of the others did.
    moved = kept.site.back_up(source)
    assert moved.complete
    assert moved.bytes_changed == 0, "content that moves is not new"
    assert moved.bytes_new >= 400 * KIB
    assert kept.packs() > before
    report = verify(kept.vault, keys=kept.site.keys, identity=kept.site.identity, read=True)
    assert report.is_sound, report.findings
