"""A real Suricata: an alert with a configured rule opens a plan once."""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from standfast.console.suricata_watcher import suricata_watchers
from standfast.errors import Unavailable
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.status import look
from standfast.usecases.triggers import message_intake
from standfast.usecases.triggers.message_intake import triggers_of
from tests.console.installations import ENV, furnish_with
from tests.servers import wait_until
from tests.servers.suricata import Datagram, run_suricata
from tests.usecases.installations import installation_at

RULES = (
    'alert udp any any -> any any (msg:"Credentials leave"; content:"password="; '
    "classtype:credential-theft; sid:1000001; rev:1;)\n"
    'alert udp any any -> any any (msg:"Something else"; content:"hello"; sid:1000002; rev:1;)\n'
)
GRAVE = {
    "signature_id": 7,
    "severity": 1,
    "signature": "s",
    "category": "Successful Credential Theft Detected",
}
TRIGGERS = """
[triggers.leak]
kind = "suricata"
file = "out/eve.json"
signature_ids = [1000001]
networks = ["10.20.0.0/16"]
scenario = "lock"
inputs = { accounts = "agents:desk-of-{/src_ip}", reason = "{/alert/signature}" }

[triggers.grave]
kind = "suricata"
file = "out/eve.json"
signature_ids = []
severity = 1
categories = ["successful credential theft detected"]
scenario = "lock"
key = "{/dest_ip}"
inputs = { accounts = "agents:on-call" }
"""


@contextmanager
def following(installation: Installation) -> Iterator[None]:
    """Follow the file from the last position or its end, for each trigger."""
    both = suricata_watchers(installation, triggers_of(installation.config))
    for one in both:
        one.begin()
    try:
        begun = installation.config.backup.send_log.parent
        wait_until(lambda: len([*begun.glob("eve-*.json")]) == len(both), "all have begun")
        yield
    finally:
        for one in both:
            one.end()


def opened(installation: Installation) -> list[tuple[str, Mode, Any]]:
    return [
        (row.opened_by, row.mode, row.inputs["accounts"])
        for row in installation.ledger.incidents.all()
    ]


def place_of(folder: Path) -> Path:
    (folder / "out").mkdir()
    (folder / "out" / "eve.json").touch()
    return furnish_with(folder, TRIGGERS)


def leak(source: str, target: str = "198.51.100.7") -> Datagram:
    return Datagram(source=source, target=target, content=b"user=x password=y")


def alert(source: str, signature: int = 1000001, **more: Any) -> str:
    event = {
        "timestamp": "2026-11-25T03:00:00.000000+0000",
        "event_type": "alert",
        "src_ip": source,
        "dest_ip": "198.51.100.7",
        "alert": {"signature_id": signature, "severity": 2, "signature": "s"},
        **more,
    }
    return json.dumps(event) + "\n"


def sealed_inputs(folder: Path, new: bytes, case: str = "%") -> list[tuple[str, bytes]]:
    """Change the sealed subjects of incidents in the database; return them."""
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger, ledger:
        was = ledger.execute("SELECT id, sealed_inputs FROM incident WHERE id LIKE ?", [case])
        found = was.fetchall()
        ledger.execute("UPDATE incident SET sealed_inputs = ? WHERE id LIKE ?", [new, case])
    return found


def incidents(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
        (count,) = ledger.execute("SELECT count(*) FROM incident").fetchone()
    return int(count)


def test_real_suricata_alerts_open_plans_once(tmp_path: Path) -> None:
    with installation_at(place_of(tmp_path)) as installation:
        with following(installation):
            datagrams = [
                leak("10.20.0.5"),
                leak("10.20.0.5"),
                leak("192.0.2.9"),  # outside the networks of `leak`, and as grave for `grave`
                Datagram(source="10.20.0.6", target="192.0.2.1", content=b"hello"),
            ]
            run_suricata(tmp_path, RULES, datagrams)
            wait_until(lambda: len(opened(installation)) == 2, "both triggers opened theirs")
            assert sorted(opened(installation), key=str) == [
                ("trigger:grave", Mode.PLAN, ["agents:on-call"]),
                ("trigger:leak", Mode.PLAN, ["agents:desk-of-10.20.0.5"]),
            ]
            run_suricata(tmp_path, RULES, [leak("10.20.0.7")])
            wait_until(
                lambda: len(opened(installation)) == 3, "another address is another incident"
            )
        with following(installation):  # as after a restart
            with (tmp_path / "out" / "eve.json").open("a") as file:
                file.write(alert("10.20.0.8"))
            wait_until(lambda: len(opened(installation)) == 4, "it goes on")
        assert installation.ledger.audit.verify().is_whole


def test_invalid_lines_are_skipped_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "standfast.serve")
    with installation_at(place_of(tmp_path)) as installation, following(installation):
        with (tmp_path / "out" / "eve.json").open("ab") as file:
            file.write(b'\xff\xfe\n{"event_type": "alert"\n[]\n' + b"[" * 5000 + b"\n")
            file.write(b'{"event_type": "alert", "alert": {"signature_id": 1000001}}\n')
            file.write(alert("10.20.0.5").encode())
        wait_until(lambda: len(opened(installation)) == 1, "what is an event was read")
    assert "4 lines are not events" in caplog.text


