"""Playbooks, notices, evidence and the timeline, printed for people."""

import shutil
from pathlib import Path

from markupsafe import escape

from standfast.adapters.evidence_sources import Custody
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk
from tests.ledger.auditor import copy_to_read
from tests.usecases.installations import PASSPHRASES


def test_playbooks_and_notices_are_read_without_any_place(desk: Desk) -> None:
    listed = {one["playbook"] for one in desk.json("playbook", "list")["playbooks"]}
    assert {"account-takeover", "leaver", "lock"} <= listed
    shown = desk.run("playbook", "show", "account-takeover")
    assert shown.status == 0
    assert "Use it when:" in shown.out
    assert desk.json("playbook", "check", "account-takeover")["is_sound"] is True
    notices = {one["notice"] for one in desk.json("notice", "list")["notices"]}
    assert "staff-heads-up" in notices


def test_missing_named_configuration_is_an_error(desk: Desk) -> None:
    assert desk.run("playbook", "list", "-c", "missing.toml").status == 2


def test_playbook_with_unknown_name_is_reported_by_line(desk: Desk, installation: Path) -> None:
    answer = desk.run("playbook", "check", "account-takeover")
    assert answer.status == 2
    assert "there is no audience `staff`" in answer.err
    (first, *_) = desk.json("playbook", "check", "account-takeover")["problems"]
    assert first["line"] > 1
    assert first["file"].endswith("account-takeover.yaml")


def test_mistakes_of_all_files_are_reported_together(desk: Desk) -> None:
    (desk.folder / "one.yaml").write_text("playbook: one\nversion: 1\ntitle: O\nuse_when: N.\n")
    two = "playbook: two\nversion: x\ntitle: T\nuse_when: N.\nsteps: {a: {title: A, do: lock}}\n"
    (desk.folder / "two.yaml").write_text(two)
    words = ("playbook", "check", "./one.yaml", "lock", "./two.yaml", "./none.yaml")
    assert desk.run(*words).status == 2
    told = [(Path(one["file"]).name, one["line"]) for one in desk.json(*words)["problems"]]
    assert told == [("one.yaml", 1), ("two.yaml", 2), ("two.yaml", 5), ("none.yaml", 0)]
    sound = desk.json("playbook", "check", "lock", "leaver")["playbooks"]
    assert [one["playbook"] for one in sound] == ["lock", "leaver"]


def test_a_playbook_is_drawn_and_written_for_paper(desk: Desk) -> None:
    assert "○─" in desk.run("playbook", "show", "ransomware").out
    assert desk.run("playbook", "show", "lock", "--svg", "lock.svg").status == 0
    assert (desk.folder / "lock.svg").read_text().startswith("<svg ")
    pages = desk.json("playbook", "page", "lock", "leaver", "--to", "paper")["pages"]
    assert [Path(one).name for one in pages] == ["lock.html", "leaver.html"]
    assert "Whom to call" in (desk.folder / "paper/lock.html").read_text()


def test_a_playbook_is_checked_by_its_file(desk: Desk) -> None:
    (desk.folder / "mine.yaml").write_text(
        "playbook: mine\nversion: 1\ntitle: Mine\nuse_when: Now.\n"
        "steps:\n  look: {title: Look, manual: Look around.}\n"
    )
    assert desk.run("playbook", "check", "mine.yaml").status == 0
    assert "Look around." in desk.run("playbook", "show", "mine.yaml").out
    missing = desk.run("playbook", "check", "./missing.yaml")
    assert missing.status == 2
    assert "missing.yaml" in missing.err
    assert "No such file" in missing.err
    assert "name a file with its ending" in desk.run("playbook", "show", "mine").err


def test_broken_playbook_hides_no_other(desk: Desk, quiet_installation: Path) -> None:
    (quiet_installation / "own").mkdir()
    own = (
        "playbook: mine\nversion: 1\ntitle: T\nuse_when: Now.\nsteps: {a: {title: A, manual: A}}\n"
    )
    (quiet_installation / "own/ours.yaml").write_text(own)
    (quiet_installation / "own/broken.yaml").write_text("playbook: [\n")
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "own"\n')
    answer = desk.run("playbook", "list")
    assert answer.status == 2
    listed = {line.split()[0] for line in answer.out.splitlines()}
    assert {"ours", "ransomware"} <= listed
    assert "broken.yaml:2: this is not YAML" in answer.err
    assert desk.json("playbook", "list")["problems"][0]["line"] == 2


