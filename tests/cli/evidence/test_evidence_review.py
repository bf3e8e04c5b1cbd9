"""`evidence review` and `incident affected add --from-review`, typed."""

import json
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.usecases.evidence.test_affected_records import LOG, SETTINGS
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK


@pytest.fixture
def incident(desk: Desk, live_installation: Path) -> str:
    """Open an incident that froze a log of accounts and the records they used."""
    (live_installation / "playbooks").mkdir(exist_ok=True)
    (live_installation / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    (live_installation / "holders.csv").write_text("id,email\n7,ana@example.net\n")
    (live_installation / "logs" / "web.log").write_text(LOG)
    settings = live_installation / "standfast.toml"
    settings.write_text(settings.read_text() + SETTINGS)
    opened = desk.json("incident", "open", "keep-logs")
    assert opened["exit_status"] == 0, opened
    return str(opened["incident"])


def test_records_are_reviewed_and_their_owners_listed(
    desk: Desk, incident: str, tmp_path: Path
) -> None:
    words = ("evidence", "review", incident, "--account", "bob")
    page, table = tmp_path / "page.html", tmp_path / "rows.csv"
    answer = desk.json(*words, "--until", "2026-11-25T02:59", "--html", page, "--csv", table)
    assert [row["object"] for row in answer["timeline"]] == ["/customers/7", "/customers/7"]
    assert page.read_text().startswith("<!doctype html>")
    assert len(table.read_text().splitlines()) == 3
    text = desk.run(*words).out
    assert "/customers/9" in text
    add = ("incident", "affected", "add", incident)
    added = desk.json(*add, "--from-review", "--account", "bob")
    assert (added["people"], added["cannot_be_notified"], added["records_cut"]) == (2, 1, 0)
    assert desk.run(*add, "--csv", table, "--identity", page).status == ExitStatus.USAGE


def test_unsupported_stix_pattern_is_named_everywhere(
    desk: Desk, incident: str, tmp_path: Path
) -> None:
    bundle, page = tmp_path / "bundle.json", tmp_path / "page.html"
    patterns = {
        "indicator--1": "[ipv4-addr:value = '192.0.2.1']",
        "indicator--2": "[file:size = 5]",
    }
    objects = [
        {"type": "indicator", "id": name, "pattern": pattern} for name, pattern in patterns.items()
    ]
    bundle.write_text(json.dumps({"type": "bundle", "objects": objects}))
    words = ("evidence", "review", incident, "--indicators", bundle)
    assert desk.json(*words, "--html", page)["indicators_not_applied"] == ["indicator--2"]
    for shown in (page.read_text(), desk.run(*words).out):
        assert "indicator--2" in shown
        assert "indicator--1" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ("--unmask",),
        ("--unmask", "--reason", "why"),
        ("--address", "here"),
        ("--from", "yesterday"),
        ("--indicators", "/nothing/here"),
    ],
)
def test_invalid_review_is_refused(desk: Desk, incident: str, words: tuple[str, ...]) -> None:
    assert desk.run("evidence", "review", incident, *words).status == ExitStatus.USAGE


def test_signed_in_person_sees_values_in_clear(desk: Desk, incident: str) -> None:
    words = ("evidence", "review", incident, "--unmask", "--reason", "case 4711")
    answer = desk.json(*words, *desk.by("lee"))
    assert answer["is_masked"] is False
