"""The upload cache: it never claims more than the store acknowledged."""

import hashlib
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from backup.archiver.archiver_records import BlobLocation, PageText, Row
from backup.archiver.upload_cache import blob_index
from backup.archiver.upload_cache.cache import UploadCache, open_upload_cache
from backup.archiver.upload_cache.cache_records import CachedHead, Commit
from backup.archiver.upload_cache.page_encoding import (
    outline_from_bytes,
    outline_to_bytes,
    pack_uses,
    rows_to_bytes,
)
from backup.errors import NotWritable
from backup.format.manifest_encoding import entry_to_text, refs_to_texts
from tests.backup.site import Site
from tests.backup.trees import describe
from tests.full_disk import file_size_limit

BINDING = "a repository and its writer"


def place(pack: int, name: str = "aa", following: int = -1) -> BlobLocation:
    return BlobLocation(pack, 0, 10, 0, 9, name * 32, following)


def row(path: str, *blobs: BlobLocation) -> Row:
    return Row(
        path=path.encode(), text=f'"path":"{path}"}}', size=0, vector=(1, 2), blobs=list(blobs)
    )


def page(rows: list[Row], *, has_outline: bool = False) -> PageText:
    packs = sorted({ref.location.pack for row in rows for ref in row.blobs})
    index = {-1: -1, **{number: at for at, number in enumerate(packs)}}
    entries = [
        entry_to_text(one.text, ",".join(refs_to_texts([ref.location for ref in one.blobs], index)))
        for one in rows
    ]
    return PageText(
        content=rows_to_bytes(rows, entries, packs, has_outline=has_outline),
        outline=outline_to_bytes(rows, []) if has_outline else None,
        uses=pack_uses([ref.location for row in rows for ref in row.blobs], rows),
    )


def acknowledge(log: UploadCache, *blobs: BlobLocation, set_name: str = "nightly") -> int:
    number = log.number_pack()
    log.acknowledge(number, bytes([number]) * 32, 5000, set_name, blobs)
    return number


def commit(run: int, sequence: int, *packs: int, new: int = 0, ends: bool = True) -> Commit:
    return Commit(
        run=run,
        set_name="nightly",
        sequence=sequence,
        sha256="ab" * 32,
        is_finished=ends,
        new_packs=packs[len(packs) - new :],
        live_packs=frozenset(packs),
    )