def test_unreadable_playbook_hides_no_other(desk: Desk, quiet_installation: Path) -> None:
    (quiet_installation / "own").mkdir()
    (quiet_installation / "own/.#lock.yaml").symlink_to("somebody@desk.123:456")
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "own"\n')
    assert desk.run("playbook", "list").status == 0
    assert ".#lock" not in desk.run("incident", "plan", "nope").err
    (quiet_installation / "own/gone.yaml").symlink_to("nowhere")
    (quiet_installation / "own/folder.yaml").mkdir()
    answer = desk.run("playbook", "list")
    assert answer.status == 2
    assert "ransomware" in answer.out
    assert "folder.yaml: cannot be read: Is a directory" in answer.err
    assert "gone.yaml: cannot be read: No such file or directory" in answer.err


def test_preview_shows_the_message_of_one_person(desk: Desk) -> None:
    english = desk.json("notice", "preview", "staff-heads-up")
    spanish = desk.json("notice", "preview", "staff-heads-up", "--lang", "es")
    assert (english["language"], spanish["language"]) == ("en", "es")
    assert english["text"] != spanish["text"]
    answer = desk.run("notice", "preview", "staff-heads-up", "--html", "out.html")
    assert answer.out.startswith("Subject: ")
    page = (desk.folder / "out.html").read_text()
    for language in ("de", "en", "es", "fr"):
        message = english["languages"][language]
        assert escape(message["subject"]) in page
        assert escape(message["text"]) in page
        assert f'srcdoc="{escape(message["html"])}"' in page
    assert page.count("<iframe sandbox ") == 4
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_failed_preview_lists_the_available_notices(desk: Desk) -> None:
    assert "staff-heads-up" in desk.run("notice", "preview", "hello").err
    answer = desk.run("notice", "preview", "staff-heads-up", "--lang", "xx")
    assert (answer.status, "Choose one of de, en, es, fr" in answer.err) == (2, True)
    (desk.folder / "no").touch()
    unwritable = desk.run("notice", "preview", "staff-heads-up", "--html", "no/where.html")
    assert (unwritable.status, "cannot be written" in unwritable.err) == (1, True)


def test_damaged_evidence_is_named(desk: Desk, live_installation: Path) -> None:
    assert desk.run("evidence", "list").out == "No evidence was frozen yet.\n"
    incident_id = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    assert "1 file frozen" in desk.run("incident", "status", incident_id, "--targets").out
    (one,) = desk.json("evidence", "list", incident_id)["evidence"]
    assert (one["source"], one["files"], one["problems"]) == ("telephony", 1, [])
    assert f"clock {one['clock']}" in desk.run("evidence", "list").out
    assert one["clock"].split()[-1] in ("unknown", "slow", "fast")
    assert desk.run("evidence", "verify", incident_id).status == 0
    (copy,) = Path(one["folder"]).rglob("sign-in.log")
    copy.chmod(0o600)
    copy.write_text("agent02 signed in\n")
    answer = desk.run("evidence", "verify", incident_id)
    assert answer.status == 6
    assert "sign-in.log: its content is not what was collected" in answer.out
    (Path(one["folder"]) / "seal.dsse.json").unlink()
    assert desk.json("evidence", "verify", incident_id)["is_whole"] is False
    assert desk.run("evidence", "verify", "inc-2020-0001").status == 2


def test_evidence_export_is_masked_without_a_reason(desk: Desk, live_installation: Path) -> None:
    (live_installation / "logs/sign-in.log").write_text("agent01 took 4111 1111 1111 1111\n")
    incident_id = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    export = ("evidence", "export", incident_id, "--to")
    for words in (["--unmasked"], ["--reason", "court order"]):
        answer = desk.run(*export, "no", *words)
        assert (answer.status, "--reason TEXT" in answer.err) == (2, True)
    answer = desk.run(*export, "masked")
    assert (answer.status, answer.out.split(":")[:2]) == (
        0,
        [
            "1 file, masked",
            " 1 card number, 0 social-security numbers, 0 mail addresses",
        ],
    )
    (copy,) = Path("masked").rglob("*sign-in.log")
    assert copy.read_text().endswith("took **** **** **** 1111\n")
    document = desk.json(*export, "clear", "--unmasked", "--reason", "court order")
    assert (document["is_masked"], document["masked"], document["files"]) == (False, None, 1)
    (copy,) = Path("clear").rglob("sign-in.log")
    assert "4111 1111 1111 1111" in copy.read_text()
    assert "reason=court order" in desk.run("audit", "show", incident_id).out
    assert "exists already" in desk.run(*export, "clear").err


