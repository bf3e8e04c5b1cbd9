"""`standfast check`: each part, each verdict, and its advice."""

import os
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from standfast.config import load
from standfast.config.schema import CONTACT_PLACEHOLDER, NAME_PLACEHOLDER
from standfast.usecases.health import disk_space
from standfast.usecases.playbooks.library import SHIPPED
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer


def verdicts(desk: Desk, part: str) -> list[tuple[str, str]]:
    return [
        (one["verdict"], one["found"])
        for one in desk.json("check")["checks"]
        if one["part"] == part
    ]


def test_a_fresh_place_has_nothing_to_mend(desk: Desk, installation: Path) -> None:
    answer = desk.run("check")
    assert answer.status == 0
    assert desk.json("check")["fail"] == 0
    assert "not write-only" in answer.out
    assert "warn" in [
        verdict for verdict, found in verdicts(desk, "recovery") if "offline" in found
    ]


@pytest.mark.parametrize(
    ("free", "verdict"), [(0, "fail"), (15 << 20, "fail"), (16 << 20, "warn"), (1 << 30, "ok")]
)
def test_unwritable_disk_is_found(
    desk: Desk, installation: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    monkeypatch.setattr(disk_space, "free_at", lambda folder: free)
    told = f"{free >> 20:,} MiB free for ledger, upload cache, drills, evidence"
    ((found, said),) = verdicts(desk, "disks")
    assert found == verdict
    assert said.startswith(told)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner_of_installation_is_named_to_others(desk: Desk, installation: Path) -> None:
    assert verdicts(desk, "user") == []
    os.chown(load(installation / "standfast.toml").backup.host, 65534, 65534)
    answer = desk.run("check")
    assert answer.status == 0
    assert "belongs to the user nobody" in answer.out
    assert "`sudo -u nobody`" in answer.out


def test_placeholders_of_init_are_found(desk: Desk, installation: Path) -> None:
    config_file = installation / "standfast.toml"
    text = config_file.read_text()
    assert "is still a placeholder" not in str(verdicts(desk, "notices"))
    for name, line, told in (
        (NAME_PLACEHOLDER, "020 7946 0000", ["organisation.name"]),
        ("Harbour Calls", CONTACT_PLACEHOLDER, ["organisation.contact_line"]),
        (NAME_PLACEHOLDER, CONTACT_PLACEHOLDER, ["organisation.name", "organisation.contact_line"]),
    ):
        changed = text.replace("Example Contact Centres", name).replace("020 7946 0000", line)
        config_file.write_text(changed)
        warned = [found for verdict, found in verdicts(desk, "notices") if verdict == "warn"]
        assert warned == [
            f"{key} is still a placeholder of `standfast init`: only exercises can plan notices"
            for key in told
        ]


def test_language_without_contact_line_is_found(desk: Desk, installation: Path) -> None:
    config_file = installation / "standfast.toml"
    text = config_file.read_text().replace("Example Contact Centres", "Harbour Calls")
    text = text.replace("[organisation]", '[organisation]\nlanguages = ["en", "es", "fr"]')
    config_file.write_text(text)
    assert ("warn", "no contact line in es, fr") in verdicts(desk, "notices")
    lines = 'contact_lines = { es = "020 7946 0000, cada día", fr = "020 7946 0000, sur la carte" }'
    config_file.write_text(text.replace("[organisation]", f"[organisation]\n{lines}"))
    assert "no contact line in" not in str(verdicts(desk, "notices"))


def test_check_and_preview_agree_on_missing_language(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(text.replace("[organisation]", '[organisation]\nlanguages = ["pl"]'))
    advice = {
        one["what_to_do"]
        for one in desk.json("check")["checks"]
        if str(one["found"]).endswith("has no text in pl")
    }
    assert advice == {"these recipients get en; add the language"}
    assert desk.json("notice", "preview", "customers-all-clear")["language"] == "en"


def test_a_furnished_place_answers_in_every_part(
    desk: Desk, live_installation: Path, scim_server: ScimServer, smtp_server: SmtpServer
) -> None:
    scim_server.create("break-glass")
    report = desk.json("check")
    assert report["fail"] == 0, report
    found = {(one["part"], one["verdict"]): one["found"] for one in report["checks"]}
    assert "responds" in " ".join(text for _, text in verdicts(desk, "accounts"))
    assert ("ok", "agents: 1 protected account exists in that directory") in verdicts(
        desk, "accounts"
    )
    assert "connects and signs in" in found["senders", "ok"]
    assert ("ok", "customers: 3 people can be reached") in verdicts(desk, "audiences")
    assert "copy, hash and seal" in found["evidence", "ok"]
    assert found["people", "ok"] == "3 people may be asked to approve"
    sound = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
    assert found["playbooks", "ok"] == f"valid here: {sound}"
    assert smtp_server.delivered == ()
    assert smtp_server.sessions > 0


def test_unreachable_system_hides_no_other_problem(desk: Desk, quiet_installation: Path) -> None:
    desk.monkeypatch.setenv("SCIM_TOKEN", "a-token")
    report = desk.json("check")
    assert report["exit_status"] == 2
    failed = {one["part"] for one in report["checks"] if one["verdict"] == "fail"}
    assert failed == {"accounts", "senders"}
    advice = {one["what_to_do"] for one in report["checks"] if one["verdict"] == "fail"}
    assert advice == {
        f"check that [{section}] is correct, running, and reachable from here"
        for section in ("accounts.agents", "senders.mail")
    }
    assert ("ok", "staff: 1 person can be reached") in verdicts(desk, "audiences")
    assert "Next: fix the first failure" in desk.run("check").out


def test_a_missing_secret_is_named_by_its_reference(desk: Desk, quiet_installation: Path) -> None:
    (failed,) = [found for verdict, found in verdicts(desk, "accounts") if verdict == "fail"]
    assert "env:SCIM_TOKEN: missing or empty" in failed


def test_a_protected_account_that_is_misspelt_is_noticed(
    desk: Desk, live_installation: Path
) -> None:
    assert (
        "warn",
        "agents: 1 of 1 under [protected.accounts] do not exist in that directory",
    ) in verdicts(desk, "accounts")


def spoil_key_mode(installation: Path) -> None:
    (installation / "keys/ledger/installation.key").chmod(0o644)


def spoil_source(installation: Path) -> None:
    (installation / "recordings").rename(installation / "elsewhere")


def spoil_logs(installation: Path) -> None:
    (installation / "logs").rename(installation / "elsewhere")


def spoil_audience(installation: Path) -> None:
    (installation / "staff.csv").unlink()


def spoil_host_key(installation: Path) -> None:
    (installation / "keys/backup-host/host.json").unlink()


def spoil_evidence_key(installation: Path) -> None:
    (installation / "keys/evidence-seal.key").write_text("no key")


def spoil_playbook(installation: Path) -> None:
    (installation / "own").mkdir()
    (installation / "own/mine.yaml").write_text("playbook: mine\n")
    with (installation / "standfast.toml").open("a") as file:
        file.write('\n[playbooks]\nfolder = "own"\n')


def spoil_services(installation: Path) -> None:
    promise = 'owner = "Operations"\nrto_minutes = 60\nrpo_minutes = 60\n'
    with (installation / "standfast.toml").open("a") as file:
        file.write(f'\n[services.crm]\n{promise}depends_on = ["phones"]\n')
        file.write(f'\n[services.phones]\n{promise}depends_on = ["crm"]\n')


@pytest.mark.parametrize(
    ("spoil", "part", "says"),
    [
        (spoil_services, "services", "in a circle"),
        (spoil_key_mode, "keys", "installation.key is readable by others"),
        (spoil_source, "backup sets", "recordings does not exist or cannot be read"),
        (spoil_logs, "evidence", "none of its paths exists"),
        (spoil_audience, "audiences", "staff: "),
        (spoil_host_key, "backup", "or let the owner make new keys with `backup owner new-epoch`"),
        (spoil_evidence_key, "keys", "not a private key in PEM"),
        (spoil_playbook, "playbooks", "mine.yaml"),
    ],
)
def test_failures_of_the_last_run_fail_the_check(
    spoil: object, part: str, says: str, desk: Desk, quiet_installation: Path
) -> None:
    assert callable(spoil)
    spoil(quiet_installation)
    failed = [found for verdict, found in verdicts(desk, part) if verdict == "fail"]
    assert any(says in found for found in failed), failed


def test_unreachable_row_is_named_by_number_only(desk: Desk, quiet_installation: Path) -> None:
    with (quiet_installation / "staff.csv").open("a") as file:
        file.write("not-an-address,Secret Name,en\n")
    (told,) = [found for verdict, found in verdicts(desk, "audiences") if verdict == "warn"]
    assert "1 row cannot" in told
    assert "row 3" in told
    assert "Secret Name" not in told
    assert "not-an-address" not in told


def test_unreachable_audience_fails_the_check(desk: Desk, quiet_installation: Path) -> None:
    (quiet_installation / "staff.csv").write_text(
        "email,name,language\nnot-an-address,Secret Name,en\n"
    )
    (told,) = [found for verdict, found in verdicts(desk, "audiences") if verdict == "fail"]
    assert "staff: 0 people can be reached, 1 row cannot" in told
    (quiet_installation / "staff.csv").write_text("email,name,language\n")
    assert ("fail", "staff: it is empty") in verdicts(desk, "audiences")


def test_harmless_entries_are_counted_not_shown(desk: Desk, quiet_installation: Path) -> None:
    file = quiet_installation / "standfast.toml"
    text = file.read_text()
    settings = 'path = "staff.csv"\n'
    assert settings in text
    file.write_text(text.replace(settings, f'{settings}suppress = "never.csv"\n'))
    (quiet_installation / "never.csv").write_text(
        "who,why\nsecret@,asked\n4711,asked\nx@x.test,asked\n"
    )
    (told,) = [found for verdict, found in verdicts(desk, "audiences") if verdict == "warn"]
    assert told.startswith("staff: 2 entries of the suppression list")
    assert "secret" not in told
    assert "4711" not in told


def test_letter_sender_reports_a_writable_folder(desk: Desk, quiet_installation: Path) -> None:
    with (quiet_installation / "standfast.toml").open("a") as file:
        file.write('\n[senders.post]\nkind = "letters"\nreturn_address = ["1 Road", "Leeds"]\n')
    folder = quiet_installation / "letters"
    assert ("ok", f"post: {folder} can be written; nothing was written") in verdicts(
        desk, "senders"
    )
    assert not folder.exists()


def test_own_keys_in_a_source_are_found(desk: Desk, installation: Path) -> None:
    """Keys in a backup would make an erased person readable again."""
    config_file = installation / "standfast.toml"
    text = config_file.read_text()
    whole = text.replace(f'path = "{desk.folder / "source"}"', f'path = "{desk.folder}"')
    assert whole != text
    config_file.write_text(whole)
    told = [found for verdict, found in verdicts(desk, "backup sets") if verdict == "warn"]
    assert [found for found in told if "keys/ledger is in it: " in found]
    advice = [
        one["what_to_do"]
        for one in desk.json("check")["checks"]
        if "keys/ledger is in it" in one["found"]
    ]
    patterns = [one.partition('"')[2].partition('"')[0] for one in advice if "exclude" in one]
    assert len(patterns) == 1
    config_file.write_text(
        whole.replace(f'path = "{desk.folder}"', f'path = "{desk.folder}", exclude = {patterns}')
    )
    assert "keys/ledger is in it: " not in str(verdicts(desk, "backup sets"))
    assert desk.run("backup", "run").status == 0
    words = ("--to", desk.folder / "back", "--identity", installation / "offline/identity.txt")
    assert desk.run("backup", "restore", "latest", *words).status == 0
    back = {
        path.relative_to(desk.folder / "back").as_posix()
        for path in (desk.folder / "back").rglob("*")
    }
    assert any(name.endswith("source/note.txt") for name in back)
    assert not any("keys/ledger" in name or "send-log.db" in name for name in back)


def test_missing_key_record_is_found(desk: Desk, installation: Path) -> None:
    def told() -> list[tuple[str, str]]:
        found = verdicts(desk, "recovery")
        return [one for one in found if f"the key store {installation / 'keys/store'}" in one[1]]

    assert told() == []
    (record,) = (installation / "keys/store/k/main/0000000000").iterdir()
    record.chmod(0o600)
    whole = record.read_bytes()
    record.write_bytes(whole[:-1])
    ((verdict, _),) = told()
    assert verdict == "fail"
    record.unlink()
    ((verdict, found),) = told()
    assert (verdict, "main/0" in found) == ("fail", True)


def test_each_missing_host_key_is_named(desk: Desk, installation: Path) -> None:
    seal, keys = installation / "keys/evidence-seal.key", installation / "keys/ledger"
    seal.unlink()
    keys.rename(installation / "elsewhere")
    lost, gone = [found for verdict, found in verdicts(desk, "keys") if verdict == "fail"]
    assert gone == f"{keys} does not exist"
    assert f"evidence key {seal}: cannot be read" in lost
    (installation / "elsewhere").rename(keys)
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    subprocess.run(shlex.split(lost.partition("new one: ")[2]), check=True)
    assert {verdict for verdict, _ in verdicts(desk, "keys")} == {"ok"}


def test_missing_audit_log_is_not_healthy(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(text.replace('paths = ["logs"]', 'paths = ["logs", "gone.log"]'))
    assert [verdict for verdict, found in verdicts(desk, "evidence") if "gone.log" in found] == [
        "warn"
    ]


def test_a_history_that_was_rewritten_is_damage(desk: Desk, installation: Path) -> None:
    desk.run("lock", "alice", "--exercise", "--no-wait")
    with closing(sqlite3.connect(installation / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE audit_event SET actor = 'nobody' WHERE sequence = 2")
    ledger.close()
    assert desk.run("check").status == 6
    answer = desk.run("audit", "verify")
    assert answer.status == 6
    assert "event 2" in answer.out
    assert desk.json("audit", "verify")["is_whole"] is False


def test_truncated_witness_is_found_until_complete_again(desk: Desk, installation: Path) -> None:
    desk.run("lock", "alice", "--exercise", "--no-wait")
    assert desk.run("audit", "verify").status == 0
    (installation / "witness.jsonl").write_bytes(b"")
    answer = desk.run("audit", "verify")
    assert answer.status == 3
    assert "witness.jsonl: " in answer.out
    assert desk.json("audit", "verify")["missing_heads"] > 0
    desk.run("check")
    assert desk.run("audit", "verify").status == 0


def test_other_checks_run_without_ledger(desk: Desk, quiet_installation: Path) -> None:
    for file in quiet_installation.glob("ledger.db*"):
        file.unlink()
    report = desk.json("check")
    assert report["exit_status"] == 2
    assert ("ok", "staff: 1 person can be reached") in verdicts(desk, "audiences")
    ((verdict, found),) = verdicts(desk, "ledger")
    assert (verdict, "ledger.url is right" in found) == ("fail", True)


def test_calendar_names_an_unknown_playbook(desk: Desk, installation: Path) -> None:
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            '[continuity.calendar.rehearsal]\nkind = "exercise"\nsubject = "ransomwear"\n'
            'every_days = 90\nowner = "duty-manager"\n'
        )
    failed = [found for verdict, found in verdicts(desk, "playbooks") if verdict == "fail"]
    assert ["ransomware'?" in found for found in failed] == [True]


def test_drill_identity_with_shared_prefect_is_named(desk: Desk, installation: Path) -> None:
    config_file = installation / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(text.replace("[drills]", '[drills]\nidentity = "file:witness.jsonl"'))
    assert "identity" in config_file.read_text()

    def risks() -> list[bool]:
        return ["drills.identity" in found for _, found in verdicts(desk, "serve")]

    assert not any(risks())
    text = config_file.read_text()
    config_file.write_text(text.replace("[serve]", '[serve]\nprefect = "http://127.0.0.1:9/api"'))
    assert any(risks())


def test_unreachable_prefect_is_no_failure(desk: Desk, installation: Path) -> None:
    text = (installation / "standfast.toml").read_text()
    (installation / "standfast.toml").write_text(
        text.replace("[serve]", '[serve]\nprefect = "http://127.0.0.1:9/api"')
    )
    assert ("warn", True) in [
        (verdict, "incidents run without it" in found) for verdict, found in verdicts(desk, "serve")
    ]
