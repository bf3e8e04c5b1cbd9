"""People are notified of machines that do not run `standfast serve`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.ledger.runs import run_store
from standfast.ledger.runs.run_store import SERVE_LEASE
from standfast.usecases.alarms.missing_hosts import LIMIT
from standfast.usecases.health.watchdog import keep_watch
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import WatchedHost, both, watched_host

OTHER = "desk-2"
HOSTS = f"""
[serve.hosts]
{OTHER} = ["respond", "worker"]
"""


@pytest.fixture
def host(
    tmp_path: Path, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WatchedHost]:
    """Open an installation; register new runners as those of `OTHER`."""
    monkeypatch.setattr(run_store, "host_name", lambda: OTHER)
    with watched_host(tmp_path, smtp_server, HOSTS) as host:
        yield host


def mails_of_a_watch(host: WatchedHost) -> list[str]:
    before = len(host.mails)
    keep_watch(host.installation, "direct")
    return [mail for mail in host.mails[before:] if "Host alarm" in mail]


def start(host: WatchedHost, way: str) -> str:
    return host.installation.ledger.runners.register(None, way, host.now[0])


def test_dead_machine_is_notified_once_and_its_return(host: WatchedHost) -> None:
    for way in ("serve", "serve worker"):
        start(host, way)
    host.now[0] += SERVE_LEASE + LIMIT
    assert mails_of_a_watch(host) == []
    host.forward(minutes=1)
    assert mails_of_a_watch(host) == both(f"Host alarm: {OTHER}")
    assert "these roles: respond, worker. It was last seen 11 minutes ago" in host.newest_text
    assert mails_of_a_watch(host) == []
    (alarm,) = [alarm for alarm in host.status().alarms if alarm.kind == "host"]
    assert (alarm.set_name, alarm.is_notified) == (OTHER, True)
    for way in ("serve", "serve worker"):
        start(host, way)
    host.forward(minutes=1)
    assert mails_of_a_watch(host) == both(f"Host alarm over: {OTHER}")
    assert not [alarm for alarm in host.status().alarms if alarm.kind == "host"]


def test_machine_that_never_appeared_is_notified(host: WatchedHost) -> None:
    assert mails_of_a_watch(host) == []
    host.now[0] += 2 * LIMIT
    assert mails_of_a_watch(host) == both(f"Host alarm: {OTHER}")
    assert "never been seen" in host.newest_text


def test_dead_worker_beside_a_live_role_is_notified(host: WatchedHost) -> None:
    worker, runners = start(host, "serve worker"), host.installation.ledger.runners
    start(host, "serve")
    runners.retire(worker, None, host.now[0])  # an orderly end counts as well
    host.now[0] += SERVE_LEASE + LIMIT
    assert mails_of_a_watch(host) == both(f"Host alarm: {OTHER}")
    assert "these roles: worker." in host.newest_text
    host.forward(minutes=1)
    assert mails_of_a_watch(host) == both(f"Host alarm: {OTHER}")  # the other role, too
    assert "these roles: respond, worker." in host.newest_text


def test_removed_machine_ends_its_alarm(host: WatchedHost) -> None:
    host.now[0] += 2 * LIMIT
    mails_of_a_watch(host)
    config = host.installation.config
    without = config.model_copy(update={"serve": config.serve.model_copy(update={"hosts": {}})})
    keep_watch(replace(host.installation, config=without), "direct")
    assert not [alarm for alarm in host.status().alarms if alarm.kind == "host"]