def test_evidence_of_unknown_incident_is_an_error(desk: Desk, live_installation: Path) -> None:
    incident_id = desk.json("lock", "alice", "--exercise")["incident"]
    assert (
        desk.run("evidence", "list", incident_id).out
        == f"No evidence was frozen for {incident_id} yet.\n"
    )
    answer = desk.run("evidence", "list", "inc-2020-0001")
    assert (answer.status, "incident 'inc-2020-0001': unknown" in answer.err) == (2, True)


def test_uncountable_evidence_is_not_complete(desk: Desk, live_installation: Path) -> None:
    incident_id = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    (one,) = desk.json("evidence", "list", incident_id)["evidence"]
    (live_installation / "ledger.db").rename(live_installation / "away.db")
    answer = desk.run("evidence", "verify", incident_id)
    assert answer.status == 3
    assert "whether a folder is missing: " in answer.out
    assert desk.json("evidence", "verify", incident_id)["exit_status"] == 3
    listed = desk.run("evidence", "list")
    assert (listed.status, "is missing: " in listed.out) == (3, True)
    shutil.rmtree(one["folder"])
    for word in ("verify", "list"):
        gone = desk.run("evidence", word, incident_id)
        assert (gone.status, "missing" in gone.err) == (2, True)


def test_missing_or_resealed_evidence_is_not_complete(desk: Desk, live_installation: Path) -> None:
    incident_id = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    (one,) = desk.json("evidence", "list", incident_id)["evidence"]
    shutil.rmtree(one["folder"])
    answer = desk.run("evidence", "verify", incident_id)
    assert answer.status == 6
    assert f"{one['folder']}: DAMAGED\n  missing, although the ledger" in answer.out
    for words in (["list"], ["list", incident_id]):
        answer = desk.run("evidence", *words)
        assert answer.status == 6
        assert f"{one['folder']}: missing, although the ledger" in answer.out
        (listed,) = desk.json("evidence", *words)["evidence"]
        assert listed["folder"] == one["folder"]
    answer = desk.run("evidence", "export", incident_id, "--to", "handed")
    assert (answer.status, "missing. Run `standfast evidence verify" in answer.err) == (6, True)
    assert not (desk.folder / "handed").exists()
    # Root on this machine has the key and could freeze the evidence again unnoticed.
    with open_installation(
        live_installation / "standfast.toml", env={}, actor="os:test"
    ) as installation:
        (row,) = installation.ledger.effects.frozen(incident_id)
        adapters = installation.adapters_for(installation.ledger.incidents.get(incident_id))
        folder = live_installation / "evidence" / incident_id
        custody = Custody(incident=incident_id, collector="x", reason="x", folder=folder)
        adapters.source(row.connector).collect(row.as_order(), custody)
    answer = desk.run("evidence", "verify", incident_id)
    assert (answer.status, "not the folder that the ledger records" in answer.out) == (6, True)
    (live_installation / "ledger.db").unlink()
    answer = desk.run("evidence", "verify", incident_id)
    assert answer.status == 3
    assert "whether a folder is missing: " in answer.out


def test_report_of_incident_or_installation_is_one_page(
    desk: Desk, quiet_installation: Path
) -> None:
    incident_id = desk.json("lock", "alice", "--exercise")["incident"]
    assert desk.run("report", incident_id).status == 0
    assert "Lock accounts" in (desk.folder / f"{incident_id}.html").read_text()
    assert desk.run("report", "--to", "all.html").status == 0
    assert incident_id in (desk.folder / "all.html").read_text()
    assert desk.run("report", "inc-2000-0001").status == 2
    assert not (desk.folder / "inc-2000-0001.html").exists()
    unwritable = desk.run("report", "--to", "all.html/page.html")
    assert (unwritable.status, "all.html" in unwritable.err) == (1, True)


def test_timeline_is_filtered_by_subject(desk: Desk, quiet_installation: Path) -> None:
    incident_id = desk.json("lock", "alice", "--exercise")["incident"]
    events = desk.json("audit", "show")["events"]
    own = desk.json("audit", "show", incident_id)["events"]
    assert [one["sequence"] for one in events] == list(range(1, len(events) + 1))
    assert own == [one for one in events if one["subject"] == incident_id]
    assert "alice" not in desk.run("audit", "show").out


def test_unknown_timeline_subject_suggests_a_similar_one(
    desk: Desk, quiet_installation: Path
) -> None:
    opened = desk.json("lock", "alice", "--exercise")["incident"]
    for mistyped in (opened.replace("-000", "-00"), opened.removeprefix("inc-"), opened[:-1]):
        answer = desk.run("audit", "show", mistyped)
        assert (answer.status, answer.out) == (2, ""), mistyped
        assert f"subject {mistyped!r}: no event" in answer.err
        assert f"did you mean {opened!r}?" in answer.err
    assert "shows all" in desk.run("audit", "show", "nothing-like-it").err


