"""Every backup ends in a restore and a comparison."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup.sources.files.files_source import FilesSource
from backup.sources.sqlite import SqliteSource
from backup.stores.directory import DirectoryStore
from tests.backup.most_refs import most_refs
from tests.backup.site import Site, new_site
from tests.backup.trees import KIB, describe, noise, owners, plain_tree, strange_tree


def test_unusual_tree_is_restored_exactly(site: Site, tmp_path: Path) -> None:
    source = strange_tree(tmp_path / "source")
    before = describe(source)
    result = site.back_up(source)
    assert result.complete
    assert (result.files_new, result.files_changed) == (result.files, 0)
    restored = site.restore("latest", tmp_path / "out")
    assert restored.problems == ()
    assert restored.files == result.files
    assert describe(tmp_path / "out" / "files") == before


def test_root_can_restore_owners_and_devices(site: Site, owned: Path, tmp_path: Path) -> None:
    before, belonging = describe(owned), owners(owned)
    assert len(set(belonging.values())) == len(belonging) - 1  # two names belong to one file
    assert site.back_up(owned).complete
    assert site.restore("latest", tmp_path / "out", owner=True).problems == ()
    assert describe(tmp_path / "out" / "files") == before
    assert owners(tmp_path / "out" / "files") == belonging


def test_restore_without_owners_counts_lost_owners(site: Site, owned: Path, tmp_path: Path) -> None:
    assert site.back_up(owned).complete
    result = site.restore("latest", tmp_path / "out")
    assert set(owners(tmp_path / "out").values()) == {(os.geteuid(), os.getegid())}
    ours = (os.geteuid(), os.getegid())
    assert result.owners_lost == sum(owner != ours for owner in owners(owned).values())
    assert result.owners_lost > 0
    assert site.restore("latest", tmp_path / "again", owner=True).owners_lost == 0


def test_root_folder_itself_is_restored(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    source.chmod(0o751)
    os.utime(source, ns=(1, 1_600_000_000_000_000_007))
    site.back_up(source)
    site.restore("latest", tmp_path / "out")
    status = (tmp_path / "out" / "files").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o751, 1_600_000_000_000_000_007)


def test_holes_are_restored_as_holes(site: Site, tmp_path: Path) -> None:
    source = strange_tree(tmp_path / "source")
    result = site.back_up(source)
    site.restore("latest", tmp_path / "out")
    for name in ("sparse", "all-hole"):
        original, restored = (source / name).stat(), (tmp_path / "out/files" / name).stat()
        assert restored.st_size == original.st_size
        assert restored.st_blocks <= original.st_blocks
    assert result.bytes_read < 2 * 1024 * KIB


def test_a_repository_in_a_directory_does_the_same(tmp_path: Path) -> None:
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    source = strange_tree(tmp_path / "source")
    site.back_up(source)
    site.vault = DirectoryStore(tmp_path / "vault")
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)


def test_unchanged_content_is_neither_read_nor_stored(site: Site, tmp_path: Path) -> None:
    source = strange_tree(tmp_path / "source")
    first = site.back_up(source)
    # A day on which none of these few files is read again.
    second = min((site.back_up(source) for _ in range(3)), key=lambda result: result.bytes_read)
    assert second.files_unchanged == first.files
    assert second.bytes_read < first.bytes_read / 4
    assert second.bytes_new < 16 * KIB
    site.restore("latest", tmp_path / "out")
    assert describe(tmp_path / "out" / "files") == describe(source)


def test_earlier_points_stay_unchanged(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    wanted = {}
    for round_ in range(4):
        (source / f"new-{round_}").write_bytes(noise(50 * KIB, round_))
        (source / "note.txt").write_text(f"round {round_}\n")
        (source / f"new-{round_ - 2}").unlink(missing_ok=True)
        result = site.back_up(source)
        assert (result.files_new, result.files_changed) == ((6, 0) if round_ == 0 else (1, 1))
        wanted[result.point] = describe(source)
    for point, tree in wanted.items():
        out = tmp_path / point.replace("/", "-")
        assert site.restore(point, out).problems == ()
        assert describe(out / "files") == tree


def test_moved_file_is_not_stored_again(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(noise(2000 * KIB))
    site.back_up(source)
    (source / "a").rename(source / "b")
    result = site.back_up(source)
    assert result.bytes_new < 32 * KIB
    assert result.files_new == 1


def test_edit_in_a_dump_stores_little(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    dump = bytearray(noise(3000 * KIB))
    (source / "dump.sql").write_bytes(dump)
    site.back_up(source)
    dump[1_500_000:1_500_000] = b"one row more"
    (source / "dump.sql").write_bytes(dump)
    result = site.back_up(source)
    assert result.files_changed == 1
    assert result.bytes_new < 600 * KIB
    site.restore("latest", tmp_path / "out")
    assert (tmp_path / "out/files/dump.sql").read_bytes() == dump


def test_frames_crossing_packs_are_restored(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number:02}.wav").write_bytes(noise(3200 * KIB + number, number))
    result = site.back_up(source)
    sizes = [stat.size_bytes for stat in site.vault.list("w/desk-1/p/")]
    assert sorted(sizes)[-2:] == [4096 + 255 * 65_536] * 2
    assert result.bytes_new > 38_000_000
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)


def test_more_files_than_a_page_are_restored(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in range(12):
        (source / f"{folder}").mkdir(parents=True)
        for number in range(700):
            (source / f"{folder}" / f"{number}").write_text(f"{folder}/{number}")
    site.back_up(source)
    repository = site.repository()
    point = repository.resolve("latest")
    _, body, _ = repository.open_point(point)
    assert body.depth >= 1
    paths = [entry.path for entry in repository.entries(point)]
    assert len(paths) == 12 * 701 + 1
    assert paths == sorted(paths, key=lambda path: path.replace(b"/", b"\0"))
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)


def test_change_in_one_folder_keeps_other_pages(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(6000):
        folder = source / f"{number // 500}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_text(f"{number}")
    first = site.back_up(source)
    (source / "3" / "1700").write_text("edited")
    second = site.back_up(source)
    assert second.files_changed == 1
    assert second.bytes_new < first.bytes_new / 2
    site.restore("latest", tmp_path / "out", "files/3")
    assert describe(tmp_path / "out/files/3") == describe(source / "3")


def test_file_with_many_blobs_is_restored(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 4)
    source = tmp_path / "source"
    source.mkdir()
    (source / "big.db").write_bytes(noise(40_000 * KIB))
    (source / "small").write_text("beside it")
    os.link(source / "big.db", source / "same.db")
    first = site.back_up(source)
    assert first.complete
    entry = next(site.repository().entries(site.repository().resolve("latest"), ["files/big.db"]))
    assert len(entry.lists) > 50
    assert not entry.blobs
    (source / "small").write_text("edited")
    second = site.back_up(source)
    assert second.bytes_new < 64 * KIB
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
    only = site.restore("latest", tmp_path / "only", "files/same.db")
    assert only.problems == ()
    assert (tmp_path / "only/files/same.db").read_bytes() == (source / "big.db").read_bytes()


def test_several_sources_have_separate_folders(site: Site, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "source")
    database = tmp_path / "customers.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany(
            "INSERT INTO customer (name) VALUES (?)", ((f"name {n}",) for n in range(2000))
        )
    result = site.back_up(
        FilesSource("recordings", tree / "calls"),
        SqliteSource("crm", database),
        FilesSource("one-file", tree / "note.txt"),
    )
    assert result.complete
    site.restore("latest", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "crm",
        "one-file",
        "recordings",
    ]
    assert describe(tmp_path / "out/recordings") == describe(tree / "calls")
    assert (tmp_path / "out/one-file/note.txt").read_bytes() == (tree / "note.txt").read_bytes()
    with closing(sqlite3.connect(tmp_path / "out/crm/customers.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*), max(name) FROM customer").fetchone() == (
            2000,
            "name 999",
        )


def test_part_is_restored_with_its_parent_folders(site: Site, tmp_path: Path) -> None:
    source = strange_tree(tmp_path / "source")
    (source / "calls").chmod(0o750)
    site.back_up(source)
    result = site.restore("latest", tmp_path / "out", "files/calls/*.wav", "files/link")
    assert result.problems == ()
    found = describe(tmp_path / "out/files")
    assert sorted(found) == [b"calls", b"calls/one.wav", b"calls/two.wav", b"link"]
    assert all(found[path] == describe(source)[path] for path in found)


def test_a_pattern_that_selects_nothing_is_named(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    result = site.restore("latest", tmp_path / "out", "files/note.txt", "files/absent")
    assert result.files == 1
    assert [(p.path, p.reason) for p in result.problems] == [
        ("files/absent", "selects nothing in this point")
    ]


def test_second_name_is_restored_without_the_first(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    os.link(source / "calls" / "one.wav", source / "z-same")
    site.back_up(source)
    assert site.restore("latest", tmp_path / "out", "files/z-same").problems == ()
    assert (tmp_path / "out/files/z-same").read_bytes() == (source / "z-same").read_bytes()


def test_new_and_incompressible_bytes_are_counted(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "recording").write_bytes(noise(900 * KIB))
    (source / "text").write_bytes(b"a line that compresses well\n" * 40_000)
    first = site.back_up(source)
    assert first.bytes_changed == 900 * KIB + 28 * 40_000
    assert first.bytes_incompressible == 900 * KIB
    assert (site.back_up(source).bytes_changed, site.back_up(source).bytes_incompressible) == (0, 0)
    for number in range(300):
        (source / f"small-{number:03}").write_bytes(noise(5 * KIB, number))
    (source / "again").write_bytes(noise(900 * KIB))
    third = site.back_up(source)
    assert third.bytes_changed == third.bytes_incompressible == 300 * 5 * KIB
