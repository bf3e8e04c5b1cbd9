"""Keeping: what expires, what goes and when, and that all else restores as it was."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from backup.errors import AlreadyThere, KeepingStopped, NotFound, UsageError
from backup.format.keep import PackId
from backup.format.layout import KEEPS, keep_name, pack_in, pack_name, snapshot_name, snapshots_of
from backup.format.link import Link
from backup.format.root import KeeperGrant
from backup.format.snapshot import bitmap_of, snapshot_from_bytes, snapshot_to_bytes
from backup.keeping.key import Keeper
from backup.keeping.retention import Rules
from backup.stores import ObjectLock
from backup.trust import load_trust
from backup.verify import verify
from tests.backup.keep_site import KeptSite, KeptVault, kept_site, new_keeper, sign_root
from tests.backup.site import WRITER, Died
from tests.backup.trees import noise

WEEKS = Rules(
    everything=timedelta(days=40),
    daily=timedelta(days=40),
    weekly=timedelta(days=40),
    monthly=timedelta(days=40),
)


@pytest.fixture
def kept(tmp_path: Path) -> KeptSite:
    """Ten weekly points of which the oldest four are over 40 days old."""
    kept = kept_site(tmp_path)
    kept.rules = WEEKS
    for _ in range(10):
        kept.night(days=7)
    return kept


def vault_of(kept: KeptSite) -> KeptVault:
    assert isinstance(kept.vault, KeptVault)
    return kept.vault


def expired_and_marked(kept: KeptSite) -> None:
    """The first of the two phases: four points expire, and what only they needed is marked."""
    result = kept.keep(most_percent=50)
    assert result.expired == tuple((WRITER, sequence) for sequence in (1, 2, 3, 4))
    assert result.marked
    assert result.removed == ()


def test_a_point_expires_then_its_packs_are_marked_and_a_week_later_they_are_gone(
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


def test_a_run_that_has_nothing_to_do_puts_no_record(kept: KeptSite) -> None:
    expired_and_marked(kept)
    names = vault_of(kept).names(KEEPS)
    result = kept.keep()
    assert (result.records, result.expired, result.marked, result.removed) == ((), (), (), ())
    assert vault_of(kept).names(KEEPS) == names
    kept.check()


def test_two_years_of_nights_leave_what_the_rules_say(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    kept.rules = Rules(monthly=timedelta(days=400))
    for week in range(52):
        kept.night(days=14)
        if week % 4 == 3:
            kept.keep(most_percent=30)
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
    """Commit as a writer that saw no keep record: the newest tree, and an old point's packs in use.

    The tree needs none of them, which no keeper can tell.
    """
    newest = max(int(name[-10:]) for name in vault_of(kept).names(snapshots_of(WRITER)))
    data = kept.vault.get(snapshot_name(WRITER, newest))
    snapshot, sealed = snapshot_from_bytes(data, "the newest")
    old, _ = snapshot_from_bytes(kept.vault.get(snapshot_name(WRITER, sequence)), "the old one")
    late = replace(
        snapshot,
        sequence=newest + 1,
        previous=Link(number=newest, sha256=hashlib.sha256(data).hexdigest()),
        keep=None,
        time=kept.clock(),
        packs=(),
        uses={
            **snapshot.uses,
            newest: bitmap_of(set(range(len(snapshot.packs)))),
            sequence: bitmap_of(set(range(len(old.packs)))),
        },
    )
    signed = snapshot_to_bytes(late, sealed, kept.site.host.signing_key)
    kept.vault.put(snapshot_name(WRITER, newest + 1), signed)
    kept.trees[f"{WRITER}/{newest + 1:010d}"] = kept.trees[f"{WRITER}/{newest:010d}"]
    return {(WRITER, sha256) for sha256, _ in old.packs}


def test_a_snapshot_between_mark_and_drop_that_uses_a_marked_pack_unmarks_it(
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


def test_a_snapshot_that_comes_while_the_keeper_decides_is_seen_before_anything_goes(
    kept: KeptSite,
) -> None:
    expired_and_marked(kept)
    kept.night(days=8)  # so that the next run has a first record to put
    vault = vault_of(kept)
    put, used = vault._put, set[PackId]()

    def late(name: str, data: bytes | bytearray | memoryview) -> None:
        put(name, data)
        if name.startswith(KEEPS) and not used:
            used.update(commit_using(kept, 3))

    vault._put = late  # type: ignore[method-assign]
    result = kept.keep()
    assert len(result.expired) == 1
    assert used
    assert used <= kept.packs()
    assert result.removed
    kept.check()


def test_a_dropped_pack_that_a_point_needs_after_all_stays(kept: KeptSite) -> None:
    expired_and_marked(kept)
    kept.days(8)
    vault = vault_of(kept)
    remove = vault._remove

    def dies(name: str) -> None:
        raise Died

    vault._remove = dies  # type: ignore[method-assign]
    with pytest.raises(Died):
        kept.keep()
    vault._remove = remove  # type: ignore[method-assign]
    assert kept.keeps().dropped
    used = commit_using(kept, 3)
    result = kept.keep()
    assert used <= kept.packs()
    assert {one.pack for one in result.removed} == kept.keeps().dropped - used
    assert any("needed again although they were dropped" in one for one in result.problems)
    for name in kept.points():
        assert kept.site.restore(name, kept.site.folder / name).problems == ()


def test_nothing_below_the_floor_expires_whatever_the_rules_say(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    day = timedelta(days=1)
    kept.rules = Rules(everything=day, daily=day, weekly=day, monthly=day)
    for _ in range(8):
        kept.night(days=3)
    assert kept.keep(most_percent=100).expired == ()
    kept.days(12)
    result = kept.keep(most_percent=100)
    assert [sequence for _, sequence in result.expired] == [1, 2]
    kept.check()


def test_the_newest_complete_point_stays_for_ever_and_so_does_the_newest_of_all(
    tmp_path: Path,
) -> None:
    kept = kept_site(tmp_path)
    kept.night()
    complete = kept.night().point
    missing = kept.site.folder / "missing"
    kept.days(1)
    partial = kept.site.back_up(kept.source, missing).point
    kept.trees[partial] = kept.trees[complete]
    kept.days(4000)
    kept.keep(is_clock_right=True, most_percent=100)
    assert kept.points() == [complete, partial]
    kept.days(8)
    kept.keep()
    kept.check()


def test_more_than_a_fifth_stops_and_nothing_is_written(kept: KeptSite) -> None:
    names = vault_of(kept).names()
    with pytest.raises(KeepingStopped, match="4 of 10 recovery points would expire in one run"):
        kept.keep()
    assert vault_of(kept).names() == names
    with pytest.raises(KeepingStopped):
        kept.keep(most_percent=39)
    kept.check()
    assert len(kept.keep(most_percent=40).expired) == 4
    kept.check()


def test_a_fifth_itself_goes(tmp_path: Path) -> None:
    kept = kept_site(tmp_path)
    kept.rules = WEEKS
    for _ in range(5):
        kept.night(days=11)
    assert len(kept.keep().expired) == 1
    kept.check()


def test_interim_points_go_once_a_later_run_has_ended_and_count_in_no_fifth(
    tmp_path: Path,
) -> None:
    kept = kept_site(tmp_path)
    kept.source.mkdir()
    for number in range(28):  # more than fill the packs that are under way at once
        (kept.source / f"{number:02}.wav").write_bytes(noise(4_000_000, number))
    result = kept.night(interim_packs=1)
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


class TestClocks:
    def test_a_clock_that_differs_from_ours_stops_everything(self, kept: KeptSite) -> None:
        names = vault_of(kept).names()
        for off in (timedelta(minutes=61), -timedelta(minutes=61)):
            with pytest.raises(KeepingStopped, match="this machine's"):
                kept.keep(now=lambda off=off: kept.clock() + off, most_percent=50)
        assert vault_of(kept).names() == names
        now = kept.clock() + timedelta(minutes=59)
        assert kept.keep(now=lambda: now, most_percent=50).expired
        kept.check()

    def test_a_clock_that_went_back_stops_everything(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        names = vault_of(kept).names()
        kept.clock.forward(hours=-1)
        with pytest.raises(KeepingStopped, match="it went back"):
            kept.keep()
        assert vault_of(kept).names() == names
        kept.clock.forward(hours=1)
        kept.keep()
        kept.check()

    def test_a_clock_that_jumped_ahead_stops_everything(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        names = vault_of(kept).names()
        kept.days(61)
        with pytest.raises(KeepingStopped, match="over 60 days ago"):
            kept.keep(most_percent=100)
        assert vault_of(kept).names() == names
        kept.check()
        result = kept.keep(is_clock_right=True, most_percent=100)
        assert result.removed
        kept.check()


class TestTwoKeepers:
    def test_the_put_of_the_record_decides_and_the_loser_reads_again(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault = vault_of(kept)
        put = vault._put
        rivals: list[int] = []

        def overtaken(name: str, data: bytes | bytearray | memoryview) -> None:
            if name.startswith(KEEPS) and not rivals:
                rivals.append(1)
                kept.keep()
            put(name, data)

        vault._put = overtaken  # type: ignore[method-assign]
        result = kept.keep()
        assert rivals
        assert (result.records, result.dropped) == ((), ()), "the other one did it all"
        assert kept.keeps().problems == ()
        assert vault.names(KEEPS) == [keep_name(0), keep_name(1), keep_name(2)]
        kept.check()

    def test_a_keeper_that_is_always_overtaken_gives_up_plainly(self, kept: KeptSite) -> None:
        vault = vault_of(kept)
        put = vault._put

        def overtaken(name: str, data: bytes | bytearray | memoryview) -> None:
            if name.startswith(KEEPS):
                put(name, b"somebody else's")
            put(name, data)

        vault._put = overtaken  # type: ignore[method-assign]
        with pytest.raises(AlreadyThere, match="let one run at a time"):
            kept.keep(most_percent=50)


def test_junk_in_the_keep_chain_is_passed_over(kept: KeptSite) -> None:
    kept.vault.put(keep_name(0), b"junk")
    expired_and_marked(kept)
    kept.vault.put(keep_name(2), b"more junk\n" * 20)
    kept.days(8)
    result = kept.keep()
    assert result.records == (keep_name(3), keep_name(4))
    assert result.removed
    assert len(result.problems) == 2
    for name in kept.points():
        assert kept.site.restore(name, kept.site.folder / name).problems == ()


class TestAWriterWhoseHistoryIsNotWhole:
    def test_a_missing_snapshot_keeps_everything_of_that_writer(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault = vault_of(kept)
        name = f"w/{WRITER}/s/0000000007"
        data = kept.vault.get(name)
        vault.lose(name)
        before = kept.packs()
        result = kept.keep(most_percent=100)
        assert (result.expired, result.marked, result.dropped) == ((), (), ())
        assert any(f"nothing of writer {WRITER} expires" in one for one in result.problems)
        assert kept.packs() == before
        vault._objects[name] = (data, kept.clock())
        assert kept.keep().removed
        kept.check()

    def test_a_damaged_snapshot_that_has_expired_holds_nothing_up(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault_of(kept).replace(f"w/{WRITER}/s/0000000002", b"rot")
        result = kept.keep()
        assert result.removed
        assert result.problems == ()
        for name in kept.points():
            assert kept.site.restore(name, kept.site.folder / name).problems == ()

    def test_a_damaged_one_whose_packs_later_points_use_holds_everything_up(
        self, kept: KeptSite
    ) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault_of(kept).replace(f"w/{WRITER}/s/0000000001", b"rot")
        result = kept.keep()
        assert result.removed == ()
        assert "needs packs of snapshot 1" in result.problems[0]

    def test_a_damaged_one_expires_itself_once_it_is_older_than_every_rule(
        self, kept: KeptSite
    ) -> None:
        kept.keep(most_percent=50)
        vault_of(kept).replace(f"w/{WRITER}/s/0000000006", b"rot")
        kept.days(8)
        assert kept.keep(most_percent=100).expired == ()
        for _ in range(4):
            kept.night(days=7)
        assert kept.keep(most_percent=100).expired == ((WRITER, 6),), "it is 56 days old"
        result = kept.keep(most_percent=100)
        assert len(result.expired) > 1, "and holds nothing up any more"
        for name in kept.points():
            assert kept.site.restore(name, kept.site.folder / name).problems == ()


def test_what_is_lost_is_distrusted_by_a_verification_and_sent_again(kept: KeptSite) -> None:
    vault = vault_of(kept)
    newest = kept.night()
    live = sorted(kept.packs())
    vault.replace(pack_name(*live[0]), b"rot")
    vault.lose(pack_name(*live[1]))
    errors = (one for one in verify(kept.vault, read=True).findings if one.severity == "error")
    lost = tuple(sorted({pack for one in errors if (pack := pack_in(one.object)) is not None}))
    assert lost == tuple(live[:2])
    result = kept.keep(distrust=lost, most_percent=50)
    assert result.distrusted == lost
    assert kept.keeps().distrusted == set(lost)
    assert kept.keep(distrust=lost).distrusted == (), "once is enough"
    assert newest.point in kept.points()
    after = kept.night()
    out = kept.site.folder / "again"
    assert kept.site.restore(after.point, out).problems == ()


def test_a_pack_of_nobody_is_never_touched(kept: KeptSite) -> None:
    stranger = f"w/stranger/p/ab/{'ab' * 32}"
    odd = f"w/{WRITER}/p/ab/notes"
    for name in (stranger, odd):
        kept.vault.put(name, b"x")
    kept.days(40)
    kept.keep(most_percent=100)
    kept.days(8)
    kept.keep(most_percent=100)
    for name in (stranger, odd):
        assert kept.vault.get(name) == b"x"


def test_packs_of_a_run_that_broke_off_go_after_a_month_and_a_week(kept: KeptSite) -> None:
    left = (WRITER, "ab" * 32)
    kept.keep(most_percent=50)
    kept.vault.put(pack_name(*left), noise(5000))
    kept.days(28)
    kept.night()
    assert left not in {one.pack for one in kept.keep(most_percent=100).marked}
    kept.days(2)
    assert left in {one.pack for one in kept.keep(most_percent=100).marked}
    kept.days(8)
    assert left in {one.pack for one in kept.keep(most_percent=100).removed}
    kept.check()


class TestAnErasedDomain:
    def test_its_points_go_a_floor_later_though_they_are_the_newest(self, kept: KeptSite) -> None:
        kept.keep(most_percent=50)
        domains = load_trust(kept.vault).root.domains
        sign_root(kept.site, domains=tuple(replace(one, erased=kept.clock()) for one in domains))
        kept.days(29)
        kept.keep()
        assert len(kept.points()) == 6
        kept.days(2)
        assert len(kept.keep().expired) == 6, "and no fifth holds them: nobody can open them"
        assert kept.points() == []
        kept.days(1)
        kept.keep()
        kept.days(8)
        kept.keep()
        assert kept.packs() == set()


class TestWhoMayKeep:
    def test_a_keeper_that_the_owner_did_not_name_is_refused(self, kept: KeptSite) -> None:
        stranger = replace(kept.keeper, key=new_keeper(kept.site, file="other.json").key)
        sign_root(
            kept.site, keepers=(KeeperGrant(key=kept.keeper.public_key, trusted_through=None),)
        )
        kept.keeper, right = stranger, kept.keeper
        with pytest.raises(UsageError, match="does not name this keeper"):
            kept.keep()
        kept.keeper = right
        kept.keep(most_percent=50)
        kept.check()

    def test_a_keeper_whose_trust_has_ended_is_refused_and_what_it_says_later_is_not_believed(
        self, kept: KeptSite
    ) -> None:
        expired_and_marked(kept)
        grant = KeeperGrant(key=kept.keeper.public_key, trusted_through=0)
        sign_root(kept.site, keepers=(grant,))
        with pytest.raises(UsageError, match="ends the trust"):
            kept.keep()
        assert len(kept.points()) == 6
        kept.check()

    def test_another_repositorys_keeper_is_refused(self, kept: KeptSite) -> None:
        kept.keeper = replace(kept.keeper, repository=bytes(16))
        with pytest.raises(UsageError, match="another repository"):
            kept.keep()

    def test_a_keepers_file_that_is_none_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no keeper's key"):
            Keeper.load(tmp_path / "absent.json")


def test_a_plan_changes_nothing_and_says_what_a_run_would_do(kept: KeptSite) -> None:
    names = vault_of(kept).names()
    plan, stock = kept.plan()
    assert vault_of(kept).names() == names
    assert plan.is_plan
    assert plan.refusal is not None
    assert "4 of 10" in plan.refusal
    assert stock.points == 10
    result = kept.keep(most_percent=50)
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


class TestLocks:
    @pytest.fixture
    def locked(self, tmp_path: Path) -> KeptSite:
        kept = kept_site(tmp_path, lock=ObjectLock(mode="COMPLIANCE", days=20))
        kept.rules = WEEKS
        kept.night()
        return kept

    def test_a_lock_is_extended_once_less_than_half_is_left(self, locked: KeptSite) -> None:
        locked.days(8)
        assert locked.keep().extended == ()
        locked.days(3)
        result = locked.keep()
        assert set(result.extended) == set(vault_of(locked).names()), "everything is live"
        for name in result.extended:
            until = locked.vault.lock_until(name)
            assert until is not None
            assert timedelta(days=19.9) < until - locked.clock() < timedelta(days=20)
        locked.days(9)
        assert locked.keep().extended == ()
        locked.check()

    def test_what_may_go_is_not_locked_for_longer(self, locked: KeptSite) -> None:
        for _ in range(8):
            locked.night(days=6)
            locked.keep(most_percent=50)
        marked = locked.keeps().marked
        assert marked
        locked.days(1)
        marks = {pack_name(*pack) for pack in marked}
        result = locked.keep()
        assert not marks & set(result.extended)
        assert result.problems == ()
        # What was needed a while ago still has the lock of then: it waits, and is told.
        locked.days(8)
        waiting = locked.keep()
        assert waiting.locked
        assert all(one.until > waiting.clock for one in waiting.locked)
        assert {one.pack for one in waiting.locked} <= locked.keeps().marked.keys()
        locked.check()
        locked.days(20)
        gone = {one.pack for one in locked.keep(most_percent=100).removed}
        assert {one.pack for one in waiting.locked} <= gone
        locked.check()

    def test_locks_are_extended_even_where_too_much_would_expire(self, locked: KeptSite) -> None:
        locked.night()
        locked.days(45)
        with pytest.raises(KeepingStopped, match="1 of 2"):
            locked.keep()
        for name in vault_of(locked).names():
            until = locked.vault.lock_until(name)
            assert until is not None
            assert until > locked.clock() + timedelta(days=19)
        locked.check()

    def test_one_that_refuses_is_told_and_stops_no_other(self, locked: KeptSite) -> None:
        vault = vault_of(locked)
        extend, one = vault._extend_lock, vault.names()[0]

        def refuses(name: str, until: datetime) -> None:
            if name == one:
                raise UsageError(f"extending the lock of {name} was refused")
            extend(name, until)

        vault._extend_lock = refuses  # type: ignore[method-assign]
        locked.days(11)
        result = locked.keep()
        assert result.problems == (f"extending the lock of {one} was refused",)
        assert set(result.extended) == set(vault.names()) - {one}
        locked.check()
