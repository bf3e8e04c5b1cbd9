"""Damage that only a check with a key finds: signed invalid content."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from blake3 import blake3

from backup.archiver.archiver_records import BlobLocation
from backup.archiver.blob_writer import BlobWriter
from backup.archiver.upload_cache.cache import UploadCache
from backup.checker.verification import verify
from backup.errors import Damaged
from backup.format.manifest_encoding import page_to_bytes
from backup.format.object_names import snapshot_name
from backup.format.pack import SealedPack, seal_pack
from backup.format.snapshot import (
    Body,
    bitmap_to_indexes,
    indexes_to_bitmap,
    seal_body,
    snapshot_from_bytes,
    snapshot_to_bytes,
)
from backup.reader.path_selection import Selection
from backup.repository import blobs_of, walk
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import read_history
from tests.backup.most_refs import most_refs
from tests.backup.poison import poison
from tests.backup.site import WRITER, Site, TamperedStore
from tests.backup.trees import KIB, describe, noise, plain_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plain_tree(tmp_path / "source")


def keyless(site: Site) -> list[str]:
    report = verify(site.vault, keys=site.keys, read=True)
    return [finding.object for finding in report.findings if finding.severity != "note"]


def keyed(site: Site, *, read: bool) -> dict[str, str]:
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=read)
    return {f.object: f.problem for f in report.findings if f.severity == "error"}


def test_packs_that_nobody_can_open_are_found(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = str(pyrage.x25519.Identity.generate().to_public())

    def to_a_stranger(payload: bytes, to: Any, *more: Any) -> SealedPack:
        return seal_pack(payload, replace(to, recipient=stranger), *more)

    monkeypatch.setattr("backup.archiver.pack_writer.seal_pack", to_a_stranger)
    site.back_up(source)
    assert keyless(site) == []
    packs = {stat.name for stat in site.vault.list("w/desk-1/p/")}
    found = keyed(site, read=True)
    assert packs <= set(found)
    assert all("open" in found[name] for name in packs)
    assert keyed(site, read=False)
    repository = site.repository()
    with pytest.raises(Damaged, match="does not open"):
        list(repository.entries(repository.resolve("latest")))


def test_poisoned_upload_cache_is_found(site: Site, source: Path, tmp_path: Path) -> None:
    site.back_up(source)
    poison(site.send_log)
    site.back_up(source)
    assert keyless(site) == []
    assert keyed(site, read=False)
    result = site.restore("latest", tmp_path / "out")
    assert result.problems
    for problem in result.problems:
        assert not (tmp_path / "out" / problem.path).exists()


def test_snapshot_that_hides_a_needed_pack_is_found(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(source)
    (source / "new").write_text("the second backup")
    monkeypatch.setattr("backup.archiver.snapshot_commit.indexes_to_bitmap", lambda _: b"")
    result = site.back_up(source)
    assert keyless(site) == []
    found = keyed(site, read=False)
    (problem,) = (found[name] for name in found if name.endswith(f"{result.sequence:010d}"))
    assert "does not name it as needed" in problem


def test_unnamed_pack_of_a_point_is_reported(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack may contain pages, lists, listed chunks or a frame's end."""
    most_refs(monkeypatch, 2)
    source = tmp_path / "source"
    source.mkdir()
    (source / "long.wav").write_bytes(noise(18 * 1024 * KIB))
    site.back_up(source)
    repository = site.repository()
    point = repository.resolve("1")
    (entry,) = repository.entries(point, ["files/long.wav"])
    assert entry.lists
    refs = [*blobs_of(repository.open_point(point)[2], entry)]
    (crossing,) = [number for number, ref in enumerate(refs) if ref.next is not None]
    # The remaining chunks of the second pack are no longer needed; the earlier lists keep their
    # places.
    os.truncate(source / "long.wav", sum(ref.length for ref in refs[: crossing + 1]))
    (source / "note").write_text("the second backup")
    site.back_up(source)
    name = snapshot_name(WRITER, 2)
    whole, sealed = snapshot_from_bytes(site.vault.get(name), name)
    first, _ = snapshot_from_bytes(site.vault.get(snapshot_name(WRITER, 1)), "the first")
    used = bitmap_to_indexes(whole.uses[1])
    assert len(used) >= 3
    assert whole.packs
    hiding = {
        sha256: replace(whole, packs=tuple(pack for pack in whole.packs if pack[0] != sha256))
        for sha256, _ in whole.packs
    }
    for bit in used:
        hiding[first.packs[bit][0]] = replace(whole, uses={1: indexes_to_bitmap(set(used) - {bit})})
    assert isinstance(site.vault, TamperedStore)
    for pack, less in hiding.items():
        forged = snapshot_to_bytes(less, sealed, site.host.signing_key)
        site.vault.replace(name, forged)
        assert keyed(site, read=False) == {
            name: f"it reaches pack {pack}, but does not name it as needed"
        }