def test_hostile_alert_delays_no_later_alert(tmp_path: Path) -> None:
    half = {"signature_id": 1000001, "severity": 2, "signature": "half a pair: \ud800"}
    with installation_at(place_of(tmp_path)) as installation, following(installation):
        with (tmp_path / "out" / "eve.json").open("a") as file:
            file.write(alert("10.20.0.4", alert={**half, "signature_id": [1000001]}))
            file.write(alert("10.20.0.4", alert={**half, "signature_id": {}}))
            file.write(alert("10.20.0.5", alert=half))
            file.write(alert("10.20.0.6"))
        wait_until(lambda: len(opened(installation)) == 2, "both that are alerts were opened")
        assert [accounts for _, _, accounts in opened(installation)] == [
            ["agents:desk-of-10.20.0.5"],
            ["agents:desk-of-10.20.0.6"],
        ]


def test_failed_alert_is_opened_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def away(*given: object, **more: object) -> None:
        tried.append("once")
        raise Unavailable("the ledger's PostgreSQL does not answer")

    with installation_at(place_of(tmp_path)) as installation:
        with monkeypatch.context() as patched, following(installation):
            patched.setattr("standfast.console.suricata_watcher.receive", away)
            with (tmp_path / "out" / "eve.json").open("a") as file:
                file.write(alert("10.20.0.5"))
            wait_until(lambda: bool(tried), "it was tried")
        with following(installation):
            wait_until(lambda: len(opened(installation)) == 1, "the next process opened it")


MENDED = """
playbook: grave
version: 1
title: A grave alert
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  look: {title: Look, manual: Look at it.}
"""


def test_broken_playbook_delays_only_its_own_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("standfast.console.suricata_watcher.TRY_AGAIN_SECONDS", 0.1)
    config_file = place_of(tmp_path)
    text = config_file.read_text()
    head, grave = text.split("[triggers.grave]")
    grave = grave.replace('scenario = "lock"', 'scenario = "grave"', 1)
    config_file.write_text(f'{head}[triggers.grave]{grave}\n[playbooks]\nfolder = "own"\n')
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "grave.yaml").write_text("playbook: grave\nversion: nothing\n")
    waiting = tmp_path / "state" / "set-aside" / "waiting" / "grave"
    with installation_at(config_file) as installation:
        with following(installation):
            with (tmp_path / "out" / "eve.json").open("a") as file:
                file.write(alert("192.0.2.9", alert=GRAVE) + alert("10.20.0.5"))
            wait_until(
                lambda: len(opened(installation)) == 1, "the alert of the other trigger is opened"
            )
            wait_until(  # another thread reads for this trigger
                lambda: "cannot be opened (PlaybookInvalid)" in caplog.text, "the alert is kept"
            )
            (kept,) = waiting.iterdir()
            assert kept.stat().st_mode & 0o777 == 0o600
        seen = look(config_file, {}, datetime.now(UTC))
        assert [(one.trigger, one.count) for one in seen.dead_letters] == [("grave", 1)]
        found = check_installation(config_file, env=ENV).checks
        (said,) = [one for one in found if "not processed" in one.found]
        assert "correct the cause: `serve` then opens their incidents" in said.what_to_do
        (tmp_path / "own" / "grave.yaml").write_text(MENDED)
        with following(installation):  # the next process does
            wait_until(lambda: len(opened(installation)) == 2, "what waited is opened")
            wait_until(lambda: not any(waiting.iterdir()), "nothing waits any more")
        assert ("trigger:grave", Mode.PLAN, ["agents:on-call"]) in opened(installation)
    assert look(config_file, {}, datetime.now(UTC)).dead_letters == ()


def test_trigger_at_its_limit_yields_to_others(
    tmp_path: Path,
) -> None:
    config_file = place_of(tmp_path)
    text = config_file.read_text().replace("[triggers.leak]", "[triggers.leak]\nper_minute = 1", 1)
    config_file.write_text(text)
    with installation_at(config_file) as installation, following(installation):
        with (tmp_path / "out" / "eve.json").open("a") as file:
            scan = "".join(alert(f"10.20.0.{number}") for number in range(1, 10))
            file.write(scan + alert("192.0.2.9", alert=GRAVE))
        wait_until(lambda: len(opened(installation)) == 2, "one of the scan, and the grave one")
        assert {who for who, _, _ in opened(installation)} == {"trigger:leak", "trigger:grave"}


