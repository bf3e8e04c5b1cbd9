"""The bandwidth of puts, by the hour, in simulated time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from backup.errors import AlreadyThere, NotFound
from backup.stores import Store
from backup.stores.bandwidth_limit import Bandwidth, BandwidthLimitedStore, Window
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import Clock, new_site
from tests.backup.stores_contract import StoreContract
from tests.backup.trees import KIB, describe, noise

MB = 10**6
OFFICE = Window(start_minute=8 * 60, end_minute=20 * 60, bytes_per_second=MB)
NIGHT = Window(start_minute=20 * 60, end_minute=8 * 60, bytes_per_second=10 * MB)
WHOLE_DAY = Window(start_minute=0, end_minute=24 * 60, bytes_per_second=MB)


class Time:
    """Time that passes only by sleeping; the wall clock can be set separately."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.passed = 0.0
        self.set_back = timedelta(0)
        self.longest_sleep = 0.0

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.passed) - self.set_back

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.longest_sleep = max(self.longest_sleep, seconds)
        self.passed += seconds


def at(hour: int, minute: int = 0, second: int = 0) -> Time:
    return Time(datetime(2026, 3, 2, hour, minute, second, tzinfo=UTC))


def throttled(time: Time, *windows: Window, zone: str = "UTC") -> BandwidthLimitedStore:
    return BandwidthLimitedStore(
        MemoryStore(),
        Bandwidth(windows=windows, zone=ZoneInfo(zone)),
        now=time.now,
        sleep=time.sleep,
        monotonic=time.monotonic,
    )


def put(store: Store, *sizes: int) -> None:
    for number, size in enumerate(sizes):
        store.put(f"p/{number}-{size}", bytes(size))


class TestThrottledStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return throttled(at(9), Window(start_minute=0, end_minute=1, bytes_per_second=1))


def test_puts_take_as_long_as_the_limit() -> None:
    time = at(9)
    put(throttled(time, OFFICE), *[MB // 2] * 41)
    assert time.passed == pytest.approx(20, abs=1)


def test_outside_of_the_hours_nothing_waits() -> None:
    time = at(21)
    put(throttled(time, OFFICE), *[MB] * 50)
    assert time.passed == 0


def test_the_hours_are_those_of_the_zone() -> None:
    # 07:30 in UTC is 08:30 in Berlin in winter.
    for zone, waits in (("UTC", False), ("Europe/Berlin", True), ("America/New_York", False)):
        time = at(7, 30)
        put(throttled(time, OFFICE, zone=zone), MB, MB, MB)
        assert (time.passed > 0) is waits, zone


def test_window_may_cross_midnight() -> None:
    time = at(23, 59, 58)
    put(throttled(time, NIGHT), *[10 * MB] * 11)
    assert time.passed == pytest.approx(10, abs=1)


def test_window_end_is_exclusive_and_24_is_midnight() -> None:
    limits = Bandwidth(windows=(OFFICE, NIGHT), zone=UTC)
    assert limits.rate_at(at(7, 59).now()) == 10 * MB
    assert limits.rate_at(at(8).now()) == MB
    assert limits.rate_at(at(19, 59, 59).now()) == MB
    assert limits.rate_at(at(20).now()) == 10 * MB
    assert Bandwidth(windows=(WHOLE_DAY,), zone=UTC).rate_at(at(23, 59, 59).now()) == MB


def test_run_crossing_the_hour_changes_its_rate() -> None:
    time = at(19, 59, 40)
    store = throttled(time, OFFICE, NIGHT)
    put(store, *[MB] * 120)
    # About 20 MB until 20:00, and ten times as fast after that.
    assert time.passed == pytest.approx(20 + 10, abs=2)


def test_wait_for_large_object_notices_the_hour() -> None:
    time = at(19, 59, 50)
    put(throttled(time, OFFICE), 100 * MB, MB)
    assert time.passed == pytest.approx(10, abs=1.1)
    assert time.longest_sleep <= 1


def test_idle_time_is_not_saved_up() -> None:
    time = at(9)
    store = throttled(time, OFFICE)
    time.passed += 3600
    put(store, *[MB] * 11)
    assert time.passed - 3600 == pytest.approx(10, abs=1.1)


def test_clock_set_back_delays_nothing() -> None:
    time = at(9)
    store = throttled(time, OFFICE)
    put(store, MB)
    time.set_back = timedelta(hours=30)
    put(store, 2 * MB)
    assert time.passed <= 2


def test_threads_share_one_limit() -> None:
    time = at(9)
    store = throttled(time, OFFICE)

    def put_five(thread: int) -> None:
        for number in range(5):
            store.put(f"t/{thread}/{number}", bytes(MB))

    runs = [threading.Thread(target=put_five, args=(number,)) for number in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(timeout=120)
    assert time.passed == pytest.approx(19, abs=1.1)
    assert len(list(store.list("t/"))) == 20


def test_only_puts_wait() -> None:
    time = at(9)
    store = throttled(time, OFFICE)
    store.put("p/1", bytes(50 * MB))
    assert len(store.get("p/1")) == 50 * MB
    assert store.get_range("p/1", 0, 10) == bytes(10)
    assert [stat.name for stat in store.list("")] == ["p/1"]
    with pytest.raises(NotFound):
        store.stat("p/2")
    assert time.passed == 0
    with pytest.raises(AlreadyThere):
        store.put("p/1", b"")


def test_description_is_that_of_the_inner_store() -> None:
    assert throttled(at(9)).describe() == MemoryStore().describe()


def test_limited_backup_is_complete_and_reports_progress(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.wav").write_bytes(noise(4000 * KIB, number))
    site = new_site(tmp_path / "site")
    time = at(9)
    limits = Bandwidth(windows=(WHOLE_DAY,), zone=UTC)
    vault = BandwidthLimitedStore(
        site.vault, limits, now=time.now, sleep=time.sleep, monotonic=time.monotonic
    )
    told: list[int] = []
    clock: Callable[[], datetime] = Clock()
    result = site.back_up(
        source, vault=vault, now=clock, progress=lambda step: told.append(step.bytes_done)
    )
    # The run does not wait after the last objects, but it waits for all objects before them.
    assert time.passed > 30
    assert told == sorted(told)
    assert result.complete
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