def test_page_of_another_depth_is_found(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The earlier point lists the page with its true depth, and passed."""
    site.back_up(source)

    def deeper(body: Body, recipient: str) -> bytes:
        return seal_body(replace(body, depth=body.depth + 1), recipient)

    monkeypatch.setattr("backup.archiver.snapshot_commit.seal_body", deeper)
    result = site.back_up(source)
    assert keyless(site) == []
    found = keyed(site, read=False)
    assert found.keys() == {snapshot_name(WRITER, 2)}
    with pytest.raises(Damaged):
        site.restore(result.point, tmp_path / "forged")
    assert site.restore("1", tmp_path / "out").problems == ()


def test_references_with_another_meaning_are_found(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the earlier point, the check read each reference with its own key."""
    site.back_up(source)

    def by_another_key(body: Body, recipient: str) -> bytes:
        return seal_body(replace(body, id_key=bytes(32)), recipient)

    monkeypatch.setattr("backup.archiver.snapshot_commit.seal_body", by_another_key)
    result = site.back_up(source)
    assert keyless(site) == []
    assert any(
        "contains other content than its reference says" in one
        for one in keyed(site, read=False).values()
    )
    with pytest.raises(Damaged, match="contains other content"):
        site.restore(result.point, tmp_path / "forged")
    assert site.restore("1", tmp_path / "out").problems == ()


@pytest.mark.parametrize("most", [2, 4096])
def test_content_with_another_meaning_is_found(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """The pages are valid, and the content was valid in the earlier point."""
    most_refs(monkeypatch, most)
    source = tmp_path / "source"
    source.mkdir()
    (source / "long.wav").write_bytes(noise(9 * 1024 * KIB))
    (source / "note").write_text("the first backup")
    site.back_up(source)
    (source / "note").unlink()
    open_page_writer = BlobWriter.open_page_writer

    def by_another_key(data: BlobWriter) -> BlobWriter:
        pages = open_page_writer(data)
        pages.compute_id = lambda data: blake3(data, key=bytes(32)).hexdigest()
        return pages

    monkeypatch.setattr(BlobWriter, "open_page_writer", by_another_key)
    monkeypatch.setattr(
        "backup.archiver.snapshot_commit.seal_body",
        lambda body, recipient: seal_body(replace(body, id_key=bytes(32)), recipient),
    )
    result = site.back_up(source)
    assert (result.files_unchanged, keyless(site)) == (1, [])
    assert any(
        "contains other content than its reference says" in one
        for one in keyed(site, read=False).values()
    )
    (problem,) = site.restore(result.point, tmp_path / "forged").problems
    assert problem.path == "files/long.wav"
    assert not (tmp_path / "forged/files/long.wav").exists()
    assert site.restore("1", tmp_path / "out").problems == ()


def test_page_listed_wrongly_by_later_point_is_found(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.archiver.manifest_builder.CUT_MASK", 7)
    for number in range(100):
        (source / f"{number:03}").write_text(f"{number}")
    site.back_up(source)
    assert keyed(site, read=True) == {}

    def lying(kind: str, packs: Sequence[str], items: Sequence[Any]) -> bytes:
        if kind == "node":
            items = [items[0] | {"entries": items[0]["entries"] + 1}, *items[1:]]
        return page_to_bytes(kind, packs, items)

    monkeypatch.setattr("backup.archiver.manifest_builder.page_to_bytes", lying)
    result = site.back_up(source)  # the page is the same as in the earlier point
    found = keyed(site, read=True)
    (problem,) = (found[name] for name in found if name.endswith(f"{result.sequence:010d}"))
    assert "is not the page that its parent describes" in problem
    assert site.restore(result.point, tmp_path / "out").problems


@pytest.mark.parametrize("is_in_one_point", [True, False])
def test_reference_with_wrong_frame_size_is_found(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_in_one_point: bool,
) -> None:
    source = tmp_path / "calls"
    source.mkdir()
    (source / "one.sql").write_text("insert into customer values (1);\n" * 900)
    site.back_up(source)
    assert keyed(site, read=True) == {}
    real = UploadCache.find
    asked: list[str] = []

    def poisoned(log: UploadCache, blob_id: str) -> BlobLocation | None:
        place = real(log, blob_id)
        asked.append(blob_id)
        is_right = is_in_one_point and asked.count(blob_id) == 1
        return place if place is None or is_right else place._replace(stored=place.stored + 1)

    monkeypatch.setattr(UploadCache, "find", poisoned)
    for name in ("one.sql", "two.sql"):
        (source / name).write_text("insert into customer values (1);\n" * 900)
    result = site.back_up(source)
    (problem,) = keyed(site, read=True).values()
    assert "does not decompress" in problem
    restored = site.restore(result.point, tmp_path / "out")
    wrong = [f"files/{name}" for name in ("one.sql", "two.sql")][is_in_one_point:]
    assert [problem.path for problem in restored.problems] == wrong


def test_reference_before_the_start_of_content_is_found(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "calls"
    source.mkdir()
    (source / "one.sql").write_text("insert into customer values (1);\n" * 900)
    site.back_up(source)
    real = UploadCache.find

    def poisoned(log: UploadCache, blob_id: str) -> BlobLocation | None:
        place = real(log, blob_id)
        return place and place._replace(inner=place.inner + 1)

    monkeypatch.setattr(UploadCache, "find", poisoned)
    (source / "one.sql").rename(source / "two.sql")
    result = site.back_up(source)
    (problem,) = keyed(site, read=True).values()
    assert "contains other content than its reference says" in problem
    restored = site.restore(result.point, tmp_path / "out")
    assert [problem.path for problem in restored.problems] == ["files/two.sql"]


def test_snapshot_names_exactly_its_packs(site: Site, source: Path) -> None:

    for round_number in range(5):
        (source / "note.txt").write_text(f"backup {round_number}")
        (source / f"new-{round_number}").write_text(f"{round_number}")
        site.back_up(source)
    repository = site.repository()
    for point in repository.points():
        _, _, reader = repository.open_point(point)
        for entry in repository.entries(point):
            for ref in blobs_of(reader, entry):
                reader.blob(ref)
        history = SnapshotHistory("desk-1", read_history(site.vault, repository.trust, "desk-1"))
        _, body, _ = repository.open_point(point)
        for _ in walk(reader, body, Selection(())):
            pass
        assert {pack.hex() for pack in reader.reached} == history.needed_packs(point.sequence)


def test_repeated_content_and_holes_are_sound(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 2)
    source = tmp_path / "source"
    source.mkdir()
    (source / "same.db").write_bytes(b"=" * (8 * 1024 * KIB))
    with (source / "sparse").open("wb") as file:
        file.seek(1024 * KIB)
        file.write(b"behind a hole")
    site.back_up(source)
    entries = {
        entry.path: entry for entry in site.repository().entries(site.repository().resolve("1"))
    }
    lists = entries[b"files/same.db"].lists
    assert len(set(lists)) < len(lists)
    assert entries[b"files/sparse"].holes
    assert keyed(site, read=False) == {}
    assert site.restore("1", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_a_sound_repository_is_sound_with_a_key(site: Site, source: Path) -> None:
    for round_number in range(3):
        (source / "note.txt").write_text(f"backup {round_number}")
        site.back_up(source)
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert report.findings == ()
    assert report.is_sound
    assert (report.points, len(report.heads)) == (3, 1)