def test_trigger_over_its_limit_delays_no_other(
    tmp_path: Path,
) -> None:
    config_file = place_of(tmp_path)
    text = config_file.read_text().replace("[triggers.leak]", "[triggers.leak]\nper_minute = 1", 1)
    config_file.write_text(text)
    events = tmp_path / "out" / "eve.json"
    with installation_at(config_file) as installation:
        with following(installation):
            with events.open("a") as file:
                file.write(alert("10.20.0.1") + alert("10.20.0.2", payload="x" * 100_000) * 30)
                file.write(alert("192.0.2.9", alert=GRAVE))  # three looks further on
            wait_until(lambda: len(opened(installation)) == 2, "one of the scan, and the grave one")
            assert {who for who, _, _ in opened(installation)} == {"trigger:leak", "trigger:grave"}
        with following(installation):  # whose minute is new
            wait_until(lambda: len(opened(installation)) == 3, "what had waited is opened")
        assert ("trigger:leak", Mode.PLAN, ["agents:desk-of-10.20.0.2"]) in opened(installation)


def test_failed_incident_delays_only_its_own_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standfast.console.suricata_watcher.TRY_AGAIN_SECONDS", 0.1)
    config_file = place_of(tmp_path)
    waiting = tmp_path / "state" / "set-aside" / "waiting" / "leak"
    with installation_at(config_file) as installation, following(installation):
        with (tmp_path / "out" / "eve.json").open("a") as file:
            file.write(alert("10.20.0.5"))
        wait_until(lambda: len(opened(installation)) == 1, "it is opened")
        ((case, sealed),) = sealed_inputs(tmp_path, b"changed by somebody")
        with (tmp_path / "out" / "eve.json").open("a") as file:
            file.write(alert("10.20.0.5", flow_id=1) + alert("10.20.0.5", flow_id=2))
            file.write(alert("10.20.0.6"))
        wait_until(lambda: incidents(tmp_path) == 2, "the one behind them is opened")
        kept = sorted(path.read_bytes() for path in waiting.iterdir())
        assert [json.loads(line)["flow_id"] for line in kept] == [1]  # both are one message
        found = check_installation(config_file, env=ENV).checks
        (said,) = [one for one in found if "not processed" in one.found]
        assert f"incident {case}: cannot be decrypted" in said.found
        assert "correct the cause: `serve` then opens their incidents" in said.what_to_do
        sealed_inputs(tmp_path, sealed, case)
        wait_until(lambda: not any(waiting.iterdir()), "what waited has joined")
        assert "trigger.repeated" in [event.action for event in installation.ledger.timeline(case)]
        assert incidents(tmp_path) == 2
    assert look(config_file, {}, datetime.now(UTC)).dead_letters == ()


def test_scan_of_thousand_alerts_is_one_message(tmp_path: Path) -> None:
    with installation_at(place_of(tmp_path)) as installation, following(installation):
        with (tmp_path / "out" / "eve.json").open("a") as file:
            file.write("".join(alert("10.20.0.5", dest_port=port) for port in range(1000)))
            file.write(alert("10.20.0.6"))
        wait_until(lambda: len(opened(installation)) == 2, "all of them were dealt with")
        case = installation.ledger.incidents.all()[0].id
        assert len(installation.ledger.timeline(case)) < 5


def test_alert_with_internal_error_becomes_dead_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(installation: Installation, trigger: Any, event: Any, **more: Any) -> Any:
        if event["src_ip"] == "10.20.0.66":
            raise KeyError("10.20.0.66")
        return message_intake.receive(installation, trigger, event, **more)

    monkeypatch.setattr("standfast.console.suricata_watcher.receive", receive)
    config_file = place_of(tmp_path)
    with installation_at(config_file) as installation, following(installation):
        with (tmp_path / "out" / "eve.json").open("a") as file:
            file.write(alert("10.20.0.66") + alert("10.20.0.5"))
        wait_until(lambda: len(opened(installation)) == 1, "the one behind it is opened")
    (kept,) = (tmp_path / "state" / "set-aside").iterdir()
    assert kept.read_bytes() == alert("10.20.0.66").rstrip().encode()
    assert kept.stat().st_mode & 0o777 == 0o600
    seen = look(config_file, {}, datetime.now(UTC))
    assert [(one.trigger, one.count) for one in seen.dead_letters] == [("leak", 1)]
    found = check_installation(config_file, env=ENV).checks
    (said,) = [one.found for one in found if "not processed" in one.found]
    assert said == "leak: 1 alert not processed in a week: unexpected KeyError"
