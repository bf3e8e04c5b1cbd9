"""Commands for manual notification: posted letters, held recipients."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.adapters.senders.smtp.test_delivery_reports import report
from tests.cli.desk import Desk
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES

TELL = """
playbook: tell
version: 1
title: Tell
use_when: People are to be told.
steps:
  people:
    title: Tell the customers
    do: notices.send
    with:
      template: customers-account-takeover
      audience: customers
      context: {what_happened: account-takeover}
    approval: {none_because: a test}
"""
ASKS = TELL.replace("playbook: tell", "playbook: tell-approved").replace(
    "{none_because: a test}", "{count: 1, roles: [duty-manager]}"
)
MORE = """
[senders.post]
kind = "letters"
return_address = ["1 Example Street", "London N1 9GU"]

[playbooks]
folder = "playbooks"
"""
# Notices to the own staff need no approval, and here the customers are the staff.
OWN_STAFF = '[notices]\nstaff_audience = "customers"'


@pytest.fixture
def case(desk: Desk, live_installation: Path) -> str:
    """Open an incident for five customers: one gets a letter, two are held."""
    (live_installation / "playbooks").mkdir()
    (live_installation / "playbooks/tell.yaml").write_text(TELL)
    with closing(sqlite3.connect(live_installation / "crm.db")) as crm, crm:
        crm.execute("ALTER TABLE customers ADD COLUMN street")
        crm.execute("ALTER TABLE customers ADD COLUMN died")
        crm.execute("UPDATE customers SET email = '', street = '1 Road' WHERE id = 1")
        crm.execute("UPDATE customers SET died = '2024-02-01' WHERE id IN (2, 3)")
        crm.execute(
            "INSERT INTO customers (id, name, email) VALUES (4, 'D', 'd@example.net'),"
            " (5, 'E', 'e@example.net')"
        )
    crm.close()
    config_file = live_installation / "standfast.toml"
    text = config_file.read_text().replace(
        "AS address, name FROM",
        "AS address, name, street AS postal_1, 'Leeds' AS postal_2, died AS died_on FROM",
    )
    config_file.write_text(text.replace("[notices]", OWN_STAFF) + MORE)
    return str(desk.json("incident", "open", "tell")["incident"])


def test_letter_is_recorded_as_posted_and_returned(
    desk: Desk, case: str, live_installation: Path
) -> None:
    told = desk.json("notice", "accounting")["notices"][0]["counts"]
    assert told == {"handed over": 2, "printed": 1, "held": 2}
    (page,) = (live_installation / "letters").glob("*.html")
    mark = page.read_text().partition('<p class="mark">')[2][:8]
    status = desk.run("incident", "status").out
    assert f"print and post them, then `standfast notice posted {case} people`" in status
    assert f"`standfast notice held {case}` names each" in status
    assert (
        f"1 letter to be posted, in {live_installation / 'letters'}: print and post them" in status
    )
    assert desk.run("notice", "posted", "people", "--at", "tomorrow").status == ExitStatus.USAGE
    assert desk.run("notice", "posted", "people", "--came-back").status == ExitStatus.USAGE
    assert desk.run("notice", "posted", "staff").status == ExitStatus.USAGE
    both = desk.run("notice", "posted", "people", "--came-back", "--thrown-away")
    assert both.status == ExitStatus.USAGE
    assert desk.run("notice", "posted", "people", "--thrown-away").status == ExitStatus.USAGE
    assert desk.json("notice", "posted", "people")["posted"] == 1
    assert desk.json("notice", "accounting")["not_notified"] == 2
    assert desk.run("notice", "posted", "people").status == ExitStatus.USAGE
    back = desk.json("notice", "posted", "people", "--came-back", "--letter", mark)
    assert back["came_back"] == 1
    assert desk.json("notice", "accounting")["notices"][0]["counts"] == {
        "handed over": 2,
        "bounced": 1,
        "held": 2,
    }
    assert desk.json("notice", "status")["notices"][0]["heard"]["bounced"] == 1


def test_one_command_settles_unknown_outcomes_of_a_step(desk: Desk, case: str) -> None:
    settle = ("incident", "settle", case, "--step")
    assert desk.run(*settle, "people", "perhaps").status == ExitStatus.USAGE
    assert "'poeple'" in desk.run(*settle, "poeple", "yes").err
    settled = desk.json(*settle, "people", "yes")
    assert (settled["settled"], settled["left"], settled["steps"][0]["unknown"]) == (1, 0, 0)
    again = desk.run(*settle, "people", "yes")
    assert (again.status, again.out) == (ExitStatus.USAGE, "")
    assert "no unknown effect" in again.err


def test_relay_report_makes_recipient_undelivered_once(
    desk: Desk, case: str, smtp_server: SmtpServer
) -> None:
    (mail,) = [one for one in smtp_server.delivered if one.recipients == ("d@example.net",)]
    token = str(mail.message["Message-ID"]).strip("<>").partition("@")[0]
    (desk.folder / "bounced.eml").write_bytes(report(envelope=token))
    # A report about a mail that Standfast did not send.
    (desk.folder / "other.eml").write_bytes(report())
    files = ("bounced.eml", "other.eml")
    heard = desk.json("notice", "reports", *files)
    assert heard == {"reports": 2, "changed": 1, "settled": 0, "foreign": 1, "unread": 0}
    assert desk.json("notice", "reports", *files)["changed"] == 0
    counts = desk.json("notice", "accounting")["notices"][0]["counts"]
    assert counts == {"handed over": 1, "bounced": 1, "printed": 1, "held": 2}
    assert desk.json("status")["not_notified"] == 4
    assert "`standfast notice held` lists unreached" in desk.run("notice", "reports", *files).out
    assert f"`standfast notice held {case}`" in desk.run("notice", "accounting").out
    (lost,) = desk.json("notice", "held")["not_reached"]
    assert (lost["why"], lost["decision"]) == ("the mail bounced", "")
    listed = desk.run("notice", "held").out
    assert "send a letter, or use another address" in listed
    assert "d@example.net" not in listed
    to = ("--to", "D", "--to", "2 Road", "--because", "it bounced")
    told = desk.json("notice", "tell", lost["mark"], *to)
    step, status = told["told_apart"]["step"], told["exit_status"]
    assert status == ExitStatus.PARTIAL
    (lost,) = desk.json("notice", "held")["not_reached"]
    assert lost["decision"] == f"notified by step {step}"
    assert desk.json("status")["not_notified"] == 4
    assert desk.run("notice", "reports", "nothing.eml").status == ExitStatus.USAGE


def test_suggested_command_names_its_incident(desk: Desk, case: str) -> None:
    marks = [one["mark"] for one in desk.json("notice", "held")["held"]]
    other = desk.json("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    assert other["incident"] != case
    listed = desk.run("notice", "held", case).out
    assert f"`standfast notice tell {case} MARK --to" in listed
    assert f"`standfast notice leave-out {case} MARK --because" in listed
    wrong = ("--value", "what_happened=not-concerned")
    corrected = desk.run("notice", "correct", case, "people", *wrong).out
    assert f"standfast notice held {case}" in corrected
    apart = ("notice", "tell", case, marks[0], "--to", "heir@example.net", "--because", "heir")
    in_first_words = desk.run(*apart)
    assert (in_first_words.status, in_first_words.out) == (ExitStatus.USAGE, "")
    assert "--value NAME=TEXT" in in_first_words.err
    told = desk.run(*apart, "--value", "what_happened=Someone read your name.").out
    assert f"standfast notice held {case}" in told


def test_approvers_of_correction_are_asked_at_once(
    desk: Desk, case: str, live_installation: Path, smtp_server: SmtpServer
) -> None:
    (live_installation / "playbooks/tell-approved.yaml").write_text(ASKS)
    desk.sign_in_with(PASSPHRASES["dana"])
    opened = desk.json("incident", "open", "tell-approved", "--as", "dana")
    incident = opened["incident"]
    desk.sign_in_with(PASSPHRASES["lee"])
    approve = ("incident", "approve", incident, "--as", "lee", "--digest")
    desk.run(*approve, opened["steps"][0]["digest"])
    wrong = ("notice", "correct", incident, "people", "--value", "what_happened=not-concerned")
    asked = len(_mails_to(smtp_server, "lee@example.com"))
    quietly = desk.json(*wrong, "--no-wait")
    assert quietly["correction"]["needs_approvals"] == 2
    assert len(_mails_to(smtp_server, "lee@example.com")) == asked
    told = len(_mails_to(smtp_server, "d@example.net"))
    answer = desk.run(*wrong, "--another")
    assert answer.status == ExitStatus.WAITS_FOR_PEOPLE
    assert "correction-2 is planned for" in answer.out
    assert f"standfast incident approve {incident} correction-" in answer.out
    assert len(_mails_to(smtp_server, "lee@example.com")) == asked + 2
    assert len(_mails_to(smtp_server, "d@example.net")) == told, "nothing leaves unapproved"


def test_approver_reads_the_text_of_the_correction(
    desk: Desk, case: str, smtp_server: SmtpServer
) -> None:
    right = "what_is_right=Only names were seen."
    wrong = ("notice", "correct", case, "people", "--value", "what_happened=Wrong name.")
    desk.json(*wrong, "--value", right)
    read = desk.run("notice", "read", case, "correction-1", "--lang", "en").out
    assert "Only names were seen." in read
    assert "Dear [name]," in read
    (sent,) = [
        one.message.get_body(("plain",))
        for one in smtp_server.delivered
        if "d@example.net" in one.recipients and "Correction" in str(one.message["Subject"])
    ]
    assert sent is not None
    text = desk.json("notice", "read", case, "correction-1")["languages"]["en"]["text"]
    assert sent.get_content().split() == text.replace("[name]", "D").split()
    mistyped = desk.run("notice", "read", case, "corection-1")
    assert (mistyped.status, "did you mean 'correction-1'?" in mistyped.err) == (2, True)
    other = desk.run("notice", "read", case, "people", "--lang", "xx")
    assert (other.status, "the known names are: de, en, es, fr" in other.err) == (2, True)


def test_unreached_recipient_is_named_once(desk: Desk, case: str, live_installation: Path) -> None:
    (live_installation / "playbooks/tell-approved.yaml").write_text(ASKS)
    with closing(sqlite3.connect(live_installation / "crm.db")) as crm, crm:
        crm.execute("UPDATE customers SET email = 'no address' WHERE id = 4")
    crm.close()
    incident = desk.json("incident", "open", "tell-approved")["incident"]
    desk.sign_in_with(PASSPHRASES["lee"])
    desk.run("incident", "approve", incident, "people", "--refuse", "--as", "lee")
    (step,) = desk.json("incident", "retry", incident, "people", "--as", "lee")["steps"]
    missed = [one for told in step["results"] for one in told["not_done"]]
    named = [one["who"] for one in missed if one["state"] == "refused"]
    assert named == [["held:c***", "held:c***"], ["row 4"]]
    shown = desk.run("notice", "status", incident).out
    assert shown.count("people: customers-account-takeover to customers") == 2
    assert shown.count("row 4") == 1


def _mails_to(server: SmtpServer, address: str) -> list[object]:
    return [one for one in server.delivered if address in one.recipients]


def test_closure_counts_undecided_and_unposted_recipients(desk: Desk, case: str) -> None:
    mark = desk.json("notice", "held")["held"][0]["mark"]
    assert desk.run("notice", "leave-out", mark, "--because", "no heir").status == 0
    answer = desk.run("incident", "close", case, *desk.by("dana"))
    assert answer.status == ExitStatus.DONE
    assert "Still open: 1 held person undecided, 1 letter not posted. " in answer.out
    held = desk.run("notice", "held", case)
    assert held.status == ExitStatus.DONE
    assert "notice tell" not in held.out
    assert f"{case} is closed:" in held.out
    late = ("notice", "leave-out", case, mark, "--because", "no heir")
    refused = desk.run(*late)
    assert refused.status == ExitStatus.REFUSED
    assert f"standfast incident reopen {case}`, then decide" in refused.err
    paused = desk.run("notice", "pause", case, "people")
    refuse = f"`standfast incident approve {case} people --refuse --as PERSON`"
    assert (paused.status, refuse in paused.err) == (ExitStatus.USAGE, True)
    desk.run("incident", "reopen", case, *desk.by("dana"))
    assert desk.run(*late).status == ExitStatus.DONE


def test_held_recipients_are_listed_notified_or_excluded(
    desk: Desk, case: str, smtp_server: SmtpServer
) -> None:
    listed = desk.json("notice", "held")
    assert listed["exit_status"] == ExitStatus.WAITS_FOR_PEOPLE
    first, second = (one["mark"] for one in listed["held"])
    assert "Customer" not in desk.run("notice", "held").out
    assert "notice held" in desk.run("incident", "status").out
    assert "2 for a person to decide" in desk.run("status").out
    nobody = desk.run("notice", "tell", first, "--because", "an heir")
    assert nobody.status == ExitStatus.USAGE
    assert "--to ADDRESS" in nobody.err
    wrong = desk.run("notice", "leave-out", "0000ffff", "--because", "x")
    assert "notice held" in wrong.err
    assert desk.run("notice", "leave-out", first).status == ExitStatus.USAGE
    assert desk.run("notice", "leave-out", first, "--because", "no heir").status == 0
    planned = desk.json("notice", "tell", second, "--to", "heir@example.net", "--because", "heir")
    assert planned["told_apart"]["needs_approvals"] == 0
    carried = desk.run("incident", "status").out
    assert "Notify a held or unreached recipient" in carried
    assert "decided; nothing remains to be done" in carried
    assert [m for m in smtp_server.delivered if m.recipients == ("heir@example.net",)]
    assert desk.run("notice", "held").status == ExitStatus.DONE
    assert "to decide" not in desk.run("status").out
    again = desk.run("notice", "tell", second, "--own-address", "--because", "twice")
    assert again.status == ExitStatus.USAGE
