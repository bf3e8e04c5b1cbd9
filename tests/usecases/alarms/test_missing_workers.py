"""People are notified of hosts without a worker that reports to Prefect."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from standfast.usecases.alarms.missing_workers import LIMIT, notify_of_missing_workers
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import WatchedHost, both, watched_host

OTHER = "host-2"


@pytest.fixture
def host(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[WatchedHost]:
    with watched_host(tmp_path, smtp_server) as host:
        yield host


def mails(host: WatchedHost, seen: dict[str, datetime]) -> list[str]:
    before = len(host.mails)
    notify_of_missing_workers(host.installation, seen, "prefect")
    return host.mails[before:]


def test_silent_worker_is_notified_once_and_its_return(host: WatchedHost) -> None:
    seen = {"host-1": host.now[0], OTHER: host.now[0] - LIMIT}
    assert mails(host, seen) == []
    host.forward(minutes=1)
    assert mails(host, seen) == both(f"Host alarm: {OTHER}")
    assert "these roles: worker. It was last seen 6 minutes ago" in host.newest_text
    assert mails(host, seen) == []
    (alarm,) = [alarm for alarm in host.status().alarms if alarm.kind == "worker"]
    assert (alarm.set_name, alarm.is_notified) == (OTHER, True)
    host.forward(minutes=1)
    assert mails(host, {**seen, OTHER: host.now[0]}) == both(f"Host alarm over: {OTHER}")
    assert not [alarm for alarm in host.status().alarms if alarm.kind == "worker"]


def test_removed_queue_ends_its_alarm(host: WatchedHost) -> None:
    mails(host, {OTHER: host.now[0] - LIMIT - timedelta(minutes=1)})
    host.forward(minutes=1)
    assert mails(host, {"host-1": host.now[0]}) == []
    assert not [alarm for alarm in host.status().alarms if alarm.kind == "worker"]
