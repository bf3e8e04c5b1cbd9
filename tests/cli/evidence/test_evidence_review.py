"""`evidence review` and `incident affected add --from-review`, typed."""

import json
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer
from tests.usecases.evidence.test_affected_records import LOG, SETTINGS
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK

LOCK_AND_KEEP = (
    PLAYBOOK.replace("keep-logs", "lock-and-keep")
    .replace(
        "steps:\n",
        "steps:\n  lock:\n    title: Lock\n    do: accounts.lock\n    with: {accounts: [alice]}\n",
    )
    .replace("  freeze_logs:\n", "  freeze_logs:\n    needs: [lock]\n")
)


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


def test_sign_in_after_lock_is_a_finding(
    desk: Desk, live_installation: Path, scim_server: ScimServer, tmp_path: Path
) -> None:
    scim_server.create("alice")
    (live_installation / "playbooks").mkdir(exist_ok=True)
    (live_installation / "playbooks" / "lock-and-keep.yaml").write_text(LOCK_AND_KEEP)
    settings = live_installation / "standfast.toml"
    settings.write_text(settings.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    sign_in = "2099-01-01T00:00:0{} sshd[1]: Accepted password for {} from 203.0.113.9 port 22\n"
    lines = ["\x1b]0;owned\x07", "bob", "alice"]
    (live_installation / "logs" / "auth.log").write_text(
        "".join(sign_in.format(second, name) for second, name in enumerate(lines))
    )
    opened = desk.json("incident", "open", "lock-and-keep")
    assert opened["exit_status"] == 0, opened
    words, page = ("evidence", "review", opened["incident"]), tmp_path / "page.html"
    answer = desk.json(*words, "--html", page)
    (finding,) = answer["findings"]
    assert (finding["rule"], finding["count"]) == ("sign-in after lock", 1)
    assert [line["line"] for line in finding["lines"]] == [3]
    assert finding["account"].startswith("account-")
    assert "alice" not in str(answer)
    text = desk.run(*words).out
    for shown in (text, page.read_text()):
        assert "sign-in after lock" in shown
        assert "\x1b" not in shown
    assert "owned" in desk.run(*words, "--unmask", "--reason", "court", *desk.by("lee")).out
    assert desk.json(*words, "--account", "alice")["findings"] == [finding]
    assert desk.json(*words, "--account", "bob")["findings"] == []
