"""Retention: expired points, removed packs, and restores of the rest."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from backup.errors import NotFound, RetentionStopped
from backup.format.keep_record import PackId
from backup.format.object_names import KEEPS, pack_name, snapshot_name, snapshot_prefix
from backup.format.record_link import Link
from backup.format.snapshot import indexes_to_bitmap, snapshot_from_bytes, snapshot_to_bytes
from backup.retention.rules import RetentionRules
from backup.stores import ObjectLock, Retention
from tests.backup.keep_site import (
    WEEKS,
    KeptSite,
    expired_and_marked,
    kept_site,
    vault_of,
)
from tests.backup.site import WRITER, Died
from tests.backup.trees import noise


def test_packs_are_removed_a_week_after_expiry(
    kept: KeptSite,
) -> None:
    before = kept.packs()
    expired_and_marked(kept)
    assert kept.packs() == before, "marking removes nothing"
    kept.check()

    kept.days(6)
    assert kept.keep().removed == ()
    kept.days(1.1)
    result = kept.keep()
    assert result.removed == result.dropped != ()
    gone = {one.pack for one in result.removed}
    assert kept.packs() == before - gone
    assert kept.keeps().dropped == gone
    assert sorted(vault_of(kept).removals) == sorted(pack_name(*pack) for pack in gone)
    assert result.freed_bytes == sum(one.size_bytes for one in result.removed) > 40_000
    kept.check()
    with pytest.raises(NotFound):
        kept.vault.get(vault_of(kept).removals[0])


def test_run_without_changes_writes_no_record(kept: KeptSite) -> None:
    expired_and_marked(kept)
    names = vault_of(kept).names(KEEPS)
    result = kept.keep()
    assert (result.records, result.expired, result.marked, result.removed) == ((), (), (), ())
    assert vault_of(kept).names(KEEPS) == names
    kept.check()


@pytest.mark.long
def test_two_years_of_backups_follow_the_rules(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    kept.rules = RetentionRules(monthly=timedelta(days=400))
    for week in range(52):
        kept.next_backup(days=14)
        if week % 4 == 3:
            kept.keep(max_percent=30)
    kept.check()
    left = [point.time for point in kept.site.repository().points()]
    age = [(kept.clock() - time).days for time in left]
    assert all(a - b in (14, 15) for a, b in pairwise(age) if a < 366)
    assert max(age) <= 400 + 60
    assert len({(time.year, time.month) for time, a in zip(left, age, strict=True) if a > 372}) == (
        sum(a > 372 for a in age)
    ), "beyond a year one of each month"
    stored = sum(stat.size_bytes for stat in kept.vault.list("w/"))
    assert len(kept.keeps().dropped) > 20
    assert stored < 52 * 60_000


def commit_using(kept: KeptSite, sequence: int) -> set[PackId]:
    """Commit as a writer that saw no keep record.

    The snapshot names the newest tree and the packs of an old point. The tree needs none of these
    packs, which no keeper can know.
    """
    newest = max(int(name[-10:]) for name in vault_of(kept).names(snapshot_prefix(WRITER)))
    data = kept.vault.get(snapshot_name(WRITER, newest))
    snapshot, sealed = snapshot_from_bytes(data, "the newest")
    old, _ = snapshot_from_bytes(kept.vault.get(snapshot_name(WRITER, sequence)), "the old one")
    late = replace(
        snapshot,
        sequence=newest + 1,
        previous=Link(number=newest, sha256=hashlib.sha256(data).hexdigest()),
        keep_record=None,
        time=kept.clock(),
        packs=(),
        uses={
            **snapshot.uses,
            newest: indexes_to_bitmap(set(range(len(snapshot.packs)))),
            sequence: indexes_to_bitmap(set(range(len(old.packs)))),
        },
    )
    signed = snapshot_to_bytes(late, sealed, kept.site.host.signing_key)
    kept.vault.put(snapshot_name(WRITER, newest + 1), signed)
    kept.trees[f"{WRITER}/{newest + 1:010d}"] = kept.trees[f"{WRITER}/{newest:010d}"]
    return {(WRITER, sha256) for sha256, _ in old.packs}


def test_snapshot_using_a_marked_pack_unmarks_it(
    kept: KeptSite,
) -> None:
    expired_and_marked(kept)
    marked = set(kept.keeps().marked)
    used = commit_using(kept, 3)
    assert used < marked
    kept.days(8)
    result = kept.keep()
    assert set(result.unmarked) == used
    assert {one.pack for one in result.removed} == marked - used
    assert used <= kept.packs()
    assert not used & kept.keeps().marked.keys()
    kept.check()


def test_needed_pack_is_unmarked_without_other_changes(
    kept: KeptSite,
) -> None:
    """A marked pack is uploaded again by its writer, run after run."""
    expired_and_marked(kept)
    used = commit_using(kept, 3)
    result = kept.keep()
    assert set(result.unmarked) == used
    assert len(result.records) == 1
    assert not used & kept.keeps().marked.keys()
    kept.check()


def test_snapshot_arriving_during_the_decision_counts(
    kept: KeptSite,
) -> None:
    expired_and_marked(kept)
    kept.next_backup(days=8)  # so that the next run has a first record to put
    vault = vault_of(kept)
    put, used = vault.put, set[PackId]()

    def late(name: str, data: bytes | bytearray | memoryview) -> None:
        put(name, data)
        if name.startswith(KEEPS) and not used:
            used.update(commit_using(kept, 3))

    vault.put = late
    result = kept.keep()
    assert len(result.expired) == 1
    assert used
    assert used <= kept.packs()
    assert result.removed
    kept.check()


def test_freed_pack_that_becomes_needed_stays(kept: KeptSite) -> None:
    expired_and_marked(kept)
    kept.days(8)
    vault = vault_of(kept)
    remove = vault.remove

    def dies(name: str) -> None:
        raise Died

    vault.remove = dies
    with pytest.raises(Died):
        kept.keep()
    vault.remove = remove
    assert kept.keeps().dropped
    used = commit_using(kept, 3)
    result = kept.keep()
    assert used <= kept.packs()
    assert {one.pack for one in result.removed} == kept.keeps().dropped - used
    assert any("dropped packs are needed again" in one for one in result.problems)
    for name in kept.points():
        assert kept.site.restore(name, kept.site.folder / name).problems == ()


def test_no_rule_expires_points_within_the_minimum(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    day = timedelta(days=1)
    kept.rules = RetentionRules(everything=day, daily=day, weekly=day, monthly=day)
    for _ in range(8):
        kept.next_backup(days=3)
    assert kept.keep(max_percent=100).expired == ()
    kept.days(12)
    result = kept.keep(max_percent=100)
    assert [sequence for _, sequence in result.expired] == [1, 2]
    kept.check()


def test_backdated_point_stays_for_the_minimum(tmp_path: Path) -> None:
    """A compromised host could otherwise make its points expire at once."""
    kept = kept_site(tmp_path)
    kept.rules = WEEKS
    kept.next_backup(now=lambda: kept.clock() - timedelta(days=400))
    kept.next_backup()
    assert kept.keep(max_percent=100).expired == ()
    kept.days(27)
    assert kept.keep(max_percent=100).expired == ()
    kept.days(4)
    assert kept.keep(max_percent=100).expired == ((WRITER, 1),)
    kept.check()


def test_newest_point_and_newest_complete_point_stay(
    tmp_path: Path,
) -> None:
    kept = kept_site(tmp_path)
    kept.next_backup()
    complete = kept.next_backup().point
    missing = kept.site.folder / "missing"
    kept.days(1)
    partial = kept.site.back_up(kept.source, missing).point
    kept.trees[partial] = kept.trees[complete]
    kept.days(4000)
    kept.keep(is_clock_right=True, max_percent=100)
    assert kept.points() == [complete, partial]
    kept.days(8)
    kept.keep()
    kept.check()


def test_expiry_of_more_than_a_fifth_stops(kept: KeptSite) -> None:
    names = vault_of(kept).names()
    with pytest.raises(RetentionStopped, match="4 of 10"):
        kept.keep()
    assert vault_of(kept).names() == names
    with pytest.raises(RetentionStopped):
        kept.keep(max_percent=39)
    kept.check()
    assert len(kept.keep(max_percent=40).expired) == 4
    kept.check()


def test_named_share_is_sufficient_when_fractional(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    kept.rules = WEEKS
    for _ in range(3):
        kept.next_backup(days=21)
    with pytest.raises(RetentionStopped, match=r"1 of 3 .* --most 34"):
        kept.keep(max_percent=33)
    assert len(kept.keep(max_percent=34).expired) == 1
    kept.check()


def test_expiry_of_exactly_a_fifth_is_allowed(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    kept.rules = WEEKS
    for _ in range(5):
        kept.next_backup(days=11)
    assert len(kept.keep().expired) == 1
    kept.check()


def test_interim_points_expire_outside_of_the_fifth(
    tmp_path: Path,
) -> None:
    kept = kept_site(tmp_path)
    kept.source.mkdir()
    for number in range(28):  # more packs than can be in progress at once
        (kept.source / f"{number:02}.wav").write_bytes(noise(4_000_000, number))
    result = kept.next_backup(interim_packs=1)
    points = kept.site.repository().points()
    interim = [point for point in points if point.is_interim]
    assert interim
    kept.days(29)
    assert kept.keep().expired == ()
    kept.days(2)
    assert len(kept.keep().expired) == len(interim)
    kept.days(8)
    assert kept.keep().removed, "the pages of what was half done"
    assert kept.points() == [result.point]
    kept.check()


def test_plan_changes_nothing_and_predicts_the_run(kept: KeptSite) -> None:
    names = vault_of(kept).names()
    plan, stock = kept.plan()
    assert vault_of(kept).names() == names
    assert plan.is_plan
    assert plan.refusal is not None
    assert "4 of 10" in plan.refusal
    assert stock.points == 10
    result = kept.keep(max_percent=50)
    assert (plan.expired, plan.marked) == (result.expired, result.marked)
    kept.days(8)
    plan, stock = kept.plan()
    total = sum(stat.size_bytes for stat in kept.vault.list(f"w/{WRITER}/p/"))
    shares = (stock.live, stock.expired, stock.unnamed, stock.marked, stock.dropped)
    assert sum(share.size_bytes for share in shares) == total
    assert stock.marked.size_bytes == sum(one.size_bytes for one in plan.removed) > 0
    assert sum(size for _, size in stock.free_by) < total, "the newest point stays"
    result = kept.keep()
    assert plan.removed == result.removed
    kept.check()
    _, stock = kept.plan()
    assert stock.marked.packs == len(result.marked)


def test_freed_bytes_are_reported_by_month(tmp_path: Path) -> None:
    """The latest of three times frees a pack: expiry, marking, end of lock."""
    kept = kept_site(tmp_path, lock=ObjectLock(mode="COMPLIANCE", days=70))
    kept.rules = WEEKS
    day = timedelta(days=1)
    kept.next_backup()
    first, old = kept.clock(), kept.packs()
    kept.next_backup()
    _, stock = kept.plan()
    ((month, freed),) = stock.free_by
    assert month in {f"{first + more * day:%Y-%m}" for more in (40 + 70, 40 + 70 + 1)}
    assert (stock.locked_until, stock.locked.packs) == (None, 0)

    kept.days(45)
    result = kept.keep(max_percent=50)
    assert len(result.expired) == 1
    assert result.marked
    marked = {pack_name(*pack) for pack in kept.keeps().marked}
    assert marked < {pack_name(*pack) for pack in old}
    # Two packs of interrupted runs: the lock of one has ended, the other has the longest lock.
    loose, fast = (pack_name(WRITER, 64 * digit) for digit in "ab")
    for name, more in ((loose, -1), (fast, 100)):
        kept.vault.put(name, noise(1000))
        until = kept.clock() + more * day
        vault_of(kept)._locks[name] = Retention(mode="COMPLIANCE", until=until)
    _, stock = kept.plan()
    sizes = {stat.name: stat.size_bytes for stat in kept.vault.list("w/")}
    ends = {name: kept.vault.lock_until(name) for name in (*marked, fast)}
    assert stock.locked_until == ends[fast]
    assert stock.locked.packs == len(marked) + 1
    assert (stock.marked.packs, stock.unnamed.packs) == (len(marked), 2)
    free: dict[str, int] = {}
    for name in (*marked, fast):
        free[f"{ends[name]:%Y-%m}"] = free.get(f"{ends[name]:%Y-%m}", 0) + sizes[name]
    month = f"{kept.clock() + (30 + 7) * day:%Y-%m}"
    free[month] = free.get(month, 0) + sizes[loose]
    assert stock.free_by == tuple(sorted(free.items()))
    assert freed == sum(sizes[name] for name in marked)


def test_without_locks_expired_packs_go_after_a_week(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    kept.rules = WEEKS
    # So that the week ends in the next month.
    while (kept.clock() + timedelta(days=1 + 40)).day != 27:
        kept.days(1)
    kept.next_backup()
    first, old = kept.clock(), kept.packs()
    kept.next_backup()
    _, stock = kept.plan()
    ((month, freed),) = stock.free_by
    assert f"{first + timedelta(days=40):%Y-%m}" < month
    assert month == f"{first + timedelta(days=40 + 7):%Y-%m}"
    assert 0 < freed < sum(kept.vault.stat(pack_name(*pack)).size_bytes for pack in old)
