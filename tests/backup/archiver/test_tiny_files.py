"""Many tiny files: limits on the number of waiting rows, not only bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from backup.archiver import blob_writer, manifest_builder, worker_ipc
from backup.archiver.archiver_records import BlobLocation
from backup.archiver.blob_writer import BlobWriter
from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.id_filter import IdFilter
from backup.checker.verification import verify
from backup.format.manifest_encoding import leaf_to_bytes
from tests.backup.site import Site
from tests.backup.trees import describe

FILES = 1000


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for number in range(FILES):
        (source / f"{number // 100}").mkdir(parents=True, exist_ok=True)
        (source / f"{number // 100}/{number:04}").write_text(f"ticket {number}")
    return source


@pytest.mark.parametrize("is_apart", [True, False], ids=["first backup", "a set that is known"])
def test_waiting_rows_do_not_grow_with_files(
    site: Site, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_apart: bool
) -> None:
    monkeypatch.setattr(blob_writer, "MOST_BLOBS_IN_BUNDLE", 8)
    monkeypatch.setattr(blob_writer, "MOST_BLOBS_IN_PACK", 64)
    if not is_apart:
        (tmp_path / "before").mkdir()
        (tmp_path / "before/note").write_text("what there was")
        site.back_up(tmp_path / "before")
    monkeypatch.setattr(worker_ipc, "BATCH_BYTES", 1000)  # a few files
    waiting = 0

    def counted(add: Callable[..., Any]) -> Callable[..., Any]:
        def count(sink: BlobWriter, *given: Any) -> Any:
            nonlocal waiting
            refs = add(sink, *given)
            waiting = max(waiting, len(sink._pending))
            return refs

        return count

    for way in ("add", "add_small"):
        monkeypatch.setattr(BlobWriter, way, counted(getattr(BlobWriter, way)))
    assert site.back_up(tiny).complete
    assert 64 <= waiting <= 300
    assert len(list(site.vault.list("w/desk-1/p/"))) > FILES // 100
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tiny)
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert report.findings == ()
    again = site.back_up(tiny)
    assert (again.files_unchanged, again.bytes_read < 2000) == (FILES, True)


@pytest.mark.parametrize(
    ("most", "bundle_bytes", "full"), [(8, 10_000, (8, 800)), (2000, 1000, (10, 1000))]
)
def test_bundle_is_filled_to_its_limit(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    bundle_bytes: int,
    full: tuple[int, int],
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(200):
        (source / f"{number:04}").write_text(f"{number:0100}")
    monkeypatch.setattr(blob_writer, "MOST_BLOBS_IN_BUNDLE", most)
    monkeypatch.setattr(blob_writer, "BUNDLE_BYTES", bundle_bytes)
    monkeypatch.setattr(worker_ipc, "BATCH_BYTES", 1000)  # a few files
    bundles: dict[tuple[int, int], list[int]] = {}
    acknowledge = UploadCache.acknowledge

    def noted(
        cache: UploadCache,
        number: int,
        name: bytes,
        size: int,
        set_name: str,
        blobs: list[BlobLocation],
    ) -> None:
        for blob in blobs:
            if blob.length == 100:  # not a page
                bundles.setdefault((blob.pack, blob.offset), []).append(blob.length)
        acknowledge(cache, number, name, size, set_name, blobs)

    monkeypatch.setattr(UploadCache, "acknowledge", noted)
    assert site.back_up(source).complete
    assert [(len(sizes), sum(sizes)) for sizes in bundles.values()] == [full] * (200 // full[0])
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


@pytest.mark.parametrize(("page_bytes", "most"), [(5000, 4096), (2_000_000, 7)])
def test_page_never_exceeds_its_limit(
    site: Site,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    page_bytes: int,
    most: int,
) -> None:
    monkeypatch.setattr(manifest_builder, "PAGE_BYTES", page_bytes)
    monkeypatch.setattr(manifest_builder, "MAX_PAGE_ENTRIES", most)
    monkeypatch.setattr(worker_ipc, "BATCH_BYTES", 1000)  # a few files
    pages: list[tuple[int, int]] = []  # entries and bytes

    def noted(packs: Sequence[str], entries: Sequence[str]) -> bytes:
        page = leaf_to_bytes(packs, entries)
        pages.append((len(entries), len(page)))
        return page

    monkeypatch.setattr(manifest_builder, "leaf_to_bytes", noted)
    assert site.back_up(tiny).complete
    assert all(entries <= most and size <= page_bytes for entries, size in pages)
    full = sum(entries == most or size >= page_bytes * 0.6 for entries, size in pages)
    assert full > len(pages) * 0.9, "few end for another reason"
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tiny)


def test_id_filter_forgets_no_id() -> None:
    ids = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(4000)]
    seen = IdFilter()
    for begin in range(0, 2000, 50):
        seen.update(ids[begin : begin + 50])
        assert all(one in seen for one in ids[: begin + 50])
        assert set(seen.may_have(ids[begin:])) >= set(ids[begin : begin + 50])
    assert sum(one in seen for one in ids[2000:]) < 20
    assert len(seen.may_have(ids[2000:])) < 20


def test_identical_small_files_are_stored_once(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3000):  # equal files in one batch, across batches, and across packs
        kind = number % 7
        text = f"signature {kind}" * 40 if kind < 3 else f"ticket {number}" * 40
        (source / f"{number:04}").write_text(text)
    result = site.back_up(source)
    alike = sum(len(f"signature {kind}") * 40 for kind in range(3))
    others = sum(len(f"ticket {number}") * 40 for number in range(3000) if number % 7 >= 3)
    assert result.bytes_changed == alike + others
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
