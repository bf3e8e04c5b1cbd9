"""Names in partial results, time zones, and the mark of live incidents."""

import re
from pathlib import Path

from standfast.usecases.health.status import zone_of
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer

_UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


def test_unlocked_account_is_masked_with_its_reason(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    ghosts = [f"{letter}host" for letter in "abcdefg"]
    answer = desk.run("lock", "alice", *ghosts)
    assert answer.status == 3
    assert "a***, b***, c***, d***, e***, 2 more" in answer.out
    assert "ghost" not in answer.out
    incident = desk.json("incident", "list")["incidents"][0]["incident"]
    assert f"All targets by name: `standfast incident status {incident} --targets`" in answer.out
    told = desk.json("incident", "status")
    (lock,) = [one for one in told["steps"] if one["step"] == "lock"]
    (missed,) = lock["results"][0]["not_done"]
    assert missed["who"] == ["a***", "b***", "c***", "d***", "e***"]
    events = desk.json("audit", "show", incident)["events"]
    assert "targets.viewed" not in {event["action"] for event in events}


def test_people_get_local_time_documents_get_utc(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(
        text.replace("[organisation]", '[organisation]\ntime_zone = "Asia/Tokyo"')
    )
    opened = desk.json("lock", "alice", "--exercise")["incident"]
    for words in (
        ("incident", "list"),
        ("incident", "status", "--timeline"),
        ("audit", "show", opened),
        ("people", "list"),
    ):
        answer = desk.run(*words)
        assert " JST" in answer.out or words[0] == "people", words
        assert not re.search(r"\d\dZ\b|UTC", answer.out), words
    (listed,) = desk.json("incident", "list")["incidents"]
    assert _UTC.match(listed["opened_at"])


def test_invalid_time_zone_does_not_prevent_status(desk: Desk, installation: Path) -> None:
    assert zone_of({"organisation": {"time_zone": "Mars/Olympus"}}) == "UTC"
    assert zone_of({"organisation": {"time_zone": 3}}) == "UTC"
    assert zone_of({"organisation": "none"}) == "UTC"
    assert zone_of({"organisation": {"time_zone": "America/Sao_Paulo"}}) == "America/Sao_Paulo"


def test_exercise_is_marked_everywhere(desk: Desk, quiet_installation: Path) -> None:
    played = desk.run("lock", "alice", "--exercise")
    assert played.out.startswith("EXERCISE. ")
    assert desk.run("incident", "status").out.startswith("EXERCISE.")
    assert desk.run("notice", "status").out.startswith("EXERCISE.")
    assert desk.run("incident", "undo", "--all", *desk.by("dana")).out.startswith("EXERCISE.")
    desk.run("incident", "handover", "--to", "page.html")
    assert "EXERCISE, no live system was reached" in (desk.folder / "page.html").read_text()
    closed = desk.run("incident", "close", *desk.by("dana"))
    assert "is closed; nothing live was touched." in closed.out


def test_review_draft_lists_deviations_from_plan(desk: Desk, quiet_installation: Path) -> None:
    desk.run("incident", "open", "leaver", "-i", "accounts=a", "--exercise")
    said = desk.run("incident", "after-action", "--to", "page.html").out
    assert said.count("Deviations from the plan:") == 1
    assert "\n  - " in said
    assert "Otherwise" not in said


def test_unreached_recipient_is_masked_with_its_reason(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    (live_installation / "staff.csv").write_text(
        "email,name\nzoe@example.com,Zoe\nno address,Bad\n"
    )
    desk.run("incident", "open", "account-takeover", "-i", "accounts=alice")
    said = desk.run("notice", "status").out
    assert "1 refused, the address is not of the form name@domain: row 3" in said
    accounted = desk.run("notice", "accounting")
    assert accounted.status == 3
    assert "1 person not notified. See why: `standfast notice status" in accounted.out
