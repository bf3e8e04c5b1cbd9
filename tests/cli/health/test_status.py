"""`standfast status`."""

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from standfast.triggers.input_mapping import parse
from standfast.usecases.core.run_record import recorded
from standfast.usecases.health import disk_space
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.triggers.message_intake import SignedTrigger, receive
from standfast.usecases.triggers.trigger_pages import due, send
from tests.cli.desk import Desk
from tests.servers import refused_to_root
from tests.servers.scim import ScimServer
from tests.usecases.backup_installation import full_disk


def test_new_installation_is_asked_to_back_up(desk: Desk, installation: Path) -> None:
    answer = desk.run("status")
    assert answer.status == 0
    assert "No incident is open." in answer.out
    assert "Next: `standfast backup run main`: the set was never backed up." in answer.out


def test_status_shows_ages_of_backup_and_drill(desk: Desk, installation: Path) -> None:
    identity = installation / "offline/identity.txt"
    assert desk.run("backup", "run").status == 0
    assert "drill run main" in desk.json("status")["next_step"]
    assert desk.run("drill", "run", "main", "--identity", identity).status == 0
    seen = desk.json("status")
    (main,) = seen["sets"]
    assert main["last_backup"]["state"] == main["last_drill"]["state"] == "done"
    assert main["last_backup"]["age_seconds"] < 60
    assert seen["ledger"]["signed_events"] == seen["ledger"]["events"]
    assert "Nothing to do now." in desk.run("status").out


def test_failed_backup_precedes_older_success(desk: Desk, installation: Path) -> None:
    assert desk.run("backup", "run").status == 0
    (installation / "keys/backup-host/host.json").rename(installation / "elsewhere.json")
    assert desk.run("backup", "run").status == 2
    seen = desk.json("status")
    assert seen["sets"][0]["last_backup"]["state"] == "done"
    assert seen["sets"][0]["failed_since"]
    assert "`standfast backup run main`" in seen["next_step"]


def test_failed_set_precedes_undrilled_set(desk: Desk, installation: Path) -> None:
    config = installation / "standfast.toml"
    there = f'[{{ kind = "files", name = "more", path = "{installation / "offline"}" }}]'
    gone = there.replace("offline", "gone")
    text = config.read_text()
    config.write_text(f"{text}\n[backup.sets.more]\nsources = {there}\n")
    assert desk.run("backup", "run").status == 0
    config.write_text(f"{text}\n[backup.sets.more]\nsources = {gone}\n")
    assert desk.run("backup", "run").status == 3
    seen = desk.json("status")
    assert "`standfast backup run more`" in seen["next_step"]


def test_incomplete_backup_or_drill_is_next_step(desk: Desk, installation: Path) -> None:
    drill = ("drill", "run", "main", "--identity", installation / "offline/identity.txt")
    config = installation / "standfast.toml"
    text = config.read_text()
    absent = '{ kind = "files", name = "absent", path = "/nowhere" },\n]'
    config.write_text(text.replace("\n]\n", f"\n{absent}\n", 1))
    assert (desk.run("backup", "run").status, desk.run(*drill).status) == (3, 3)
    assert desk.json("status")["next_step"].startswith("`standfast backup run main`: ")
    config.write_text(text)
    assert desk.run("backup", "run").status == 0
    assert "the last drill missed an objective" in desk.json("status")["next_step"]
    assert desk.run(*drill).status == 0
    assert "Nothing to do now." in desk.run("status").out


def test_failed_drill_is_shown_with_older_success(desk: Desk, installation: Path) -> None:
    drill = ("drill", "run", "main", "--identity", installation / "offline/identity.txt")
    assert desk.run("backup", "run").status == 0
    assert desk.run(*drill).status == 0
    assert desk.json("status")["sets"][0]["drill_failed_since"] is None
    (installation / "vault").rename(installation / "elsewhere")
    assert desk.run(*drill).status != 0
    answer = desk.run("status")
    assert "; failed " in answer.out
    assert "drill run main --identity FILE`: the last drill failed." in answer.out
    seen = desk.json("status")
    assert seen["sets"][0]["last_drill"]["state"] == "done"
    assert seen["sets"][0]["drill_failed_since"]
    (installation / "elsewhere").rename(installation / "vault")
    assert desk.run(*drill).status == 0
    assert desk.json("status")["sets"][0]["drill_failed_since"] is None
    assert "Nothing to do now." in desk.run("status").out


