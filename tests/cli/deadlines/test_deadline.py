"""`standfast deadline`, typed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer

LAWS = """
[deadlines]
jurisdictions = ["EU/EEA"]
"""


@pytest.fixture
def incident(desk: Desk, quiet_installation: Path) -> str:
    """Open an exercise with legal clocks."""
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + LAWS)
    opened = desk.json("incident", "open", "lock", "--exercise", "--input", "accounts=agents:lee")
    return str(opened["incident"])


def test_obligations_follow_from_stated_facts(desk: Desk, incident: str) -> None:
    before = desk.json("deadline", "list", incident)["clocks"]
    assert [clock["state"] for clock in before] == ["not_started"]
    assert before[0]["questions"][0]["name"] == "awareness"
    stated = desk.json("deadline", "fact", incident, "awareness", "--at", "2026-03-02T12:30Z")
    assert stated["is_news"] is True
    answer = desk.run("deadline", "list", incident)
    assert answer.status == ExitStatus.DONE
    assert "running: notify each controller served [eu-gdpr-33-2-processor]" in answer.out
    assert "awareness, 2026-03-02 12:30 UTC" in answer.out
    assert "not legal advice" in answer.out
    notified = ["notified", incident, "eu-gdpr-33-2-processor"]
    told = desk.run("deadline", *notified, "--receipt", "call 9")
    assert told.status == ExitStatus.DONE
    assert "1 more is done" in desk.run("deadline", "list", incident).out
    assert "met: notify each controller" in desk.run("deadline", "list", incident, "--all").out
    back = [*notified, "--mistaken", "--receipt", "another client"]
    assert desk.run("deadline", *back).status == ExitStatus.DONE
    assert "running: notify each controller" in desk.run("deadline", "list", incident).out


def test_obligation_list_shows_section_content_and_dates(
    desk: Desk, incident: str, quiet_installation: Path
) -> None:
    config_file = quiet_installation / "standfast.toml"
    laws = 'jurisdictions = ["EU/EEA", "US-MD"]\nparts = ["controller"]\nauthority_country = "DE"'
    text = config_file.read_text().replace('jurisdictions = ["EU/EEA"]', laws)
    config_file.write_text(text)
    for at in ("2026-03-02T12:30Z", "2026-03-03T12:30Z"):
        desk.json("deadline", "fact", incident, "awareness", "--at", at)
    listed = desk.run("deadline", "list", incident).out
    authority, _, rest = listed.partition("\n\n")
    assert authority.startswith("missed: notify competent supervisory authority")
    for named, words in {
        "due": "2026-03-06 12:30 UTC (",
        "from": "awareness, 2026-03-03 12:30 UTC",
        "rule": "Art. 33(1),(3),(4): 72 hours, from awareness",
        "was due": "2026-03-05 12:30 UTC, ",
        "contents": "likely consequences; measures taken or proposed",
        "open": "exempt only if unlikely to result in a risk",
    }.items():
        (line,) = [one for one in authority.splitlines() if one.startswith(f"  {named}  ")]
        assert words in line
    assert "; lenient 2026-03-06 13:00 UTC)" in authority
    assert "Maryland AG must be notified first" in rest
    assert "How many people in US-MD are affected?" in rest


def test_installation_without_laws_says_how_to_configure(
    desk: Desk, quiet_installation: Path
) -> None:
    opened = desk.json("incident", "open", "lock", "--exercise", "--input", "accounts=agents:lee")
    answer = desk.run("deadline", "list", opened["incident"])
    assert answer.status == ExitStatus.USAGE
    assert "deadlines.jurisdictions" in answer.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fact", "awareness", "--at", "yesterday"], "Write a time"),
        (["fact", "awareness", "--at", "2026-03-02T12:30"], "has no zone"),
        (["fact", "awareness", "--at", "0226-03-02T12:30Z"], "not a plausible time"),
        (["fact", "awareness", "--at", "0001-01-01T00:00+14:00"], "not a plausible time"),
        (
            ["delay", "EU/EEA", "--document", "d", "--until", "9999-12-31T23:59Z"],
            "not a plausible time",
        ),
        (["fact", "awarness"], "did you mean 'awareness'"),
        (["answer", "eu-gdpr-33-2-processor", "perhaps"], "yes or no"),
        (["form", "us-ca-ag"], "not in this incident"),
        (["answer", "eu-gdpr-33-2-processor", "no"], "no legal test to answer"),
        (["affected", "EU/EEA", "many"], "whole number"),
        (["affected", "EU/EEA", "9" * 30], "whole number"),
        (["affected", "eu/eea", "1"], "did you mean 'EU/EEA'"),
        (["affected", "EU/EEA"], "PLACE and PEOPLE"),
        (["notified", "eu-gdpr-33-2-processor"], "--receipt"),
        (["delay", "eu-gdpr-33-2-processor"], "--document TEXT"),
        (["delay", "eu-gdpr-33-2-processor", "--document", " "], "--document TEXT"),
        (["notified", "eu-gdpr-33-2-processor", "--receipt", " "], "--receipt"),
        (["notified", "eu-gdpr-33-2-processor", "--receipt", "x", "--mistaken"], "was notified"),
    ],
)
def test_mistake_suggests_valid_values(
    desk: Desk, incident: str, words: list[str], says: str
) -> None:
    answer = desk.run("deadline", words[0], incident, *words[1:])
    assert answer.status == ExitStatus.USAGE
    assert says in answer.err


@pytest.mark.parametrize("reason", [[], ["--because", " "]])
@pytest.mark.parametrize("of", [[], ["--threshold"]])
def test_dismissed_obligation_needs_a_reason(
    desk: Desk, incident: str, quiet_installation: Path, of: list[str], reason: list[str]
) -> None:
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text().replace('["EU/EEA"]', '["EU/EEA", "Japan"]'))
    config_file.write_text(config_file.read_text() + 'parts = ["controller"]\n')
    obligation = "jp-appi-preliminary" if of else "eu-gdpr-34-individuals"
    before = desk.json("deadline", "list", incident)["clocks"]
    answer = desk.run("deadline", "answer", incident, obligation, "no", *of, *reason)
    assert answer.status == ExitStatus.USAGE
    assert "--because TEXT" in answer.err
    assert desk.json("deadline", "list", incident)["clocks"] == before
    assert desk.json("deadline", "answer", incident, obligation, "yes", *of)["is_news"]
    why = ["--because", "the laptop was encrypted"]
    assert desk.json("deadline", "answer", incident, obligation, "no", *of, *why)["is_news"]


def test_stated_time_changes_only_to_stated_time(desk: Desk, incident: str) -> None:
    assert desk.json("deadline", "fact", incident, "awareness")["later"] == 0
    at = "2026-03-02t12:30z"  # a form that RFC 3339 permits
    assert desk.json("deadline", "fact", incident, "awareness", "--at", at)["later"] == 0
    before = desk.json("deadline", "list", incident)["clocks"]
    answer = desk.run("deadline", "fact", incident, "awareness")
    assert answer.status == ExitStatus.USAGE
    assert "awareness: stated already, at 2026-03-02 12:30 UTC. Add --at" in answer.err
    assert desk.json("deadline", "list", incident)["clocks"] == before


def test_extension_says_how_many_obligations_moved(
    desk: Desk, incident: str, quiet_installation: Path
) -> None:
    config_file = quiet_installation / "standfast.toml"
    agreement = '\n[contracts.acme]\nclient = "Acme"\nsection = "12.3"\nwithin = 24\n'
    config_file.write_text(config_file.read_text() + agreement)
    fact = ["deadline", "fact", incident, "awareness", "--at"]
    assert desk.json(*fact, "2026-03-02T12:30Z")["later"] == 0
    assert "1 date becomes later." in desk.run(*fact, "2026-03-03T12:30Z").out
    assert desk.json(*fact, "2026-03-02T12:30Z")["later"] == 0


def test_incident_is_optional_while_one_is_open(desk: Desk, incident: str) -> None:
    obligation = "eu-gdpr-33-2-processor"
    said = desk.json("deadline", "fact", "awareness", "--at", "2026-03-02T12:30Z")
    assert (said["incident"], said["is_news"]) == (incident, True)
    assert desk.json("deadline", "list")["clocks"][0]["state"] == "running"
    assert desk.json("deadline", "affected", "EU/EEA", "12")["is_news"]
    assert desk.json("deadline", "content", "what_happened", "A laptop was stolen.")["is_news"]
    refused = desk.run("deadline", "delay", obligation, "--document", "letter 7")
    assert (refused.status, "--because TEXT" in refused.err) == (ExitStatus.USAGE, True)
    why = ("--because", "Counsel: the client's agreement, 12.4")
    assert desk.json("deadline", "delay", obligation, "--document", "letter 7", *why)["is_news"]
    mistaken = desk.run("deadline", "delay", obligation, "--document", "x", "--mistaken", *why)
    assert mistaken.status == ExitStatus.USAGE
    assert "when law enforcement ends" in desk.run("deadline", "list").out
    assert desk.json("deadline", "notified", obligation, "--receipt", "call 9")["is_news"]
    assert desk.run("deadline", "form", obligation).status == ExitStatus.DONE
    assert desk.run("deadline", "calendar").status == ExitStatus.DONE
    assert (desk.folder / f"{incident}.ics").exists()
    help_text = desk.run("deadline", "fact", "--help").out
    assert "{incident}" not in help_text


def test_a_form_and_a_calendar_are_files(desk: Desk, incident: str) -> None:
    answer = desk.run("deadline", "form", incident, "eu-gdpr-33-2-processor")
    assert answer.status == ExitStatus.DONE  # the rule requires no content, so the form has no gaps
    page = (desk.folder / "eu-gdpr-33-2-processor.html").read_text()
    assert "Notice to each controller served" in page
    assert desk.run("deadline", "calendar", incident).status == ExitStatus.DONE
    assert (desk.folder / f"{incident}.ics").read_text().startswith("BEGIN:VCALENDAR")


def test_an_obligation_is_shown_with_its_sources(desk: Desk) -> None:
    answer = desk.run("deadline", "show", "eu-gdpr-33-authority")
    assert answer.status == ExitStatus.DONE
    assert "72 hours, from awareness" in answer.out
    assert "gdprlearninghub.com" in answer.out
    assert desk.run("deadline", "show", "eu-gdpr-99").status == ExitStatus.USAGE


def test_the_places_and_facts_are_listed(desk: Desk) -> None:
    found = desk.json("deadline", "places")
    assert sum(found["places"].values()) == 123
    assert "awareness" in found["facts"]


def test_mistyped_obligation_suggests_similar_ones(desk: Desk, quiet_installation: Path) -> None:
    answer = desk.run("deadline", "show", "eu-gdpr-33")
    assert answer.status == ExitStatus.USAGE
    assert "did you mean 'eu-gdpr-33-" in answer.err


def test_incident_counts_missed_clocks_and_next_deadline(
    desk: Desk, incident: str, quiet_installation: Path
) -> None:
    assert desk.json("incident", "status", incident)["clocks"] == {
        "missed": 0,
        "due_now": 0,
        "next_due": None,
    }
    assert "Legal clocks" not in desk.run("incident", "status", incident).out
    config_file = quiet_installation / "standfast.toml"
    agreement = '\n[contracts.{0}]\nclient = "{0}"\nsection = "12.3"\nwithin = {1}\n'
    config_file.write_text(
        config_file.read_text() + agreement.format("acme", 24) + agreement.format("other", 48)
    )
    at = datetime.now(UTC) - timedelta(hours=30)
    desk.json("deadline", "fact", incident, "awareness", "--at", at.isoformat(timespec="minutes"))
    clocks = desk.json("incident", "status", incident)["clocks"]
    assert clocks["missed"] == 1
    due = clocks["next_due"]
    said = desk.run("incident", "status", incident).out
    told = f"1 due now (without delay), the next is due {due[:10]} {due[11:16]} UTC. "
    assert f"Legal clocks: 1 clock missed, {told}" in said
    assert f"`standfast deadline list {incident}`" in said


def test_obligation_without_period_is_due_now(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + LAWS)
    live = desk.json("incident", "open", "account-takeover", "-i", "accounts=alice")["incident"]
    desk.json("deadline", "fact", live, "awareness")
    clocks = {"missed": 0, "due_now": 1, "next_due": None}
    assert desk.json("status")["incidents"][0]["clocks"] == clocks
    assert desk.json("incident", "status", live)["clocks"] == clocks
    assert "  1 due now\n" in desk.run("status").out
    said = desk.run("incident", "status", live).out
    assert "Legal clocks: 1 due now (without delay). " in said
    assert (
        "1 legal clock continues: each controller served due now"
        in desk.run("incident", "close", *desk.by("dana")).out
    )
    assert desk.json("status")["incidents"][0]["clocks"] == clocks
    desk.json("deadline", "notified", live, "eu-gdpr-33-2-processor", "--receipt", "call 9")
    assert desk.json("status")["incidents"] == []


def test_unknown_country_still_records_done_obligations(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    config_file = live_installation / "standfast.toml"
    text = config_file.read_text() + LAWS
    config_file.write_text(text.replace("EU/EEA", "Europe"))
    answer = desk.run("lock", "agents:alice")
    assert answer.status == ExitStatus.DONE
    assert "lock  done  1 locked" in answer.out
    why = "no legal clock can be counted: deadlines.jurisdictions: no obligation is known in"
    assert f"{why} 'Europe'" in answer.out
    config_file.write_text(text)
    case = desk.json("incident", "list")["incidents"][0]["incident"]
    desk.json("deadline", "fact", case, "awareness")
    config_file.write_text(text.replace("EU/EEA", "Europe"))
    seen = desk.json("incident", "status", case)
    assert (seen["clocks"], len(seen["warnings"])) == (None, 1)
    assert "UNKNOWN: `standfast check`" in desk.run("status").out
    assert desk.json("status")["incidents"][0]["lacks_clocks"]
    page = live_installation / "handover.html"
    assert desk.run("incident", "handover", case, "--to", page).status == 0
    assert "No legal clock can be computed: deadlines.jurisdictions" in page.read_text()


def test_a_mistyped_obligation_is_answered_with_the_nearest(desk: Desk, incident: str) -> None:
    (first, *_) = desk.json("deadline", "list", incident, "--all")["clocks"]
    answer = desk.run("deadline", "form", incident, first["id"][:-1])
    assert answer.status == ExitStatus.USAGE
    assert "; did you mean '" in answer.err
