"""`standfast readiness`: its question, its answer, and its page."""

from pathlib import Path

from tests.cli.desk import Desk


def test_readiness_page_of_backup_only_installation_fails(desk: Desk, installation: Path) -> None:
    answer = desk.run("readiness")
    assert answer.status == 3
    first, *_ = answer.out.splitlines()
    assert first.startswith("Could we respond to a breach tonight? No: 1 error, ")
    assert "Next: `standfast backup run main` (recovery points: main" in answer.out
    identity = installation / "offline" / "identity.txt"
    assert desk.run("backup", "run").status == 0
    assert desk.run("drill", "run", "main", "--identity", identity).status == 0
    answer = desk.run("readiness", "--to", "ready.html")
    assert answer.status == 3
    assert answer.out.startswith("Could we respond to a breach tonight? No: 8 parts not set up, ")
    assert "Next: add [backup.installation]" in answer.out
    page = (desk.folder / "ready.html").read_text()
    assert '<span class="warning">No: 2 not set up</span>' in page
    assert desk.run("check").status == 0


def test_readiness_page_is_written_to_the_path(desk: Desk, installation: Path) -> None:
    document = desk.json("readiness", "--to", "ready.html")
    assert document["page"] == str(desk.folder / "ready.html")
    assert document["answer"] in (desk.folder / "ready.html").read_text()
    questions = {one["question"] for one in document["questions"]}
    assert "Would everything be restored?" in questions
    again = desk.json("readiness")
    assert (again["page"], again["unrecorded"]) == (None, "")
    assert [then["score"] for then in again["trend"]] == [again["score"]]
    answer = desk.run("readiness", "--to", "ready.html/below/it.html")
    assert answer.status == 1
    assert "Name another location" in answer.err


def test_each_point_of_the_checklist_has_a_row(desk: Desk, installation: Path) -> None:
    rows = {row["point"]: row for row in desk.json("readiness")["checklist"]}
    assert set(rows) == {
        "access",
        "backups",
        "encryption",
        "firewalls",
        "leavers",
        "malware",
        "masking",
        "mfa",
        "recovery",
        "remote-work",
        "session-timeouts",
        "stored-data",
        "training",
        "updates",
    }
    assert all(row["what_to_do"] for row in rows.values() if row["state"] == "open")
