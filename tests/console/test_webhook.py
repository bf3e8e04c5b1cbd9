"""A signed message opens its incident once; a foreign one opens none."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from standfast.console import application
from standfast.console.webhook_secrets import FRESH_SECONDS
from standfast.errors import Unavailable
from standfast.records import Mode
from standfast.usecases.incidents import lifecycle as incident
from tests.console.installations import (
    ENV,
    NEXT_SECRET,
    SECRET,
    SIEM,
    Site,
    about,
    furnish_with,
    signed,
    site_at,
)
from tests.triggers.test_standard_webhooks import secret


def test_signed_message_opens_its_incident(site: Site) -> None:
    answer = site.send(about())
    assert answer.status_code == 202
    assert answer.json() == {"incident": site.incidents[0], "has_joined": False, "mode": "live"}
    (row,) = site.installation.ledger.incidents.all()
    assert (row.scenario, row.mode, row.opened_by) == ("lock", Mode.LIVE, "trigger:siem")
    assert row.inputs == {"accounts": ["agents:agent01"], "reason": "impossible travel"}
    assert row.is_signed is False  # nobody signed in: each approval asks for one more
    assert site.installation.ledger.audit.verify().is_whole


def test_answer_follows_commit_and_precedes_directory_calls(site: Site) -> None:
    incident = site.send(about()).json()["incident"]
    # The directory of this installation does not exist; the row is the queue for any runner.
    events = [event.action for event in site.installation.ledger.timeline(incident)]
    assert events == ["incident.opened"]


def test_repeated_message_returns_the_same_incident(site: Site) -> None:
    first = site.send(about()).json()["incident"]
    again = site.send(about())
    assert (again.status_code, again.json()["incident"]) == (202, first)
    later = site.send({**about(), "try": 2})  # the same id, signed again
    assert later.json() == {"incident": first, "has_joined": True, "mode": "live"}
    assert site.incidents == [first]


def test_twenty_simultaneous_copies_open_one_incident(site: Site) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: site.send(about()), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["incident"] for answer in answers} == set(site.incidents)
    assert len(site.incidents) == 1


def test_same_key_joins_and_other_key_opens(site: Site) -> None:
    first = site.send(about(), "msg_1").json()
    second = site.send(about(), "msg_2").json()
    third = site.send(about("agent02"), "msg_3").json()
    assert (second["incident"], second["has_joined"]) == (first["incident"], True)
    assert third["incident"] != first["incident"]


def test_reused_id_on_other_message_is_no_repeat(site: Site) -> None:
    first = site.send(about(), "msg_1").json()
    second = site.send(about("agent02"), "msg_1").json()
    assert (second["incident"] != first["incident"], second["has_joined"]) == (True, False)
    assert site.send(about("agent02"), "msg_1").json()["incident"] == second["incident"]


def test_message_to_stopped_incident_says_so(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    first = site.send(about(), "msg_1").json()["incident"]
    incident.stop(site.installation, first)  # nobody is enrolled, so nobody signs in
    answer = site.send(about(), "msg_2")
    assert answer.status_code == 202
    assert answer.json() == {
        "incident": first, "has_joined": True, "mode": "live", "is_stopped": True
    }  # fmt: skip
    assert f"{first} is stopped, so nothing is done about this message" in caplog.text
    assert f"`standfast incident resume {first}`" in caplog.text


def test_configured_key_correlates_messages(tmp_path: Path) -> None:
    with site_at(furnish_with(tmp_path, SIEM + 'key = "{/data/case}"\n')) as site:
        case = {"data": {"user": "agent01", "rule": "a", "case": "7"}}
        first = site.send(case, "msg_1").json()
        same = {"data": {"user": "agent02", "rule": "b", "case": "7"}}
        assert site.send(same, "msg_2").json()["incident"] == first["incident"]
        inputs = site.installation.ledger.incidents.get(first["incident"]).inputs
        assert inputs["accounts"] == ["agents:agent01", "agents:agent02"]
        other = {"data": {"user": "agent03", "rule": "a", "case": "8"}}
        assert site.send(other, "msg_3").json()["incident"] != first["incident"]
        without = {"data": {"user": "agent04", "rule": "a"}}  # then the inputs are what it is about
        assert site.send(without, "msg_4").json()["has_joined"] is False


def test_either_secret_works_and_rotates_without_restart(
    tmp_path: Path,
) -> None:
    file = tmp_path / "siem.secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    settings = SIEM.replace('"env:SIEM_SECRET"', f'"file:{file.name}"')
    with site_at(furnish_with(tmp_path, settings)) as site:
        assert site.send(about(), "msg_1", SECRET).status_code == 202
        assert site.send(about(), "msg_2", NEXT_SECRET).status_code == 202
        replaced = secret()
        file.write_text(replaced)
        keys = site.app._keys
        ahead = time.monotonic() + FRESH_SECONDS + 1
        keys.monotonic = lambda: ahead
        assert site.send(about(), "msg_3", SECRET).status_code == 401
        assert site.send(about(), "msg_4", replaced).status_code == 202


def test_trigger_without_permission_opens_a_plan(tmp_path: Path) -> None:
    plans = SIEM.replace('mode = "live"\n', "")
    with site_at(furnish_with(tmp_path, plans)) as site:
        assert site.send(about()).json()["mode"] == "plan"
        assert site.installation.ledger.incidents.all()[0].mode is Mode.PLAN


def test_live_trigger_joins_no_earlier_plan(tmp_path: Path) -> None:
    config_file = furnish_with(tmp_path, SIEM.replace('mode = "live"\n', ""))
    with site_at(config_file) as site:
        plan = site.send(about(), "msg_1").json()["incident"]
    config_file.write_text(config_file.read_text() + 'mode = "live"\n')
    with site_at(config_file) as site:
        answer = site.send(about(), "msg_2").json()
        assert (answer["incident"] != plan, answer["mode"]) == (True, "live")


UNKNOWN: dict[str, dict[str, Any]] = {
    "nothing is signed": {},
    "another secret": {"secret": secret()},
    "another body": {"signed_body": "{}"},
    "another id": {"more": {"webhook-id": "msg_9"}},
    "long ago": {"seconds": -900},
    "from the future": {"seconds": 900},
    "an unknown name": {"name": "nobody"},
    "Alertmanager's name": {"name": "alerts"},
}


def test_unknown_sender_learns_nothing_and_writes_nothing(site: Site) -> None:
    events = site.installation.ledger.newest_event()
    body = '{"data": {"user": "agent01", "rule": "x"}}'
    for why, given in UNKNOWN.items():
        headers = signed(
            given.get("signed_body", body),
            secret=given.get("secret", SECRET),
            at=datetime.now(UTC) + timedelta(seconds=given.get("seconds", 0)),
        )
        headers |= given.get("more", {})
        answer = site.post(given.get("name", "siem"), body.encode(), headers if given else {})
        assert answer.status_code == 401, why
        assert answer.headers["content-type"] == "application/problem+json", why
        assert answer.json() == {"type": "about:blank", "title": "Unauthorized", "status": 401}, why
    assert site.installation.ledger.newest_event() == events


def test_invalid_field_is_named_but_not_repeated(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answer = site.send({"data": {"rule": "somebody"}})
    assert answer.status_code == 422
    assert "input `accounts`: the message has no value at /data/user" in answer.json()["detail"]
    assert site.send({"data": {"user": ["somebody"]}}, "msg_2").status_code == 422
    assert site.incidents == []
    assert "somebody" not in caplog.text
    answer = site.send({"data": {"user": "agent01"}}, "msg_3")  # the reason has a default
    assert answer.status_code == 202


def test_failed_message_is_accepted_when_repeated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*given: object, **more: object) -> None:
        raise Unavailable("the ledger's PostgreSQL does not answer")

    with monkeypatch.context() as patched:
        patched.setattr("standfast.console.application.receive", away)
        answer = site.send(about())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "PostgreSQL" not in answer.text
    # A ledger on a full disk can still be read.
    unwell = httpx.get(f"{site.url}/health", trust_env=False)
    assert (unwell.status_code, "cannot store data" in unwell.text) == (503, True)
    assert site.send(about()).status_code == 202
    assert httpx.get(f"{site.url}/health", trust_env=False).status_code == 200


def test_unopenable_playbook_is_no_client_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = SIEM.replace('"lock"', '"no-such"')
    with site_at(furnish_with(tmp_path, broken)) as site:
        answer = site.send(about())
        assert answer.status_code == 503
        assert "no-such" not in answer.text
    (said,) = [one for one in caplog.messages if "playbook" in one]
    assert said.startswith("trigger siem: playbook of the trigger: cannot")


def test_messages_over_the_limit_get_retry_after(tmp_path: Path) -> None:
    settings = SIEM.replace("per_minute = 6000", "per_minute = 2")
    with site_at(furnish_with(tmp_path, settings)) as site:
        statuses = [site.send(about(), f"msg_{number}").status_code for number in range(4)]
        assert statuses == [202, 202, 429, 429]
        last = site.send(about(), "msg_5")
        assert 1 <= int(last.headers["retry-after"]) <= 31
        # An unknown sender uses nothing of the limit, and does not learn of it.
        assert site.send(about(), "msg_6", secret()).status_code == 401


def test_missing_secret_lets_nobody_in(tmp_path: Path) -> None:
    config_file = furnish_with(tmp_path, SIEM)
    without = {**ENV, "SIEM_SECRET": "", "SIEM_NEXT": "whsec_c2hvcnQ="}
    with site_at(config_file, without) as site:
        assert site.send(about()).status_code == 401


def test_health_reports_whether_the_ledger_answers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    answer = httpx.get(f"{site.url}/health", trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def away(*given: object) -> int:
        raise Unavailable("gone")

    monkeypatch.setattr(type(site.installation.ledger), "newest_event", away)
    monkeypatch.setattr(application, "HEALTH_SECONDS", 0.0)
    assert httpx.get(f"{site.url}/health", trust_env=False).status_code == 503
