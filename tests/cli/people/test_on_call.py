"""`standfast on-call show`, and the check of the rota."""

from contextlib import closing
from pathlib import Path

import pytest

from standfast.ledger.runs.call_outs import CallOutState
from standfast.usecases.on_call.call_outs import attend
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.triggers.message_intake import receive, triggers_of
from tests.cli.desk import Desk
from tests.servers.smtp import SmtpServer

ROTA = """
[senders.lee-push]
kind = "apprise"
url = "env:LEE_PUSH"

[on_call]
time_zone = "Europe/Berlin"
fallback = ["duty-manager"]
people.lee.pagers = [{ sender = "lee-push" }]

[[on_call.shifts]]
people = ["lee"]
days = ["mon", "tue", "wed", "thu"]
start = "08:00"
end = "18:00"

[[on_call.overrides]]
people = ["kim", "erin"]
start = "2026-12-24T18:00"
end = "2026-12-26T09:00"
"""

SIEM = """
[triggers.siem]
kind = "webhook"
secrets = ["env:SIEM_SECRET"]
scenario = "lock"
inputs = { accounts = "agents:{/user}" }

[on_call]
"""


@pytest.fixture
def rota(quiet_installation: Path) -> None:
    with (quiet_installation / "standfast.toml").open("a") as file:
        file.write(ROTA)


def test_duty_and_changes_are_shown_in_local_time(desk: Desk, rota: None) -> None:
    shown = desk.run("on-call", "show", "--at", "2026-12-23T15:00Z")
    assert shown.status == 0
    assert "lee, until 2026-12-23 18:00 CET" in shown.out
    assert "2026-12-24 18:00 CET  kim, then erin" in shown.out
    assert "erin is not enrolled" in shown.out
    assert "the fallback is paged: duty-manager" in shown.out


def test_time_without_duty_is_partial(desk: Desk, rota: None) -> None:
    shown = desk.json("on-call", "show", "--at", "2026-12-27T12:00Z")
    assert shown["exit_status"] == 3
    assert shown["people"] == []
    assert shown["duties"][1]["people"] == ["lee"]
    assert shown["duties"][1]["start"] == "2026-12-28T07:00:00.000000Z"


def test_check_names_gaps_strangers_and_lacking_pagers(desk: Desk, rota: None) -> None:
    checks = desk.json("check")["checks"]
    found = {(one["verdict"], one["found"]) for one in checks if one["part"] == "on call"}
    assert ("fail", "erin is not enrolled and cannot be paged") in found
    assert any(verdict == "warn" and "nobody is on duty from" in text for verdict, text in found)
    assert ("warn", "kim has no pager: pages go to the mail address only") in found


def test_pager_is_no_default_sender(quiet_installation: Path, rota: None) -> None:
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(
        config_file.read_text().replace('[notices]\nsender = "mail"', "[notices]")
    )
    with (
        open_installation(config_file, env={}, actor="os:test") as opened,
        closing(opened.reading_adapters()) as adapters,
    ):
        assert adapters.default_sender() == "mail"


def test_pager_needs_its_sender(desk: Desk, quiet_installation: Path) -> None:
    with (quiet_installation / "standfast.toml").open("a") as file:
        file.write(ROTA.replace('sender = "lee-push"', 'sender = "lee-pusj"'))
    refused = desk.run("on-call", "show")
    assert refused.status == 2
    assert "on_call.people.lee.pagers[0].sender" in refused.err
    assert "lee-push" in refused.err


def test_late_acknowledgement_is_shown_as_late(
    desk: Desk, live_installation: Path, smtp_server: SmtpServer
) -> None:
    config_file = live_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + ROTA.replace("[on_call]", SIEM))
    with open_installation(config_file, env={}, actor="os:test") as opened:
        message, calls = {"user": "agent01"}, opened.ledger.call_outs
        case = receive(
            opened, triggers_of(opened.config)["siem"], message, message_id="one"
        ).incident
        assert calls.begin("trigger.siem", case, [case], "os:test", opened.clock())
        (begun,) = calls.of_incident(case)
        assert calls.end(begun, CallOutState.UNANSWERED, [case], "os:test", opened.clock())
    assert f"incident acknowledge {case} --as PERSON" in desk.run("incident", "status", case).out
    done = desk.run("incident", "acknowledge", case, *desk.by("kim"))
    assert (done.status, "acknowledged late" in done.out) == (0, True)
    status = desk.run("incident", "status", case).out
    assert ("kim acknowledged it at" in status, "This was late" in status) == (True, True)
    assert "is_late" in desk.run("incident", "status", case, "--timeline").out


def test_acknowledgement_is_shown_with_its_person(
    desk: Desk, live_installation: Path, smtp_server: SmtpServer
) -> None:
    config_file = live_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + ROTA.replace("[on_call]", SIEM))
    with open_installation(config_file, env={}, actor="os:test") as opened:
        triggers = triggers_of(opened.config)
        message = {"user": "agent01"}
        case = receive(opened, triggers["siem"], message, message_id="one").incident
        for _ in attend(opened, triggers):
            pass
    status = desk.run("incident", "status", case)
    assert f"standfast incident acknowledge {case} --as PERSON" in status.out
    assert "by mail at" in status.out
    assert desk.run("incident", "acknowledge", case).status == 4
    done = desk.run("incident", "acknowledge", case, *desk.by("kim"))
    assert (done.status, "Nobody else is paged" in done.out) == (0, True)
    again = desk.run("incident", "acknowledge", case, *desk.by("lee"))
    assert "kim acknowledged it at" in again.out
    (call_out,) = desk.json("incident", "status", case)["call_outs"]
    assert (call_out["state"], call_out["acknowledged_by"]) == ("acknowledged", "kim")
    timeline = desk.run("incident", "status", case, "--timeline").out
    assert "example.com" not in timeline
