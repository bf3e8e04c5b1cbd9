"""A crash at any write: earlier points stay whole, the next run completes."""

import sqlite3
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from backup.archiver.upload_cache.database import CacheDatabase
from backup.checker.verification import verify
from backup.errors import AlreadyThere, BackupError, StoreUnavailable
from tests.backup.site import Died, DyingStore, Site, new_site
from tests.backup.trees import KIB, describe, noise, plain_tree


def dying_site(folder: Path) -> tuple[Site, DyingStore]:
    vault = DyingStore()
    return new_site(folder, vault), vault


def change(source: Path) -> None:
    (source / "note.txt").write_text("the second backup")
    (source / "new").write_bytes(noise(200 * KIB, 8))
    (source / "empty").unlink()


def check_point(site: Site, point: str, out: Path, tree: dict[bytes, tuple[object, ...]]) -> None:
    assert site.restore(point, out).problems == ()
    assert describe(out / "files") == tree


@pytest.mark.parametrize("is_stored", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies", [True, False], ids=["killed", "store fails"])
def test_crash_at_any_put_harms_no_point(tmp_path: Path, is_stored: bool, dies: bool) -> None:
    source = plain_tree(tmp_path / "source")
    first_tree = describe(source)
    site, vault = dying_site(tmp_path / "dry")
    site.back_up(source)
    change(source)
    puts = vault.puts
    site.back_up(source)
    puts = vault.puts - puts
    assert puts == 3

    for at in range(puts):
        for path in sorted(source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        source.rmdir()
        plain_tree(source)
        site, vault = dying_site(tmp_path / f"site-{at}")
        site.back_up(source)
        first_tree = describe(source)
        change(source)
        vault.puts_left, vault.is_stored, vault.dies = at, is_stored, dies
        with pytest.raises((Died, StoreUnavailable)):
            site.back_up(source)
        vault.puts_left = None
        check_point(site, "1", tmp_path / f"first-{at}", first_tree)
        assert verify(vault, keys=site.keys, identity=site.identity, read=True).is_sound

        result = site.back_up(source)
        assert (result.complete, result.has_foreign_point, result.warnings) == (True, False, ())
        is_committed = is_stored and at == puts - 1
        assert result.sequence == (3 if is_committed else 2)
        check_point(site, "latest", tmp_path / f"second-{at}", describe(source))
        check_point(site, "1", tmp_path / f"again-{at}", first_tree)
        report = verify(vault, keys=site.keys, identity=site.identity, read=True)
        assert report.is_sound
        if at == puts - 1:
            # Every pack had been acknowledged, so the next run stores little more than the
            # snapshot.
            assert result.bytes_new < 32 * KIB


def test_crash_at_any_upload_cache_change_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plain_tree(tmp_path / "source")
    original = CacheDatabase.change
    count = 0

    def counting(self: CacheDatabase) -> AbstractContextManager[sqlite3.Connection]:
        nonlocal count
        count += 1
        if count == dies_at:
            raise Died
        return original(self)

    monkeypatch.setattr(CacheDatabase, "change", counting)
    dies_at = 0
    site, _ = dying_site(tmp_path / "dry")
    site.back_up(source)
    changes = count
    assert changes >= 6
    for dies_at in range(1, changes + 1):
        count = 0
        site, vault = dying_site(tmp_path / f"site-{dies_at}")
        with pytest.raises(Died):
            site.back_up(source)
        count = changes
        result = site.back_up(source)
        assert (result.complete, result.has_foreign_point, result.warnings) == (True, False, ())
        check_point(site, "latest", tmp_path / f"out-{dies_at}", describe(source))
        report = verify(vault, keys=site.keys, identity=site.identity, read=True)
        assert report.is_sound


def test_acknowledged_packs_are_not_sent_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(10):
        (source / f"{number}.wav").write_bytes(noise(4000 * KIB, number))
    site, vault = dying_site(tmp_path / "site")
    vault.puts_left = 2
    with pytest.raises(Died):
        site.back_up(source)
    vault.puts_left = None
    result = site.back_up(source)
    stored = sum(stat.size_bytes for stat in vault.list("w/desk-1/p/"))
    assert result.bytes_new < stored - 15_000_000
    check_point(site, "latest", tmp_path / "out", describe(source))


def test_lost_upload_cache_costs_only_repeated_uploads(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site, vault = dying_site(tmp_path / "site")
    first = site.back_up(source)
    site.send_log.unlink()
    second = site.back_up(source)
    assert (second.has_foreign_point, second.warnings) == (False, ())
    assert second.bytes_new > first.bytes_new / 2
    for point in ("1", "2"):
        check_point(site, point, tmp_path / f"out-{point}", describe(source))
    assert verify(vault, keys=site.keys, identity=site.identity, read=True).findings == ()
    third = site.back_up(source)
    assert third.bytes_new < 16 * KIB


def test_damaged_upload_cache_is_set_aside(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site, _ = dying_site(tmp_path / "site")
    site.back_up(source)
    data = bytearray(site.send_log.read_bytes())
    data[:200] = noise(200)
    site.send_log.write_bytes(data)
    result = site.back_up(source)
    assert any("set aside" in warning for warning in result.warnings)
    assert site.send_log.with_name("send.log.put-aside").exists()
    check_point(site, "latest", tmp_path / "out", describe(source))


def test_pack_that_the_store_lost_is_sent_again(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site, vault = dying_site(tmp_path / "site")
    site.back_up(source)
    for name in vault.names("w/desk-1/p/"):
        vault.remove(name)
    result = site.back_up(source)
    assert any("missing from the store" in warning for warning in result.warnings)
    check_point(site, "latest", tmp_path / "out", describe(source))
    following = site.back_up(source)
    assert following.warnings == ()


def test_interrupted_run_resumes_from_its_interim_point(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(24):
        (source / f"{number:02}.wav").write_bytes(noise(4000 * KIB, number))
    site, vault = dying_site(tmp_path / "site")
    vault.puts_left = 9
    with pytest.raises(Died):
        site.back_up(source, interim_packs=1)
    vault.puts_left = None
    points = site.repository().points()
    assert points
    assert all(point.is_interim and not point.complete for point in points)
    assert site.restore(points[-1].name, tmp_path / "part").problems == ()
    part = describe(tmp_path / "part/files")
    assert 0 < len(part) < 24
    assert part == {path: fact for path, fact in describe(source).items() if path in part}

    result = site.back_up(source, interim_packs=1)
    assert result.complete
    assert result.files_unchanged >= len(part) - 1
    assert site.repository().resolve("latest").name == result.point
    check_point(site, "latest", tmp_path / "out", describe(source))
    report = verify(vault, keys=site.keys, identity=site.identity, read=True)
    assert report.is_sound


def test_interim_points_follow_the_clock(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(24):
        (source / f"{number:02}.wav").write_bytes(noise(4000 * KIB, number))
    site, _ = dying_site(tmp_path / "site")
    site.back_up(source, interim_after=timedelta(microseconds=1))
    states = [point.is_interim for point in site.repository().points()]
    assert states[-1] is False
    assert states.count(True) >= 1
    assert site.repository().resolve("latest").complete


def test_interrupted_creation_completes_after_any_put(tmp_path: Path) -> None:
    for at in range(2):
        for is_stored in (False, True):
            both = DyingStore()
            both.puts_left, both.is_stored = at, is_stored
            site = Site(folder=tmp_path / f"{at}-{is_stored}", vault=both, keys=both)
            with pytest.raises(Died):
                site.create()
            both.puts_left = None
            site.create()
            source = tmp_path / "source"
            source.mkdir(exist_ok=True)
            (source / "a").write_text("a")
            site.back_up(source)
            check_point(site, "latest", tmp_path / f"out-{at}-{is_stored}", describe(source))
            with pytest.raises(AlreadyThere):
                site.create()


def test_errors_of_this_package_have_documented_exit_codes() -> None:
    codes = {kind.__name__: kind.exit_code for kind in _all(BackupError)}
    assert codes["Damaged"] == 6
    assert {codes[name] for name in ("Busy", "UnsafePath")} == {4}
    assert {codes[name] for name in ("UsageError", "NotFound", "WrongKey", "FormatUnknown")} == {2}
    assert {codes[name] for name in ("StoreUnavailable", "AlreadyThere", "NothingToBackUp")} == {1}


def _all(kind: type[BackupError]) -> list[type[BackupError]]:
    return [kind, *(deeper for sub in kind.__subclasses__() for deeper in _all(sub))]
