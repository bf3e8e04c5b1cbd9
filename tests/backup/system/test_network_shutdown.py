"""Shutdown of a process: its waits, its reports and its refusals."""

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from backup.errors import StoreUnavailable
from backup.stores.bandwidth_limit import Bandwidth, BandwidthLimitedStore, Window
from backup.stores.s3.client import _Connections
from backup.system.network_shutdown import NETWORK_SHUTDOWN, NetworkShutdown
from tests.backup.memory_stores import MemoryStore


class Connections:
    """Connections that block each reader until they are closed."""

    def __init__(self) -> None:
        self.are_broken = threading.Event()

    def abort_all(self) -> None:
        self.are_broken.set()


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> NetworkShutdown:
    monkeypatch.setattr("backup.system.network_shutdown.GRACE_SECONDS", 0.02)
    monkeypatch.setattr("backup.system.network_shutdown.REPORT_AFTER_SECONDS", 0.01)
    return NetworkShutdown()


def test_running_call_is_named_then_interrupted(ending: NetworkShutdown) -> None:
    connections, said, begun = Connections(), list[str](), threading.Event()
    ending.register(connections)

    def call() -> None:
        with ending.call("reading a pack"):
            begun.set()
            assert connections.are_broken.wait(60)

    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(60)
    ending.begin(said.append)
    ending.begin(said.append)
    thread.join(60)
    assert not thread.is_alive()
    (told,) = said
    assert told.endswith(": reading a pack")


def test_shutdown_starts_nothing_and_ends_pauses(ending: NetworkShutdown) -> None:
    connections = Connections()
    ending.register(connections)
    pausing = threading.Thread(target=ending.pause, args=(600,))
    pausing.start()
    ending.begin(lambda text: None)
    pausing.join(60)
    assert not pausing.is_alive()
    with pytest.raises(StoreUnavailable, match="is ending"), ending.call("storing a pack"):
        pass


def test_shutdown_without_network_starts_no_thread(
    ending: NetworkShutdown,
) -> None:
    before = set(threading.enumerate())
    ending.begin(lambda text: None)
    assert before.issuperset(threading.enumerate())


def test_bandwidth_wait_ends_at_shutdown() -> None:
    window = Window(start_minute=0, end_minute=1440, bytes_per_second=1)
    store = BandwidthLimitedStore(
        MemoryStore(),
        Bandwidth(windows=[window], zone=ZoneInfo("UTC")),
        now=lambda: datetime.now(UTC),
        sleep=lambda seconds: NETWORK_SHUTDOWN.begin(lambda text: None),
        monotonic=lambda: 0.0,
    )
    store.put("a", bytes(1000))
    with pytest.raises(StoreUnavailable, match="storing b was not started"):
        store.put("b", b"")


class Pool:
    """A fake of urllib3's pools."""

    def _new_conn(self, timeout: float) -> set[float]:
        return {timeout}  # a set has no hash, so the connection cannot be recorded


def client_with(manager: object) -> object:
    return SimpleNamespace(
        _endpoint=SimpleNamespace(http_session=SimpleNamespace(_manager=manager))
    )


@pytest.mark.parametrize(
    "client",
    [
        SimpleNamespace(),
        SimpleNamespace(_endpoint=None),
        client_with(None),
        client_with(SimpleNamespace(pool_classes_by_scheme=None)),
        client_with(SimpleNamespace(pool_classes_by_scheme=["https"])),
        client_with(SimpleNamespace(pool_classes_by_scheme={"https": len})),
    ],
)
def test_other_boto3_internals_still_work(client: object) -> None:
    _Connections(client).abort_all()


def test_other_urllib3_internals_still_work() -> None:
    manager = SimpleNamespace(pool_classes_by_scheme={"https": Pool})
    connections = _Connections(client_with(manager))
    noting = manager.pool_classes_by_scheme["https"]
    assert noting is not Pool
    assert noting()._new_conn(timeout=5.0) == {5.0}
    connections.abort_all()
