"""Daily check of object locks: selection, findings, unknown locks."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.checker.lock_check import DAYS_FOR_ALL, check_day, due_days, lock_problem
from backup.checker.verification import verify
from backup.errors import StoreUnavailable, UsageError
from backup.format.object_names import pack_name, root_name, snapshot_name
from backup.records import LockSummary, Progress, VerifyReport
from backup.stores import ObjectLock, Retention
from backup.stores.directory import DirectoryStore
from tests.backup.keep_site import WEEKS, KeptSite, KeptVault, kept_site
from tests.backup.site import WRITER, Site, new_site
from tests.backup.trees import plain_tree

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
COMPLIANCE = ObjectLock(mode="COMPLIANCE", days=20)
GOVERNANCE = ObjectLock(mode="GOVERNANCE", days=20)


@pytest.fixture
def locked(tmp_path: Path) -> KeptSite:
    """Two backups in a vault that locks for twenty days."""
    kept = kept_site(tmp_path, lock=COMPLIANCE)
    kept.rules = WEEKS
    kept.next_backup()
    kept.next_backup()
    return kept


def vault_of(kept: KeptSite) -> KeptVault:
    assert isinstance(kept.vault, KeptVault)
    return kept.vault


def look(kept: KeptSite, since: datetime | None = None, *, read: bool = False) -> VerifyReport:
    return verify(kept.vault, now=kept.clock, locks_right_at=since, read=read)


def seen(report: VerifyReport) -> LockSummary:
    assert report.locks is not None
    return report.locks


def named(report: VerifyReport) -> dict[str, str]:
    assert report.is_sound, "a lock that is wrong damages nothing"
    return {one.object: one.problem for one in report.findings if one.severity == "warning"}


class TestSelectionOfObjects:
    def test_thirty_days_see_every_object_once(self) -> None:
        names = [pack_name(WRITER, f"{number:064x}") for number in range(3000)]
        days = [due_days(NOW + n * DAY, NOW + (n + 1) * DAY) for n in range(DAYS_FOR_ALL)]
        for name in names:
            assert sum(check_day(name) in day for day in days) == 1
        for day in days:
            assert 50 < sum(check_day(name) in day for name in names) < 150

    @pytest.mark.parametrize("missed", [1, 5, 28, 29, 400])
    def test_check_after_missed_days_covers_their_shares(self, missed: int) -> None:
        due = due_days(NOW, NOW + (missed + 1) * DAY)
        each = [due_days(NOW + n * DAY, NOW + (n + 1) * DAY) for n in range(missed + 1)]
        assert due == frozenset[int]().union(*each)
        assert len(due) == min(missed + 1, DAYS_FOR_ALL)

    def test_second_check_of_a_day_repeats_no_share(self) -> None:
        assert due_days(NOW, NOW + timedelta(hours=5)) == frozenset()

    @pytest.mark.parametrize("since", [None, NOW + timedelta(minutes=1), NOW + 40 * DAY])
    def test_all_locks_are_due_without_a_valid_check(self, since: datetime | None) -> None:
        assert due_days(since, NOW) == frozenset(range(DAYS_FOR_ALL))


@pytest.mark.parametrize(
    ("default", "mode", "age", "left", "kind"),
    [
        (COMPLIANCE, "COMPLIANCE", 0, 20, None),
        (COMPLIANCE, "COMPLIANCE", 0, 30, None),
        (COMPLIANCE, "COMPLIANCE", 0, 19.9, "a short lock"),
        (COMPLIANCE, "COMPLIANCE", 0, 0.001, "a short lock"),
        (COMPLIANCE, "COMPLIANCE", 3, 5, "a short lock"),
        (COMPLIANCE, "COMPLIANCE", 14, 6, None),
        (COMPLIANCE, "COMPLIANCE", 15.1, 4.9, "a lock that ends"),
        (COMPLIANCE, "COMPLIANCE", 200, 10, None),
        (COMPLIANCE, "COMPLIANCE", 200, 5.1, None),
        (COMPLIANCE, "COMPLIANCE", 200, 4.9, "a lock that ends"),
        (COMPLIANCE, "COMPLIANCE", 200, -3, "a lock that ends"),
        (COMPLIANCE, "GOVERNANCE", 0, 20, "a weaker lock"),
        (GOVERNANCE, "GOVERNANCE", 0, 20, None),
        (GOVERNANCE, "COMPLIANCE", 0, 20, None),
    ],
)
def test_sound_lock_follows_mode_length_and_extension(
    default: ObjectLock, mode: str, age: float, left: float, kind: str | None
) -> None:
    lock = Retention(
        mode="GOVERNANCE" if mode == "GOVERNANCE" else "COMPLIANCE",
        until=NOW + timedelta(days=left),
    )
    found = lock_problem(lock, default, NOW - timedelta(days=age), NOW, is_needed=True)
    assert (None if found is None else found[0]) == kind
    # The lock of an object that no point needs may end, but at first it is never shorter than the
    # default.
    idle = lock_problem(lock, default, NOW - timedelta(days=age), NOW, is_needed=False)
    assert (None if idle is None else idle[0]) == (None if kind == "a lock that ends" else kind)


def test_vault_with_sound_locks_has_no_finding(locked: KeptSite) -> None:
    report = look(locked)
    count = len(vault_of(locked).names())
    assert seen(report) == LockSummary(objects=count, looked_at=count, wrong=0, unknown=0)
    assert report.findings == ()


def test_each_object_with_wrong_lock_is_named(locked: KeptSite) -> None:
    vault, now = vault_of(locked), locked.clock()
    first, second = snapshot_name(WRITER, 1), snapshot_name(WRITER, 2)
    packs = sorted(name for name in vault.names() if "/p/" in name)
    vault._locks |= {
        first: None,
        second: Retention(mode="COMPLIANCE", until=now + 2 * DAY),
        root_name(0): Retention(mode="GOVERNANCE", until=now + 20 * DAY),
        packs[0]: Retention(mode="COMPLIANCE", until=now - DAY),
        packs[1]: Retention(mode="COMPLIANCE", until=now + 36_500 * DAY),
    }
    report = look(locked)
    found = named(report)
    assert found.keys() == {first, second, root_name(0), packs[0], packs[1]}
    assert "has no lock, although the bucket locks for 20 days in COMPLIANCE mode" in found[first]
    assert f"is locked until {now + 2 * DAY:%Y-%m-%d %H:%M}Z only" in found[second]
    assert "is locked in GOVERNANCE mode" in found[root_name(0)]
    assert "only, although" in found[packs[0]]
    assert "longer than any lock of this vault" in found[packs[1]]
    assert (seen(report).wrong, seen(report).unknown) == (4, 0), "a long lock keeps what it must"
    locked.check()


def test_hundred_wrong_locks_are_named_the_rest_counted(locked: KeptSite) -> None:
    vault = vault_of(locked)
    for number in range(300):
        name = pack_name(WRITER, f"{number:064x}")
        vault.put(name, b"of a run that goes on")
        vault._locks[name] = Retention(mode="COMPLIANCE", until=locked.clock() + number * DAY / 300)
    report = look(locked)
    assert seen(report).wrong == 300
    assert len(named(report)) == 101
    assert "200 more objects" in named(report)


def test_packs_of_expired_points_may_lose_their_lock(locked: KeptSite) -> None:
    for _ in range(8):
        locked.next_backup(days=6)
        locked.keep(max_percent=50)
    vault, idle = vault_of(locked), {pack_name(*pack) for pack in locked.keeps().marked}
    assert idle
    for name in idle:
        vault._locks[name] = None
    report = look(locked)
    assert named(report) == {}
    _, stock = locked.plan()
    assert stock.live.packs < len(locked.packs())
    beside = [name for name in vault.names() if "/p/" not in name]
    assert seen(report).objects == len(beside) + stock.live.packs


def test_ending_locks_are_named_without_a_keeper(
    locked: KeptSite,
) -> None:
    locked.days(12)
    assert named(look(locked)) == {}, "a keeper may be some days late"
    locked.days(3)
    report = look(locked)
    assert named(report).keys() == set(vault_of(locked).names())
    assert all("nobody extended" in problem for problem in named(report).values())
    assert {one.what_to_do for one in report.findings} == {
        "run the keeper: it extends the locks that are needed"
    }
    locked.keep()
    assert named(look(locked)) == {}


def test_check_covers_new_objects_and_due_days(
    locked: KeptSite,
) -> None:
    vault = vault_of(locked)
    for number in range(600):
        vault.put(pack_name(WRITER, f"{number:064x}"), b"of a run that goes on")
    locked.days(2)
    old, since = set(vault.names()), locked.clock()
    locked.days(1)
    locked.next_backup()
    asked, tell = set[str](), vault.lock_of

    def note(name: str) -> Retention | None:
        asked.add(name)
        return tell(name)

    vault.lock_of = note
    report = look(locked, since)
    due = {name for name in old if check_day(name) in due_days(since, locked.clock())}
    assert asked == due | (set(vault.names()) - old)
    assert 0 < len(due) < len(old) / 5
    assert (seen(report).objects, seen(report).looked_at) == (len(vault.names()), len(asked))
    assert seen(look(locked, since, read=True)).looked_at == len(vault.names())


def test_new_object_with_wrong_lock_is_named_next(locked: KeptSite) -> None:
    vault = vault_of(locked)
    for _ in range(4):
        since = locked.clock()
        locked.next_backup()
        newest = snapshot_name(WRITER, locked.backups)
        vault._locks[newest] = None
        assert newest in named(look(locked, since))
        del vault._locks[newest]


def test_objects_dated_before_by_slow_clock_are_checked(
    locked: KeptSite,
) -> None:
    vault = vault_of(locked)
    locked.next_backup()
    newest = snapshot_name(WRITER, locked.backups)
    locked.clock.forward(minutes=20)
    since = locked.clock()
    vault._locks[newest] = None
    assert newest in named(look(locked, since))


def test_old_wrong_lock_is_named_within_thirty_days(locked: KeptSite) -> None:
    vault = vault_of(locked)
    locked.days(5)
    old = vault.names()
    for name in old:
        vault._locks[name] = None
    found: set[str] = set()
    since = locked.clock()
    for _ in range(DAYS_FOR_ALL):
        locked.days(1)
        found |= named(look(locked, since)).keys()
        since = locked.clock()
    assert found == set(old)


class TestUnknown:
    def refusing(self, kept: KeptSite, which: Callable[[str], bool]) -> list[str]:
        """Make the store report no lock for some names; return all queried names."""
        vault, tell, asked = vault_of(kept), vault_of(kept).lock_of, list[str]()

        def refuse(name: str) -> Retention | None:
            asked.append(name)
            if which(name):
                raise UsageError(f"looking at the lock of {name} (the right) was refused")
            return tell(name)

        vault.lock_of = refuse
        return asked

    def test_unreported_lock_is_neither_right_nor_wrong(self, locked: KeptSite) -> None:
        self.refusing(locked, lambda name: "/p/" in name)
        report = look(locked)
        names = vault_of(locked).names()
        packs = [name for name in names if "/p/" in name]
        assert seen(report) == LockSummary(
            objects=len(names),
            looked_at=len(names) - len(packs),
            wrong=0,
            unknown=len(packs),
        )
        assert not seen(report).is_right
        ((name, problem),) = named(report).items()
        assert name == min(packs)
        assert f"nor those of {len(packs) - 1} others" in problem
        assert "(the right) was refused" in problem

    def test_store_that_reports_some_locks_is_asked_further(self, locked: KeptSite) -> None:
        vault = vault_of(locked)
        for number in range(1000):
            vault.put(pack_name(WRITER, f"{number:064x}"), b"of a run that goes on")
        asked = self.refusing(locked, lambda name: name.startswith("pub/"))
        report = look(locked)
        public = [name for name in vault.names() if name.startswith("pub/")]
        assert sorted(asked) == vault.names()
        assert seen(report).unknown == len(public)
        assert seen(report).looked_at == len(asked) - len(public)

    def test_store_that_reports_no_lock_is_asked_once(self, locked: KeptSite) -> None:
        asked = self.refusing(locked, lambda _: True)
        for number in range(1000):
            vault_of(locked).put(pack_name(WRITER, f"{number:064x}"), b"of a run")
        report = look(locked)
        assert seen(report).unknown == len(vault_of(locked).names())
        assert (len(asked), len(named(report))) == (256, 1)

    def test_pack_freed_during_the_check_is_skipped(self, locked: KeptSite) -> None:
        vault, tell = vault_of(locked), vault_of(locked).lock_of
        gone = pack_name(WRITER, "ab" * 32)
        vault.put(gone, b"of a run that broke off")

        def drop_first(name: str) -> Retention | None:
            if name == gone:
                vault.lose(gone)
            return tell(name)

        vault.lock_of = drop_first
        report = look(locked)
        assert named(report) == {}
        assert seen(report).objects - seen(report).looked_at == 1

    def test_unavailable_store_ends_the_lock_check(self, locked: KeptSite) -> None:
        def away(name: str) -> Retention | None:
            raise StoreUnavailable(f"looking at the lock of {name} failed: no answer")

        vault_of(locked).lock_of = away
        with pytest.raises(StoreUnavailable, match="no answer"):
            look(locked)


def test_lock_queries_are_bounded_and_report_progress(locked: KeptSite) -> None:
    vault, tell = vault_of(locked), vault_of(locked).lock_of
    vault.calls_at_once = 8
    for number in range(600):
        vault.put(pack_name(WRITER, f"{number:064x}"), b"of a run that goes on")
    guard, together = threading.Lock(), threading.Barrier(8)
    now, most, calls, threads, told = 0, 0, 0, 0, list[Progress]()

    def slowly(name: str) -> Retention | None:
        nonlocal now, most, calls, threads
        pool, _, _ = threading.current_thread().name.rpartition("_")
        with guard:
            calls, now = calls + 1, now + 1
            most = max(most, now)
            waits = calls <= 8
            mine = [one for one in threading.enumerate() if one.name.startswith(f"{pool}_")]
            threads = max(threads, len(mine))
        if waits:
            together.wait(timeout=60)  # until eight requests are in progress
        with guard:
            now -= 1
        return tell(name)

    vault.lock_of = slowly
    verify(vault, now=locked.clock, progress=told.append)
    assert (most, threads) == (8, 8)
    assert len(told) == 3
    assert {one.phase for one in told} == {"verifying"}


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_store_without_locks_is_not_queried(tmp_path: Path, site: Site, kind: str) -> None:
    if kind == "directory":
        site = new_site(tmp_path / "folder", DirectoryStore(tmp_path / "vault"))
    site.back_up(plain_tree(tmp_path / "source"))

    def asked(name: str) -> None:
        raise AssertionError(name)

    site.vault.lock_of = asked
    report = verify(site.vault)
    assert (report.locks, report.findings) == (None, ())
    assert not site.vault.describe().is_write_only