@pytest.mark.parametrize(("free", "is_full"), [(3 << 20, True), (700 << 20, False)])
def test_low_disk_space_is_reported_full_disk_first(
    desk: Desk, quiet_installation: Path, free: int, is_full: bool
) -> None:
    assert desk.json("status")["low_space"] == []
    desk.json("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    desk.monkeypatch.setattr(disk_space, "free_at", lambda folder: free)
    seen, shown = desk.json("status"), desk.run("status").out
    told = {"for": ["ledger", "upload cache"], "free_bytes": free, "is_full": is_full}
    assert seen["low_space"] == [told]
    assert f"Disk space: {free >> 20} MiB free for ledger, upload cache" in shown
    assert seen["next_step"].startswith("Free space now" if is_full else "inc-")


def test_status_works_while_sqlite_disk_is_full(desk: Desk, installation: Path) -> None:
    assert desk.run("backup", "run").status == 0
    (before,) = desk.json("status")["sets"]
    with full_disk(installation / "small", "1m") as is_mounted:
        if not is_mounted:
            refused_to_root("no file system may be mounted here")
        shutil.copy(installation / "ledger.db", installation / "small")
        config = installation / "standfast.toml"
        text = config.read_text()
        url = '#url = "sqlite:///ledger.db"'
        assert url in text
        config.write_text(text.replace(url, 'url = "sqlite:///small/ledger.db"'))
        with (installation / "small/rest").open("wb", buffering=0) as rest, suppress(OSError):
            while True:
                rest.write(bytes(4096))
        seen = desk.json("status")
        assert seen["next_step"].startswith("Free space now")
        (one,) = seen["sets"]
        assert one["last_backup"]["started_at"] == before["last_backup"]["started_at"]


def test_open_incident_shows_its_next_step(desk: Desk, quiet_installation: Path) -> None:
    opened = desk.json("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    seen = desk.json("status")
    (one,) = seen["incidents"]
    assert one["incident"] == opened["incident"]
    assert one["next_step"] == desk.json("incident", "status")["next_step"]
    assert one["next_step"] == opened["next_step"]
    assert seen["next_step"].endswith(one["next_step"])


def test_unreached_recipients_are_counted(desk: Desk, quiet_installation: Path) -> None:
    desk.sign_in_with("the rain in the north")
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    assert desk.run(*words, "--as", "dana").status == 5
    desk.sign_in_with("a quiet row of lamps")
    answer = ("incident", "answer", "customers_affected", "yes", "--as", "lee")
    assert desk.run(*answer).status == 5
    assert (
        desk.json("status")["not_notified"] == 3
    )  # before its approval, the notice has reached none of the three customers
    assert desk.run("incident", "approve", "--digest", desk.asked(), "--as", "lee").status == 5
    assert desk.json("status")["not_notified"] == 0


def test_unreadable_audience_is_not_fully_notified(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    staff = live_installation / "staff.csv"
    staff.rename(live_installation / "elsewhere.csv")
    assert desk.run("incident", "open", "account-takeover", "-i", "accounts=alice").status == 1
    seen, accounting = desk.json("status"), desk.run("notice", "accounting", "--json")
    assert [one["uncounted"] for one in seen["incidents"]] == [["tell_staff"]]
    assert re.search(r"account-takeover +\d+ s +all of tell_staff ", desk.run("status").out)
    document = json.loads(accounting.out)
    assert (accounting.status, document["uncounted"]) == (3, ["tell_staff"])
    assert "tell_staff: nobody was notified" in desk.run("notice", "accounting").out
    (live_installation / "elsewhere.csv").rename(staff)
    desk.run("incident", "retry", seen["incidents"][0]["incident"], "tell_staff")
    assert desk.json("status")["incidents"][0]["uncounted"] == []
    assert desk.run("notice", "accounting").status == 0


@pytest.mark.parametrize("flag", ["-c", "--config"])
def test_configuration_option_works_before_and_after_command(
    flag: str, desk: Desk, installation: Path
) -> None:
    desk.monkeypatch.delenv("STANDFAST_CONFIG")
    config_file = installation / "standfast.toml"
    assert desk.run("status").status == 2
    assert desk.run(flag, config_file, "status").status == 0
    assert desk.run("status", flag, config_file).status == 0
    assert desk.run("status", f"--config={config_file}").status == 0
    desk.monkeypatch.chdir(installation)
    assert desk.run("status").status == 0


def test_invalid_configuration_is_reported_by_line(desk: Desk, installation: Path) -> None:
    (installation / "standfast.toml").write_text("[ledger]\nurl = 7\n")
    answer = desk.run("status")
    assert answer.status == 2
    assert "standfast.toml:2: ledger.url" in answer.err


def test_invalid_configuration_precedes_an_incident(desk: Desk, quiet_installation: Path) -> None:
    assert desk.run("lock", "alice", "--exercise").status == 0
    assert desk.json("status")["misconfigured"] is None
    config = quiet_installation / "standfast.toml"
    text = config.read_text()
    config.write_text(f"{text}\n[limits]\nnope = 3\nneither = 4\n")
    line = len(text.splitlines()) + 3
    answer = desk.run("status")
    assert answer.status == 0
    assert "inc-" in answer.out
    assert f"Configuration: standfast.toml:{line}: limits.nope" in answer.out
    assert ", and 1 more. Correct it" in answer.out
    assert "Next: `standfast check`" in answer.out
    refused = desk.run("check")
    assert refused.status == 2
    assert "limits.neither" in refused.err


def test_password_in_reference_follows_the_schema(
    desk: Desk, installation: Path, postgres_url: str
) -> None:
    (installation / "standfast.toml").write_text(
        '[organisation]\nname = "A"\ncontact_line = "B"\n'
        f'[ledger]\nurl = "{postgres_url}"\npassword = "env:LEDGER_PASSWORD"\n'
    )
    answer = desk.run("status")
    assert answer.status == 2
    assert "env:LEDGER_PASSWORD: missing or empty" in answer.err
    desk.monkeypatch.setenv("LEDGER_PASSWORD", "not asked for on this socket")
    answer = desk.run("status")
    assert (answer.status, "not a ledger" in answer.err) == (2, True)


def test_invalid_ledger_file_is_damage(desk: Desk, installation: Path) -> None:
    for file in installation.glob("ledger.db*"):
        file.unlink()
    (installation / "ledger.db").write_bytes(b"not a database" * 100)
    assert desk.run("status").status == 6
    assert desk.json("status")["exit_status"] == 6


def test_a_live_incident_goes_before_an_older_exercise(
    desk: Desk, quiet_installation: Path
) -> None:
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice")
    exercise = desk.json(*words, "--exercise")["incident"]
    live = desk.json(*words)["incident"]
    seen = desk.json("status")
    assert [one["incident"] for one in seen["incidents"]] == [live, exercise]
    assert seen["next_step"].startswith(live)


def test_an_unbegun_lock_precedes_an_older_question(desk: Desk, quiet_installation: Path) -> None:
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    asking = desk.json(*words)["incident"]
    left = desk.json("lock", "bob", "--exercise", "--no-wait")["incident"]
    seen = desk.json("status")
    assert [one["incident"] for one in seen["incidents"]] == [left, asking]
    assert seen["next_step"].startswith(f"{left}: `lock` has not started.")
    assert "nobody is working on it" in seen["incidents"][0]["headline"]
    assert f"{asking}: {seen['incidents'][1]['headline']}." in desk.run("status").out


def test_damage_that_a_verification_found_stays_in_sight(desk: Desk, installation: Path) -> None:
    identity = installation / "offline/identity.txt"
    assert desk.run("backup", "run").status == 0
    assert desk.run("drill", "run", "main", "--identity", identity).status == 0
    pack = next((installation / "vault/w/host-1/p").rglob("*/*"))
    whole = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert desk.run("backup", "verify", "--read").status == 6
    answer = desk.run("status")
    assert "the last verification" in answer.out
    assert "Next: `standfast backup verify --read`" in answer.out
    pack.write_bytes(whole)
    assert desk.run("backup", "verify", "--read").status == 0
    assert "Nothing to do now." in desk.run("status").out


_LAWS = """
[deadlines]
jurisdictions = ["EU/EEA"]
parts = ["controller"]
"""


def test_live_incidents_are_separate_from_exercises(desk: Desk, quiet_installation: Path) -> None:
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice")
    exercise = desk.json(*words, "--exercise")["incident"]
    live = desk.json(*words)["incident"]
    told = desk.run("status").out
    first, second = told.index("live incident"), told.index("\nexercise  ")
    assert first < told.index(f"\n{live}") < second < told.index(f"\n{exercise}  ")
    only = desk.run("status", "--live").out
    assert live in only
    assert exercise not in only
    assert [one["incident"] for one in desk.json("status", "--live")["incidents"]] == [live]


def test_nearest_deadline_of_live_incident_is_shown(desk: Desk, quiet_installation: Path) -> None:
    live = desk.json("incident", "open", "account-takeover", "-i", "accounts=alice")["incident"]
    assert "not set up" in desk.run("status").out
    assert desk.json("status")["incidents"][0]["clocks"] is None
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + _LAWS)
    assert "none runs" in desk.run("status").out
    aware = ("deadline", "fact", live, "awareness")
    assert desk.run(*aware).status == 0
    clocks = desk.json("status")["incidents"][0]["clocks"]
    assert clocks == desk.json("incident", "status", live)["clocks"]
    assert clocks["next_due"]
    assert "next in 71 h" in desk.run("status").out


def test_failed_deadline_reminder_is_shown(desk: Desk, quiet_installation: Path) -> None:
    with open_installation(
        quiet_installation / "standfast.toml", env={}, actor="os:test"
    ) as installation:
        for state, alarms in (("raised", 0), ("failed", 1), ("raised", 0), ("over", 0)):
            with recorded(
                installation, "alarm", "deadline.inc-2026-0001.us-ca-ag", "direct"
            ) as run:
                run.ends(state, {})
            answer = desk.run("status")
            assert (answer.status, answer.out.count("Alarm: ")) == (0, alarms)
            if alarms:
                assert (
                    "Alarm: a legal clock is running: inc-2026-0001, us-ca-ag (since " in answer.out
                )
                assert "no person could be notified" in answer.out


def test_closed_incident_with_running_clock_is_shown(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + _LAWS)
    live = desk.json("incident", "open", "account-takeover", "-i", "accounts=alice")["incident"]
    assert desk.run("deadline", "fact", live, "awareness").status == 0
    closed = desk.run("incident", "close", live, *desk.by("dana")).out
    assert (
        "2 legal clocks continue: affected data subjects due now, competent supervisory" in closed
    )
    assert f"See all: `standfast deadline list {live}`." in closed
    (one,) = desk.json("status")["incidents"]
    assert one["is_closed"]
    assert one["clocks"]["next_due"]
    seen = desk.run("status").out
    (row,) = [line for line in seen.splitlines() if line.startswith(f"{live}  ")]
    assert "closed" in row
    assert "next in 71 h" in row
    assert desk.json("incident", "status", live)["next_step"] == one["next_step"]
    assert f"`standfast deadline list {live}`" in one["next_step"]
    config_file.write_text(config_file.read_text().replace("EU/EEA", "Europe"))
    (one,) = desk.json("status")["incidents"]
    assert (one["clocks"], one["lacks_clocks"]) == (None, True)
    assert "its legal clocks cannot be counted: run `standfast check`" in one["next_step"]


def test_missed_clock_of_closed_incident_comes_first(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + _LAWS)
    live = desk.json("incident", "open", "account-takeover", "-i", "accounts=alice")["incident"]
    at = ("--at", "2026-03-02T12:30Z")
    assert desk.run("deadline", "fact", live, "awareness", *at).status == 0
    assert "missed, due 2026-03-05" in desk.run("incident", "close", live, *desk.by("dana")).out
    seen = desk.json("status")
    assert seen["incidents"][0]["clocks"]["missed"] >= 1
    assert f"{live}: Closed, but legal obligations remain: " in seen["next_step"]
    assert "MISSED" in desk.run("status").out


def test_unannounced_trigger_is_shown(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    with open_installation(config_file, env={}, actor="os:test") as installation:
        trigger = SignedTrigger(
            name="siem", scenario="lock", inputs={"accounts": parse("{/user}")}, secrets=()
        )
        receive(installation, trigger, {"user": "agents:alice"}, message_id="one")
        assert desk.json("status")["unnotified_triggers"] == []
        for page in due(installation):
            send(installation, page, {"siem": trigger}, "serve")  # the mail server does not exist
    assert [one["trigger"] for one in desk.json("status")["unnotified_triggers"]] == ["siem"]
    assert "Trigger siem: its page" in desk.run("status").out