def test_blob_is_known_when_its_pack_is_acknowledged(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        number = log.number_pack()
        assert log.find("aa" * 32) is None
        log.acknowledge(number, b"\1" * 32, 5000, "nightly", [place(number)])
        assert log.find("aa" * 32) == place(number)
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert log.find("aa" * 32) == place(number)


def test_only_its_user_can_read_it(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "state" / "log", BINDING):
        modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()}
    assert modes == {0}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_another_repositorys_log_is_put_aside(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        acknowledge(log, place(1))
    with open_upload_cache(tmp_path / "log", "another") as log:
        assert log.find("aa" * 32) is None
        assert len(log.warnings) == 1


def test_a_pack_number_is_never_used_twice(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        numbers = [acknowledge(log) for _ in range(3)]
        log.forget_packs(numbers)
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        later = acknowledge(log)
        assert later > max(numbers)
        log.forget_everything(None)
        assert acknowledge(log) > later


def test_everything_is_forgotten_once_for_one_reason(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        head = CachedHead(sequence=3, sha256="ab" * 32)
        acknowledge(log)
        log.forget_everything(head, "the store has another head")
        assert (list(log.packs()), log.history.head()) == ([], head)
        pack = acknowledge(log)
        log.forget_everything(head, "the store has another head")
        assert log.pack(pack) is not None, "sent since: a run that was cut off resumes"
        log.forget_everything(head, "and now a third one")
        assert log.pack(pack) is None
        pack = acknowledge(log)
        log.record_commit(commit(log.runs.begin("nightly", 1), 4, pack, new=1))
        log.forget_everything(log.history.head(), "and now a third one")
        assert log.pack(pack) is None, "a commit ends it"


def test_forgotten_pack_removes_its_blobs(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        first = acknowledge(log)
        second = acknowledge(log, place(first, "aa"), place(first, "bb", following=first + 1))
        third = acknowledge(log, place(third_of(second), "cc"))
        log.forget_packs([second])
        assert log.find("aa" * 32) is not None
        assert log.find("bb" * 32) is None
        assert log.find("cc" * 32) == place(third, "cc")


def third_of(second: int) -> int:
    return second + 1


def test_finished_run_keeps_pages_of_latest_snapshots(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        old, kept = acknowledge(log, place(1, "aa")), acknowledge(log, place(2, "bb"))
        other = acknowledge(log, place(3, "cc"), set_name="hourly")
        first = log.runs.begin("nightly", 1)
        log.record_commit(commit(first, 1, old, kept, new=2))
        second = log.runs.begin("nightly", 2)
        log.record_commit(commit(second, 2, kept))
        assert log.find("aa" * 32) is None
        assert log.find("bb" * 32) is not None
        # A run must not prune the unfinished work of another set.
        assert log.find("cc" * 32) is not None
        assert {pack.number for pack in log.packs()} == {kept, other}


def test_an_interim_commit_prunes_nothing(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        old = acknowledge(log, place(1, "aa"))
        log.record_commit(commit(log.runs.begin("nightly", 1), 1, old, new=1))
        new = acknowledge(log, place(2, "bb"))
        log.record_commit(commit(log.runs.begin("nightly", 2), 2, new, new=1, ends=False))
        assert log.find("aa" * 32) is not None


@pytest.mark.parametrize(
    "vectors", [[(1, 2), (3, -4)], [(2**64 - 1, 2), (3, -(2**70))], [(7,)]], ids=str
)
def test_outline_round_trips_for_any_numbers(vectors: list[tuple[int, ...]]) -> None:
    rows = [row(f"s/{number}", place(9)) for number in range(len(vectors))]
    for each, vector in zip(rows, vectors, strict=True):
        each.vector = vector
    data = outline_to_bytes(rows, {9})
    assert data is not None
    outline = outline_from_bytes(data, "ab" * 32)
    assert (outline.vectors, outline.leaf, outline.packs) == (vectors, "ab" * 32, frozenset([9]))
    assert outline.paths == [each.path for each in rows]
    assert outline.marks == [each.content_mark() for each in rows]


@pytest.mark.parametrize("vector", [None, (1, 2, 3)])
def test_incomparable_page_has_no_outline(vector: tuple[int, ...] | None) -> None:
    rows = [row("s/a"), row("s/b")]
    rows[1].vector = vector
    assert outline_to_bytes(rows, []) is None


@pytest.mark.parametrize("has_outline", [False, True])
def test_unfinished_rows_precede_those_of_finished_run(tmp_path: Path, has_outline: bool) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        pack = acknowledge(log)
        done = log.runs.begin("nightly", 100)
        rows = [row("s"), row("s/a", place(pack)), row("s/b")]
        log.runs.store_page(done, 0, page(rows, has_outline=has_outline), "10" * 32)
        log.runs.store_page(done, 1, page([row("s-t")]), "11" * 32)
        log.record_commit(commit(done, 1, pack, new=1))
        broken = log.runs.begin("nightly", 200)
        log.runs.store_page(broken, 1, page([row("s/b"), row("s/c")]), "12" * 32)
        now = log.runs.begin("nightly", 300)
        seen = [(r.path, started) for r, started in log.runs.previous_rows("nightly", now)]
        assert seen == [(b"s", 100), (b"s/a", 100), (b"s/b", 200), (b"s/c", 200), (b"s-t", 100)]
        assert list(log.runs.previous_rows("hourly", now)) == []
        (again,) = [r for r, _ in log.runs.previous_rows("nightly", now) if r.path == b"s/a"]
        assert (again.blobs, again.vector) == ([place(pack)], (1, 2))


def test_an_intention_survives_until_it_is_settled(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        pack = acknowledge(log)
        intended = commit(log.runs.begin("nightly", 1), 1, pack, new=1)
        log.history.record_intention(intended)
        assert log.history.head() is None
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert log.history.pending_commit() == intended
        log.record_commit(intended)
        head = log.history.head()
        assert head is not None
        assert (head.sequence, head.sha256) == (1, "ab" * 32)
        assert log.history.pending_commit() is None
        known = log.pack(pack)
        assert known is not None
        assert (known.sequence, known.ordinal) == (1, 0)


def test_unwritable_cache_says_what_to_do(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        with closing(sqlite3.connect(tmp_path / "log", isolation_level=None)) as other:
            log._connection.execute("PRAGMA busy_timeout=1")
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(NotWritable, match=r"locked"):
                acknowledge(log)
        assert acknowledge(log)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritable), open_upload_cache(tmp_path / "file" / "log", BINDING):
        pass


def _rot_the_second_half(log: Path) -> None:
    with closing(sqlite3.connect(log)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = log.read_bytes()
    half = len(content) // 8192 * 4096
    log.write_bytes(content[:half] + b"\xa5" * (len(content) - half))


def _change(statement: str) -> Callable[[Path], None]:
    def change(log: Path) -> None:
        with closing(sqlite3.connect(log)) as database, database:
            assert database.execute(statement).rowcount

    return change


@pytest.mark.parametrize(
    "damage",
    [
        _rot_the_second_half,
        _change("UPDATE kept SET content = x'a5a5a5a5'"),
        _change("UPDATE outline SET content = x'a5a5a5a5'"),
        _change("UPDATE kept SET uses = CAST(x'ffa5' AS TEXT)"),
    ],
    ids=["half", "page", "outline", "text"],
)
def test_damage_within_the_cache_stops_no_backup(
    site: Site, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1500):
        (source / f"aat-{number:04}").write_text(f"who called as number {number}, and why\n")
    site.back_up(source)
    damage(site.send_log)
    (source / "new").write_text("the second backup")
    result = site.back_up(source)
    assert result.complete
    assert any("damaged. It was set aside" in warning for warning in result.warnings)
    assert site.send_log.with_name("send.log.put-aside").exists()
    assert site.restore(result.point, tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
    again = site.back_up(source)
    assert (again.warnings, again.files_unchanged, again.has_foreign_point) == ((), 1501, False)


def test_inaccessible_cache_is_not_damaged(tmp_path: Path) -> None:
    """Otherwise a run as another user would cause a new upload of everything."""
    (tmp_path / "log").mkdir()
    with (
        pytest.raises(NotWritable),
        open_upload_cache(tmp_path / "log", BINDING),
    ):
        pass
    assert (tmp_path / "log").is_dir()
    assert not (tmp_path / "log.put-aside").exists()


def test_cache_unreadable_from_disk_is_set_aside(tmp_path: Path) -> None:
    """Without a new cache, a bad disk sector would stop every backup."""
    (tmp_path / "log").symlink_to("/proc/self/mem")  # a file whose beginning cannot be read
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert log.warnings == [
            "upload cache: the file is damaged. It was set aside, and everything is sent again."
        ]
        acknowledge(log)
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert len(list(log.packs())) == 1
    assert (tmp_path / "log.put-aside").is_symlink()


def test_full_disk_does_not_repeat_all_uploads(tmp_path: Path) -> None:
    """On a full disk SQLite reports an I/O error when it opens the file."""
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        pack = acknowledge(log)
    with (
        file_size_limit(8192),
        pytest.raises(NotWritable, match="has space"),
        open_upload_cache(tmp_path / "log", BINDING),
    ):
        pass
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert log.warnings == []
        assert log.pack(pack) is not None


@pytest.mark.parametrize("size_bytes", [8192, 40_000])
def test_uncreatable_cache_is_not_damaged(tmp_path: Path, size_bytes: int) -> None:
    with (
        file_size_limit(size_bytes),
        pytest.raises(sqlite3.Error),
        open_upload_cache(tmp_path / "log", BINDING),
    ):
        pass
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert log.warnings == []
    assert not (tmp_path / "log.put-aside").exists()


def test_other_error_sets_no_cache_aside(tmp_path: Path) -> None:
    with pytest.raises(NotWritable), open_upload_cache(tmp_path / "log", BINDING):
        raise NotWritable("the disk is full") from sqlite3.OperationalError("disk is full")
    assert not (tmp_path / "log.put-aside").exists()


def test_recalled_pack_is_unused_but_counted(tmp_path: Path) -> None:
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        old = acknowledge(log, place(1, "aa"), place(1, "bb"))
        log.forget_packs([old], can_recall=True)
        new = acknowledge(log, place(2, "aa"))
        assert log.recall_packs([old])
        assert log.find("aa" * 32) == place(new, "aa")
        assert log.find("bb" * 32) is None
        for number in range(8):  # this causes a merge with the existing entries
            acknowledge(log, place(3 + number, f"{number:02}"))
        assert log.find("aa" * 32) == place(new, "aa")
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        row = log.pack(old)
        assert row is not None
        assert row.blob_count == 2
        assert log.find("aa" * 32) == place(new, "aa")


MANY = 10_000  # blobs of a pack; a merge of eight packs exceeds the cache of SQLite


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_kill_during_merge_costs_only_its_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    packs = [
        [
            BlobLocation(pack, n, 10, 0, 9, hashlib.sha256(b"%d %d" % (pack, n)).hexdigest(), -1)
            for n in range(MANY)
        ]
        for pack in range(1, 9)
    ]
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        for blobs in packs[:7]:
            acknowledge(log, *blobs)
    died_at = max(1, int(share * 8 * MANY))
    if (child := os.fork()) == 0:
        looked, add = 0, blob_index.add

        def add_and_die(
            database: sqlite3.Connection,
            locations: Iterable[BlobLocation],
            is_known: Callable[[int], bool],
            was_known: Callable[[int], bool] | None = None,
        ) -> None:
            def is_known_or_die(pack: int) -> bool:
                nonlocal looked
                looked += 1
                if looked == died_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return is_known(pack)

            add(database, locations, is_known_or_die, was_known)

        monkeypatch.setattr(blob_index, "add", add_and_die)
        try:
            with open_upload_cache(tmp_path / "log", BINDING) as log:
                acknowledge(log, *packs[7])
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with open_upload_cache(tmp_path / "log", BINDING) as log:
        assert log.warnings == []
        assert [row.number for row in log.packs()] == list(range(1, 8))
        for blobs in packs[:7]:
            assert [log.find(blob.id) for blob in blobs[::100]] == blobs[::100]
        assert not any(log.find(blob.id) for blob in packs[7][::100])
        acknowledge(log, *packs[7])
        for blobs in packs:
            assert [log.find(blob.id) for blob in blobs[::100]] == blobs[::100]
