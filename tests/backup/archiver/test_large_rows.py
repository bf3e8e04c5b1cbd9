"""Files with so many chunks that references are stored in lists."""

from pathlib import Path

import pytest

from backup.archiver import pack_writer
from backup.archiver.archiver_records import Row
from backup.archiver.manifest_builder import ManifestBuilder
from backup.archiver.upload_cache.cache import open_upload_cache
from tests.backup.most_refs import most_refs
from tests.backup.site import Site
from tests.backup.trees import describe, noise

MIB = 1024 * 1024


def back_up_large_file(site: Site, source: Path, size: int) -> None:
    source.mkdir()
    (source / "big.db").write_bytes(noise(size))
    site.back_up(source)


def test_blobs_named_in_lists_are_in_use(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 2)
    back_up_large_file(site, tmp_path / "source", MIB)
    with open_upload_cache(site.send_log, site.binding) as log:
        assert sum(log.live_bytes("nightly").values()) >= MIB


def test_large_file_has_references_in_lists_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 5)
    source = tmp_path / "source"
    back_up_large_file(site, source, 12 * MIB)
    repository = site.repository()
    (entry,) = repository.entries(repository.resolve("latest"), ["files/big.db"])
    assert entry.blobs == ()
    assert len(entry.lists) > 1
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_file_with_references_in_lists_is_restored(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 5)
    monkeypatch.setattr(
        pack_writer, "PACKS_UNDER_WAY", 0
    )  # the run waits for a pack as soon as it is full
    left: list[tuple[int, int]] = []
    add = ManifestBuilder.add

    def noted(builder: ManifestBuilder, *rows: Row) -> None:
        left.extend((len(row.lists), len(row.blobs)) for row in rows if row.path.endswith(b"wav"))
        add(builder, *rows)

    monkeypatch.setattr(ManifestBuilder, "add", noted)
    source = tmp_path / "source"
    source.mkdir()
    (source / "long.wav").write_bytes(noise(64 * MIB))
    (source / "note.txt").write_text("a note")
    site.back_up(source)
    ((lists, blobs),) = left
    assert lists >= 2
    assert 0 < blobs <= 5
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    assert site.back_up(source).bytes_read == 0
