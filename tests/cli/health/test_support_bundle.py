"""The support bundle shows faults, and none of the planted values."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from standfast.records import Mode
from standfast.usecases.incidents.lifecycle import open_incident
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk
from tests.usecases.installations import enrol_people, furnish

# Values that are planted in one place each; none may be in the bundle.
SECRETS = {"SCIM_TOKEN": "parrot-token-f00d", "MAIL_PASSWORD": "parrot-password-beef"}
CONTACT = "020 7946 0999, ask for Parrot Contact"
OWNER = "Parrot Owner"
ACCOUNT = "agents:parrot.account"
PROTECTED = "agents:parrot-protected"
PROBLEM = "parrot@example.net, 4111 1111 1111 1111"
LOGGED = "parrot-in-the-log"
PLANTED = ("parrot", "7946", "dana", "Dana", "lee@", "1111 1111 1111")
SETTINGS = f"""
"{PROTECTED}" = "Parrot Reason"

[services.desk]
owner = "{OWNER}"
rto_minutes = 60
rpo_minutes = 240
sets = ["crm"]

[[backup.sets.crm.sources]]
kind = "files"
name = "logs"
path = "logs/parrot-folder"
exclude = ["parrot-*.tmp"]

[senders.relay]
kind = "smtp"
host = "parrot.example.com"
username = "parrot-user"
password = "env:MAIL_PASSWORD"
sender_address = "parrot@example.com"
"""


@pytest.fixture
def config_file(tmp_path: Path, desk: Desk) -> Path:
    """An installation with a recognisable value in each field."""
    file = furnish(tmp_path)
    text = file.read_text().replace("020 7946 0000, the number on your card", CONTACT)
    file.write_text(text + SETTINGS)
    for name, value in SECRETS.items():
        desk.monkeypatch.setenv(name, value)
    desk.use(file)
    with open_installation(file, env=SECRETS, actor="os:test") as installation:
        enrol_people(installation)
        open_incident(
            installation,
            "lock",
            {"accounts": [ACCOUNT], "reason": "parrot reason"},
            mode=Mode.LIVE,
            opened_by="dana",
        )
        runs, now = installation.ledger.runs, installation.clock()
        token = runs.start("backup", "crm", "direct", "os:parrot", now)
        runs.finish(token, "backup", "failed", {"problem": PROBLEM, "files": 7}, "os:test", now)
    return file


def written(desk: Desk, *words: str) -> tuple[str, Any]:
    file = desk.folder / "support.json"
    answer = desk.run("doctor", "--to", file, *words)
    assert answer.status == 0, answer.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    return text, json.loads(text)


def assert_is_harmless(text: str, folder: Path) -> None:
    for hidden in (*PLANTED, *SECRETS.values(), str(folder)):
        assert hidden.casefold() not in text.casefold()


@pytest.mark.usefixtures("config_file")
def test_bundle_has_no_planted_value(desk: Desk, tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    line = {"time": "2026-01-02T03:04:05Z", "level": "warning", "logger": "standfast.serve"}
    lines = [json.dumps({**line, "event": "trigger %s: %s", "message": LOGGED}), LOGGED, "{}"]
    log.write_text("\n".join(lines))
    text, bundle = written(desk, "--log", str(log))
    assert_is_harmless(text, tmp_path)
    assert bundle["log"] == {"events": [{**line, "event": "trigger %s: %s"}], "other_lines": 2}


@pytest.mark.usefixtures("config_file")
def test_bundle_shows_what_support_needs(desk: Desk) -> None:
    _, bundle = written(desk)
    settings = bundle["configuration"]
    assert settings["services"]["desk"]["rto_minutes"] == 60
    assert settings["senders"]["relay"]["kind"] == "smtp"
    assert settings["senders"]["relay"]["password"] == "[env reference]"
    assert settings["backup"]["sets"]["crm"]["schedule"] == "30 2 * * *"
    assert bundle["versions"]["packages"]["prefect"]
    assert {check["part"] for check in bundle["checks"]} >= {"ledger", "accounts", "triggers"}
    ledger = bundle["ledger"]
    assert ledger["open_incidents"] == {"live": 1}
    assert ledger["rows"]["person"] == 3
    (problem,) = ledger["last_problems"]
    assert (problem["kind"], problem["subject"]) == ("backup", "crm")
    assert problem["counts"] == {"files": 7}


@pytest.mark.parametrize("damage", ["configuration", "ledger"])
def test_bundle_of_a_broken_installation(desk: Desk, config_file: Path, damage: str) -> None:
    if damage == "configuration":
        config_file.write_text(config_file.read_text() + f'\nunknown = "{LOGGED}"\n')
    else:
        (config_file.parent / "ledger.db").write_bytes(b"parrot" * 1000)
    text, bundle = written(desk)
    assert bundle[f"{damage}_problem"]
    assert_is_harmless(text, config_file.parent)


@pytest.mark.usefixtures("config_file")
def test_existing_file_is_kept(desk: Desk) -> None:
    file = desk.folder / "support.json"
    file.write_text("mine")
    assert desk.run("doctor", "--to", file).status == 1
    assert file.read_text() == "mine"
