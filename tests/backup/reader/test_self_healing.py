"""A lost or damaged pack costs no content that other points have."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from backup.errors import Damaged
from backup.format.manifest import BlobRef, Entry, list_from_bytes
from backup.reader.blob_reader import BlobReader, Raw
from backup.reader.manifest_walk import leaves, top_page
from backup.reader.path_selection import Selection
from backup.records import RestoreResult
from backup.restorer.work_units import Stretch
from backup.restorer.worker import RestoreWorker
from tests.backup.most_refs import most_refs
from tests.backup.site import Site, TamperedStore
from tests.backup.trees import KIB, describe, noise, plain_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = plain_tree(tmp_path / "source")
    for number in range(5):
        (top / f"{number}.wav").write_bytes(noise(700 * KIB, 20 + number))
    return top


def data_packs(site: Site, point: str) -> list[str]:
    """Return the packs with the files of a point, not its pages."""
    repository = site.repository()
    chosen = repository.resolve(point)
    _, _, reader = repository.open_point(chosen)
    refs = [
        ref
        for entry in repository.entries(chosen)
        for listed in entry.lists
        for ref in list_from_bytes(reader.blob(listed), "a list")
    ]
    refs += [ref for entry in repository.entries(chosen) for ref in entry.blobs]
    return in_vault(site, {pack for ref in refs for pack in ref.packs})


def page_packs(site: Site, point: str) -> list[str]:
    """Return the packs with the pages of a point, not its files."""
    repository = site.repository()
    _, body, _ = repository.open_point(repository.resolve(point))
    return in_vault(site, body.root_page.packs)


def in_vault(site: Site, packs: Iterable[bytes]) -> list[str]:
    wanted = {pack.hex() for pack in packs}
    return [name for name in vault_of(site).names("w/desk-1/p/") if name[-64:] in wanted]


def damage(site: Site, name: str) -> None:
    """Flip a bit in each segment of a pack."""
    data = bytearray(site.vault.get(name))
    for at in range(5000, len(data), 60_000):
        data[at] ^= 1
    vault_of(site).replace(name, bytes(data))


def vault_of(site: Site) -> TamperedStore:
    assert isinstance(site.vault, TamperedStore)
    return site.vault


def resent(site: Site, source: Path) -> list[str]:
    """Make two points without shared data packs; return those of the first."""
    site.back_up(source)
    old = data_packs(site, "1")
    kept = {name: site.vault.get(name) for name in old}
    for name in old:
        vault_of(site).remove(name)
    # The writer finds that the packs are missing, and sends their content again.
    assert any("missing" in warning for warning in site.back_up(source).warnings)
    for name, data in kept.items():
        site.vault.put(name, data)
    assert not set(old) & set(data_packs(site, "2"))
    return old


def check(result: RestoreResult, out: Path, expected: dict[bytes, tuple[object, ...]]) -> None:
    assert result.problems == ()
    assert describe(out / "files") == expected
    assert result.healed
    assert all("read from desk-1/0000000002" in one for one in result.healed)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("how", ["removed", "flipped", "cut"])
def test_content_sent_again_heals_the_older_point(
    site: Site, source: Path, tmp_path: Path, how: str, workers: int
) -> None:
    expected = describe(source)
    old = resent(site, source)
    for name in old:
        match how:
            case "removed":
                vault_of(site).remove(name)
            case "flipped":
                damage(site, name)
            case "cut":
                data = site.vault.get(name)
                vault_of(site).replace(name, data[: len(data) // 2])
    check(site.restore("1", tmp_path / "out", workers=workers), tmp_path / "out", expected)
    repository = site.repository()
    pieces = repository.stream(repository.resolve("1"), "files/4.wav")
    assert b"".join(pieces) == (source / "4.wav").read_bytes()


def test_content_below_several_pages_is_healed(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.archiver.manifest_builder.CUT_MASK", 0)
    expected = describe(source)
    for name in resent(site, source):
        vault_of(site).remove(name)
    repository = site.repository()
    assert all(repository.open_point(point)[1].depth for point in repository.points())
    check(site.restore("1", tmp_path / "out"), tmp_path / "out", expected)


def test_content_in_lists_of_large_file_is_healed(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 2)
    source = tmp_path / "source"
    source.mkdir()
    (source / "big.db").write_bytes(noise(900 * KIB))
    expected = describe(source)
    for name in resent(site, source):
        vault_of(site).remove(name)
    (entry,) = site.repository().entries(site.repository().resolve("2"), ["files/big.db"])
    assert len(entry.lists) > 1
    assert not entry.blobs
    check(site.restore("1", tmp_path / "out"), tmp_path / "out", expected)


@pytest.mark.parametrize("copies", [2, 5, 6])
def test_oldest_copy_heals_if_newer_are_damaged(
    site: Site, source: Path, tmp_path: Path, copies: int
) -> None:
    expected = describe(source)
    kept: dict[str, bytes] = {}
    site.back_up(source)
    for number in range(1, copies + 1):
        packs = data_packs(site, str(number))
        assert not kept.keys() & packs
        for name in packs:
            kept[name] = site.vault.get(name)
            vault_of(site).remove(name)
        assert any("missing" in warning for warning in site.back_up(source).warnings)
    for name, data in kept.items():
        site.vault.put(name, data)
    for number in range(1, copies + 2):
        if number != 2:
            for name in data_packs(site, str(number)):
                damage(site, name)
    check(site.restore("1", tmp_path / "out"), tmp_path / "out", expected)


def test_older_point_replaces_a_lost_page(site: Site, source: Path, tmp_path: Path) -> None:
    expected = describe(source)
    old = resent(site, source)
    second = page_packs(site, "2")
    kept = {name: site.vault.get(name) for name in second}
    for name in second:
        vault_of(site).remove(name)
    site.back_up(source)
    third = page_packs(site, "3")
    assert not set(second) & set(third)
    assert data_packs(site, "3") == data_packs(site, "2")
    for name, data in kept.items():
        site.vault.put(name, data)
    for name in (*old, *third):
        vault_of(site).remove(name)
    check(site.restore("1", tmp_path / "out"), tmp_path / "out", expected)


def test_pages_sent_again_heal_the_older_point(site: Site, source: Path, tmp_path: Path) -> None:
    expected = describe(source)
    site.back_up(source)
    lost = page_packs(site, "1")
    for name in lost:
        vault_of(site).remove(name)
    site.back_up(source)
    assert not set(lost) & set(page_packs(site, "2"))
    check(site.restore("1", tmp_path / "out"), tmp_path / "out", expected)


def test_content_missing_in_newest_comes_from_earlier_point(
    site: Site, source: Path, tmp_path: Path
) -> None:
    """Point 2 still has `1.wav`, which the newest point lacks."""
    expected = describe(source)
    old = resent(site, source)
    (source / "1.wav").unlink()
    site.back_up(source)
    for name in old:
        vault_of(site).remove(name)
    result = site.restore("1", tmp_path / "out")
    assert result.problems == ()
    assert describe(tmp_path / "out/files") == expected


def test_list_lost_everywhere_costs_only_its_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 2)
    source = plain_tree(tmp_path / "source")
    (source / "big.db").write_bytes(noise(900 * KIB))
    expected = describe(source)
    for name in resent(site, source):
        vault_of(site).remove(name)
    (entry,) = site.repository().entries(site.repository().resolve("2"), ["files/big.db"])
    lost = {ref.id for ref in entry.lists}
    real = BlobReader.blob

    def blob(self: BlobReader, ref: BlobRef) -> bytes:
        if ref.id in lost:
            raise Damaged("this list is gone")
        return real(self, ref)

    monkeypatch.setattr(BlobReader, "blob", blob)
    result = site.restore("1", tmp_path / "out", workers=1)
    assert [problem.path for problem in result.problems] == ["files/big.db"]
    del expected[b"big.db"]
    assert describe(tmp_path / "out/files") == expected


def test_intact_point_is_not_reported_as_healed(site: Site, source: Path, tmp_path: Path) -> None:
    resent(site, source)
    assert site.restore("1", tmp_path / "out").healed == ()


def test_content_in_no_other_point_is_lost(site: Site, source: Path, tmp_path: Path) -> None:
    (source / "only-here.bin").write_bytes(noise(300 * KIB, 77))
    expected = describe(source)
    site.back_up(source)
    old = data_packs(site, "1")
    for name in old:
        vault_of(site).remove(name)
    (source / "only-here.bin").unlink()
    site.back_up(source)
    result = site.restore("1", tmp_path / "out")
    assert [problem.path for problem in result.problems] == ["files/only-here.bin"]
    assert all(problem.is_damage and problem.is_missing for problem in result.problems)
    restored = describe(tmp_path / "out/files")
    assert restored == {path: facts for path, facts in expected.items() if b"only" not in path}


def test_returned_pack_completes_the_restore(site: Site, source: Path, tmp_path: Path) -> None:
    expected = describe(source)
    site.back_up(source)
    name = max(data_packs(site, "1"), key=lambda name: site.vault.stat(name).size_bytes)
    data = site.vault.get(name)
    vault_of(site).remove(name)
    result = site.restore("1", tmp_path / "out")
    assert result.problems
    site.vault.put(name, data)
    result = site.restore("1", tmp_path / "out")
    assert (result.problems, result.is_resumed) == ((), True)
    assert describe(tmp_path / "out/files") == expected


def test_a_check_of_the_packs_heals_nothing(site: Site, source: Path) -> None:
    for name in resent(site, source):
        vault_of(site).remove(name)
    repository = site.repository()
    point = repository.resolve("1")
    _, _, reader = repository.open_point(point)
    (entry,) = repository.entries(point, ["files/4.wav"])
    with pytest.raises(Damaged, match="missing"):
        reader.blob(entry.blobs[0])


def test_lost_page_costs_only_its_paths(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "many"
    source.mkdir()
    monkeypatch.setattr("backup.archiver.manifest_builder.CUT_MASK", 63)
    for number in range(400):
        (source / f"{number:04}").write_text(f"{number}")
    site.back_up(source)
    repository = site.repository()
    _, body, reader = repository.open_point(repository.resolve("1"))
    pages = list(leaves(reader, top_page(body), Selection(())))
    assert len(pages) > 1
    lost = pages[1].listed
    assert lost is not None
    real = BlobReader.verified_blob

    def verified_blob(self: BlobReader, ref: BlobRef, raw: Raw) -> Raw:
        if ref.id == lost.page.id:
            raise Damaged("this page is gone")
        return real(self, ref, raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobReader, "verified_blob", verified_blob)
        for workers in (1, 2):
            result = site.restore("1", tmp_path / f"out{workers}", workers=workers)
            (problem,) = result.problems
            assert problem.is_damage
            assert f"{lost.entries:,}" in problem.path
            assert result.files == 400 - lost.entries


@pytest.mark.parametrize("parts_that_lose_it", [{0}, {1}, {0, 1, 2}], ids=str)
def test_page_lost_during_the_restore_is_reported_once(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts_that_lose_it: set[int]
) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for number in range(1600):
        (source / f"{number:04}").write_text(f"{number}")
    site.back_up(source)
    # The page has several parts.
    monkeypatch.setattr("backup.restorer.work_units.STRETCH_BYTES", 256)
    real = RestoreWorker._entries
    gone: set[str] = set()

    def entries(worker: RestoreWorker, stretch: Stretch) -> list[Entry]:
        found = real(worker, stretch)
        assert stretch.page.listed is not None
        if stretch.page.listed.first == b"files" and stretch.part in parts_that_lose_it:
            gone.update(entry.text for entry in found if entry.kind == "file")
            raise Damaged("its pack is missing from the store")
        return found

    monkeypatch.setattr(RestoreWorker, "_entries", entries)
    result = site.restore("1", tmp_path / "out", workers=2)
    (problem,) = result.problems
    assert problem.path.startswith("files … ")
    assert problem.is_missing
    assert gone
    restored = {path.name for path in (tmp_path / "out" / "files").iterdir()}
    missing = {f"{number:04}" for number in range(1600)} - restored
    # Another unit writes files of the page early; they are not lost.
    assert missing
    assert missing <= {Path(path).name for path in gone}
