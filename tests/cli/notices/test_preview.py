"""A notice before anyone approves it, with the first of a real audience."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.desk import Desk, furnish

WORDS = ("notice", "preview", "customers-data-theft", "--audience", "customers")


@pytest.fixture
def customers(installation: Path) -> Path:
    """Return an installation with three customers: unnamed, hostile, plain."""
    furnish(installation)
    with closing(sqlite3.connect(installation / "crm.db")) as crm, crm:
        crm.execute("UPDATE customers SET name = '' WHERE id = 2")
        crm.execute("UPDATE customers SET name = ? WHERE id = 3", ("Mallory </iframe><script>",))
    crm.close()
    return installation


def looks(desk: Desk) -> list[dict[str, object]]:
    events = desk.json("audit", "show")["events"]
    return [event["detail"] for event in events if event["action"] == "audience.viewed"]


def test_people_are_masked_without_a_record(desk: Desk, customers: Path) -> None:
    before = desk.json("audit", "show")["events"]
    answer = desk.run(*WORDS, "--html", "page.html")
    assert answer.status == 0
    page = (desk.folder / "page.html").read_text()
    for shown in (answer.out, page):
        assert "c***@example.net" in shown
        assert "customer1@" not in shown
        assert "Customer 1" not in shown
        assert "Mallory" not in shown
        assert "their record was open" not in shown
    assert "Dear C*** 1***," in answer.out
    assert "Dear customer," in answer.out
    assert page.count("<iframe sandbox ") == 4 + 3
    assert "are masked." in page
    assert desk.json("audit", "show")["events"] == before


def test_unmasked_preview_is_one_event_with_reason(desk: Desk, customers: Path) -> None:
    words = (*WORDS, "--rows", "2", "--unmasked", "--reason", "legal reads two of them")
    look = desk.json(*words, "--html", "page.html")["audience"]
    assert look["is_masked"] is False
    assert [one["to"] for one in look["messages"]] == [
        "1. customer1@example.net, en",
        "2. customer2@example.net, en",
    ]
    assert "Dear Customer 1," in look["messages"][0]["text"]
    assert "reason: their record was open" in look["messages"][0]["notes"]
    assert looks(desk) == [
        {
            "notice": "customers-data-theft",
            "audience": "customers",
            "count": 2,
            "reason": "legal reads two of them",
        }
    ]
    assert "are not masked" in (desk.folder / "page.html").read_text()


@pytest.mark.parametrize(
    "words",
    [
        (*WORDS, "--unmasked"),
        (*WORDS, "--unmasked", "--reason", "  "),
        (*WORDS[:3], "--unmasked", "--reason", "because"),
    ],
)
def test_nobody_is_shown_without_a_reason(
    desk: Desk, customers: Path, words: tuple[str, ...]
) -> None:
    answer = desk.run(*words)
    assert answer.status == 2
    assert "needs --audience NAME" in answer.err
    assert answer.out == ""
    assert looks(desk) == []


def test_missing_values_concern_the_whole_audience(desk: Desk, customers: Path) -> None:
    look = desk.json(*WORDS, "--rows", "1")
    assert len(look["audience"]["messages"]) == 1
    assert look["audience"]["rows"]["recipients"] == 3
    assert look["audience"]["by_language"] == {"en": 3}
    assert "1 recipient without 'name': the notice uses its own text" in look["warnings"]
    assert "3 recipients: no language is known; en is sent" in look["warnings"]


def test_a_hostile_name_breaks_out_of_no_frame(desk: Desk, customers: Path) -> None:
    desk.run(*WORDS, "--unmasked", "--reason", "a test", "--html", "page.html")
    page = (desk.folder / "page.html").read_text()
    assert "Mallory" in page
    assert "<script" not in page
    assert page.count("<iframe") == page.count("</iframe>") == 7


def test_context_values_are_text_with_their_dependants(desk: Desk) -> None:
    shown = desk.json(
        *WORDS[:3], "--value", "data_concerned=card-number, health", "--value", "incident_id=X=1"
    )
    assert "- your card number\n- details about your health\n" in shown["text"]
    assert "Ask your bank whether it should replace your card." in shown["text"]
    assert "Look through your bank statements." not in shown["text"]
    assert "Our reference is X=1." in shown["text"]
    assert "advice" not in shown["warnings"][0]
    pushy = desk.run(*WORDS[:3], "--value", "what_happened=Act now!")
    assert "Warning: 'what_happened' says 'Act now', which creates haste: " in pushy.out
    flag = desk.json("notice", "preview", "deadline-reminder", "--value", "is_over=true")
    assert flag["subject"] != desk.json("notice", "preview", "deadline-reminder")["subject"]
    for value in ("is_over=perhaps", "percent=half", "no_such=1", "percent"):
        assert desk.run("notice", "preview", "deadline-reminder", "--value", value).status == 2


def test_unreadable_rows_are_counted(desk: Desk, customers: Path) -> None:
    file = customers / "standfast.toml"
    file.write_text(file.read_text().replace('"crm.db"', '"crm.db"\nsuppress = "never.csv"'))
    (customers / "never.csv").write_text("who\n<customer1@example.net>\nCustomer 2\n")
    shown = desk.json(*WORDS)
    assert shown["audience"]["rows"]["suppressed"] == 1
    warned = [one for one in shown["warnings"] if "suppression list" in one]
    assert [one.partition(" ")[0] for one in warned] == ["1"]