def test_timeline_of_a_person_has_their_acts(desk: Desk, quiet_installation: Path) -> None:
    desk.sign_in_with(PASSPHRASES["dana"])
    opened = desk.json("incident", "open", "lock", "-i", "accounts=a", "--exercise", "--as", "dana")
    shown = desk.json("audit", "show", "dana")["events"]
    told = [(one["actor"], one["subject"], one["action"]) for one in shown]
    assert ("os:test", "dana", "person.enrolled") in told
    assert ("dana", opened["incident"], "incident.opened") in told
    assert all("dana" in (actor, subject) for actor, subject, _ in told)


def test_missing_demo_says_where_to_get_it(desk: Desk) -> None:
    desk.monkeypatch.setitem(__import__("sys").modules, "demo.tour", None)
    answer = desk.run("demo")
    assert (answer.status, "make demo" in answer.err) == (2, True)


def test_unreadable_or_clickable_notice_is_reported(desk: Desk, installation: Path) -> None:
    own = desk.folder / "own/hard"
    (own / "en").mkdir(parents=True)
    (own / "context.toml").write_text('description = "Hard to read."\n')
    (own / "en/subject.txt").write_text("News\n")
    hard = "Notwithstanding comprehensive precautions, perpetrators circumvented authentication."
    (own / "en/body.txt").write_text(f"{hard}\nClick here.\n")
    config = installation / "standfast.toml"
    config.write_text(config.read_text().replace("[notices]", '[notices]\ntemplates = "../own"'))
    answer = desk.run("notice", "check", "hard", "staff-heads-up")
    assert answer.status == 1
    assert "hard: en: Automated Readability Index is" in answer.out
    assert f"the hardest sentence: {hard}" in answer.out
    assert "hard: en/body.txt: 'Click here' asks for a click: " in answer.out
    assert answer.out.endswith("2 notices checked; 1 to improve.\n")
    document = desk.json("notice", "check", "hard")
    assert document["is_good"] is False
    assert document["exit_status"] == 1
    (notice,) = document["notices"]
    assert [one["file"] for one in notice["banned"]] == ["en/body.txt"]
    assert notice["languages"][0]["hardest_sentence"] == hard
    assert float(notice["languages"][0]["score"]) > float(notice["languages"][0]["limit"])
    assert desk.run("notice", "check", "nothing").status == 2


def test_auditor_reads_a_read_only_copy(desk: Desk, live_installation: Path) -> None:
    incident_id = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    reads = [
        ("status",),
        ("audit", "verify"),
        ("audit", "show", incident_id),
        ("incident", "list"),
        ("incident", "status", incident_id),
        ("notice", "accounting", incident_id),
        ("people", "list"),
        ("evidence", "list", incident_id),
        ("evidence", "verify", incident_id),
        ("report", incident_id, "--to", "incident.html"),
        ("audit", "export", incident_id, "--to", "exported"),
    ]
    assert desk.run("backup", "run").status == 0
    by_us = [desk.run(*words).status for words in reads]
    with copy_to_read(live_installation) as copy:
        desk.use(copy / "standfast.toml")
        desk.monkeypatch.chdir(copy.parent)
        by_an_auditor = [desk.run(*words) for words in reads]
        stopped = desk.run("incident", "stop", incident_id, *desk.by("dana"))
        backed_up = desk.run("backup", "run")
    assert [answer.status for answer in by_an_auditor] == by_us, by_an_auditor
    assert (stopped.status, "read-only for this user" in stopped.err) == (2, True)
    assert backed_up.status != 0
    assert "backup: it must be recorded" in backed_up.out + backed_up.err


def test_unsigned_events_are_counted_in_audit_export(desk: Desk, live_installation: Path) -> None:
    incident_id = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    with open_installation(live_installation / "standfast.toml", env={}, actor="os:test") as opened:
        opened.ledger.incidents.set_stopped(incident_id, True, "os:test", opened.clock())
    with copy_to_read(live_installation) as copy:
        desk.use(copy / "standfast.toml")
        desk.monkeypatch.chdir(copy.parent)
        answer = desk.run("audit", "export", incident_id, "--to", "exported")
        events = Path("exported/timeline.jsonl").read_text().count('{"event"')
        assert desk.json("audit", "export", incident_id, "--to", "again")["unsigned"] == 1
    assert (answer.status, "MISSING: 1 newer event" in answer.out) == (3, True)
    assert events > 1
