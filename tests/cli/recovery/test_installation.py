"""Recovery of a lost installation from vault and recovery identity."""

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from backup.stores.directory import DirectoryStore
from backup.stores.s3.store import open_s3
from tests.backup.s3_options import options
from tests.cli.desk import ROOT, Desk
from tests.sampling import sample
from tests.servers.postgres import Postgres
from tests.servers.scim import ScimServer
from tests.servers.seaweedfs import Bucket


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A lost installation, and its parts that are elsewhere."""

    folder: Path
    vault: Path
    offline: Path
    new: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "standfast.toml"

    def words(self, *more: str | Path) -> tuple[str | Path, ...]:
        identity = self.offline / "identity.txt"
        return (
            *("recover", "installation", "--vault", self.vault, "--identity", identity),
            *("--into", self.new, *more),
        )


def prepared(folder: Path, more: str = "") -> Lost:
    """Move the vault and the offline folder; copy the installation nightly."""
    lost = Lost(
        folder=folder,
        vault=folder.parent / "vault",
        offline=folder.parent / "offline",
        new=folder.parent / "new",
    )
    (folder / "vault").rename(lost.vault)
    (folder / "offline").rename(lost.offline)
    text = lost.config_file.read_text()
    if "\n[backup]\n" not in text:
        text += "\n[backup]\n"
    text = text.replace("\n[backup]\n", f'\n[backup]\nvault = "{lost.vault}"\n')
    lost.config_file.write_text(f"{text}\n[backup.installation]\n{more}")
    return lost


@pytest.fixture
def lost(installation: Path) -> Lost:
    """An installation with one set that contains copies of itself."""
    return prepared(installation)


def test_open_incident_continues_after_lost_machine(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    lost = prepared(live_installation)
    agent = scim_server.create("agent01")
    opened = ("incident", "open", "account-takeover", "--input", "accounts=agent01")
    incident = desk.json(*opened, *desk.by("dana"))["incident"]
    assert not scim_server.is_active(agent)
    recording = (lost.folder / "recordings/call.wav").read_bytes()
    assert desk.run("backup", "run").status == 0
    shutil.rmtree(lost.folder)

    recovered = desk.json(*lost.words())
    assert recovered["stopped"] == [incident]
    assert recovered["lacking"] == []
    assert {path["setting"] for path in recovered["paths"]} >= {"audiences.staff.path"}
    desk.use(lost.new / "standfast.toml")
    assert desk.run("audit", "verify").status == 0

    to = desk.folder / "restored"
    identity = lost.offline / "identity.txt"
    assert desk.run("backup", "restore", "latest", "--to", to, "--identity", identity).status == 0
    assert (to / "recordings/call.wav").read_bytes() == recording
    (to / "recordings").rename(lost.new / "recordings")

    assert desk.run("incident", "resume", incident, *desk.by("lee"), "--no-wait").status in (0, 5)
    assert desk.run("incident", "undo", incident, "--all", *desk.by("dana")).status == 5
    steps = desk.json("incident", "status", incident)["steps"]
    (digest,) = [step["digest"] for step in steps if step["step"] == "undo-1"]
    approval = ("incident", "approve", incident, "undo-1", "--digest", digest)
    assert desk.run(*approval, *desk.by("lee")).status == 5
    assert scim_server.is_active(agent)

    assert desk.run("backup", "run").status == 0
    assert len(desk.json("backup", "list", "--set", "main")["points"]) == 2
    assert desk.run("audit", "verify").status == 0


def test_custodian_and_drill_keys_are_not_copied(desk: Desk, lost: Lost) -> None:
    (lost.folder / "keys/custodian.txt").write_bytes((lost.offline / "identity.txt").read_bytes())
    assert desk.run("backup", "run", "installation").status == 0
    shutil.rmtree(lost.folder)
    assert desk.run(*lost.words()).status == 0
    content = b"".join(path.read_bytes() for path in lost.new.rglob("*") if path.is_file())
    assert b"AGE-SECRET-KEY" not in content
    assert not (lost.new / ".recovery").exists()


def test_key_of_closed_incident_is_not_copied(desk: Desk, quiet_installation: Path) -> None:
    lost = prepared(quiet_installation)
    arguments = ("incident", "open", "account-takeover", "--exercise", "-i", "accounts=agents:a")
    closed, still_open = (desk.json(*arguments)["incident"] for _ in range(2))
    assert desk.run("incident", "close", closed).status == 0
    assert desk.run("backup", "run", "installation").status == 0
    shutil.rmtree(lost.folder)
    assert desk.run(*lost.words()).status == 0
    names = {path.stem for path in (lost.new / "keys/ledger").iterdir()}
    assert names == {"installation", still_open}


def test_ledger_older_than_witness_waits_for_person(desk: Desk, lost: Lost) -> None:
    witness = desk.folder / "elsewhere/witness.jsonl"
    text = lost.config_file.read_text()
    lost.config_file.write_text(
        text.replace("\n[ledger]\n", f'\n[ledger]\nwitness = "{witness}"\n')
    )
    assert desk.run("backup", "run").status == 0
    assert desk.run("backup", "run", "main").status == 0, "the witness sees more than the copy"
    shutil.rmtree(lost.folder)

    refused = desk.run(*lost.words())
    assert refused.status == 6
    assert "rename the witness" in refused.err
    witness.rename(witness.with_name("before.jsonl"))
    assert desk.run(*lost.words()).status == 0
    desk.use(lost.new / "standfast.toml")
    assert desk.run("audit", "verify").status == 0


def test_parts_elsewhere_move_into_new_folder(desk: Desk, lost: Lost) -> None:
    elsewhere = desk.folder / "etc"
    (lost.folder / "keys/ledger").rename(elsewhere)
    text = lost.config_file.read_text()
    lost.config_file.write_text(text.replace("\n[ledger]\n", f'\n[ledger]\nkeys = "{elsewhere}"\n'))
    assert desk.run("backup", "run", "installation").status == 0
    shutil.rmtree(lost.folder)
    shutil.rmtree(elsewhere)
    moved = desk.folder / "moved"
    lost.vault.rename(moved)

    words = [moved if word == lost.vault else word for word in lost.words()]
    assert set(desk.json(*words)["changed"]) == {"ledger.keys", "backup.vault"}
    settings = tomllib.loads((lost.new / "standfast.toml").read_text())
    assert settings["ledger"]["keys"] == "keys/ledger"
    assert settings["backup"]["vault"] == str(moved)
    desk.use(lost.new / "standfast.toml")
    assert desk.run("audit", "verify").status == 0
    assert not elsewhere.exists()


def test_secrets_to_set_are_named(desk: Desk, lost: Lost) -> None:
    with lost.config_file.open("a") as file:
        file.write('[accounts.agents]\nkind = "scim"\nurl = "http://127.0.0.1:9/v2"\n')
        file.write('token = "env:SCIM_TOKEN_OF_NOBODY"\n')
    assert desk.run("backup", "run", "installation").status == 0
    shutil.rmtree(lost.folder)
    recovered = desk.json(*lost.words())
    expected = {"setting": "accounts.agents.token", "reference": "env:SCIM_TOKEN_OF_NOBODY"}
    assert recovered["secrets"] == [expected]


def test_earlier_copy_is_chosen_by_time(desk: Desk, lost: Lost) -> None:
    assert desk.run("backup", "run", "installation").status == 0
    assert desk.run("backup", "run", "installation").status == 0
    first, second = desk.json("backup", "list", "--set", "installation")["points"]
    shutil.rmtree(lost.folder)
    assert desk.json(*lost.words("--at", first["at"]))["point"] == first["point"]
    shutil.rmtree(lost.new)
    assert desk.json(*lost.words())["point"] == second["point"]


def test_recovery_refuses_what_it_cannot_use(desk: Desk, lost: Lost) -> None:
    assert desk.run(*lost.words()).status == 2, "the vault has no copy yet"
    desk.monkeypatch.delenv("STANDFAST_CONFIG")
    unnamed = desk.run("recover", "installation", *lost.words()[4:])
    assert (unnamed.status, "--vault" in unnamed.err) == (2, True)
    desk.use(lost.config_file)
    assert desk.run("backup", "run", "installation").status == 0
    assert desk.run(*lost.words("--at", "2020-01-01T00:00Z")).status == 2
    assert desk.run(*lost.words("--host", "host-9")).status == 2
    other = desk.folder / "other.txt"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    stranger = [other if word == lost.offline / "identity.txt" else word for word in lost.words()]
    assert desk.run(*stranger, "--keys", lost.offline).status == 2
    assert not (lost.new / "standfast.toml").exists()
    (lost.new / "file").write_text("of somebody")
    assert desk.run(*lost.words()).status == 4


BUCKET = """
[organisation]
name = "Example"
contact_line = "020 7946 0000"

[backup.s3]
bucket = "{bucket}"
endpoint_url = "{url}"
access_key_id = "env:READER_ID"
secret_access_key = "env:READER_SECRET"
"""


def test_vault_in_bucket_needs_small_configuration(
    desk: Desk, lost: Lost, s3_bucket: Bucket
) -> None:
    assert desk.run("backup", "run", "installation").status == 0
    shutil.rmtree(lost.folder)
    folder, bucket = DirectoryStore(lost.vault), open_s3(options(s3_bucket, s3_bucket.admin))
    for stat in folder.list(""):
        bucket.put(stat.name, folder.get(stat.name))
    config_file = desk.folder / "bucket.toml"
    config_file.write_text(BUCKET.format(bucket=s3_bucket.name, url=s3_bucket.server.url))
    reader = s3_bucket.key("reader")
    desk.monkeypatch.setenv("READER_ID", reader.access_key)
    desk.monkeypatch.setenv("READER_SECRET", reader.secret_key)

    identity = lost.offline / "identity.txt"
    words = ("--identity", identity, "--into", lost.new, "-c", config_file)
    assert desk.run("recover", "installation", *words).status == 0
    desk.use(lost.new / "standfast.toml")
    assert desk.run("audit", "verify").status == 0


@pytest.mark.xdist_group("databases")
def test_ledger_on_lost_server_is_restored(
    desk: Desk, installation: Path, postgres_server: Postgres
) -> None:
    lost = prepared(installation, f'programs = "{postgres_server.programs}"\n')
    with postgres_server.database() as database:
        text = lost.config_file.read_text()
        ledger = f'\n[ledger]\nurl = "{postgres_server.url(database)}"\nwitness = "w.jsonl"\n'
        lost.config_file.write_text(text.replace("\n[ledger]\n", ledger))
        assert desk.run("init", lost.folder).status == 0
        assert desk.run("backup", "run").status == 0
        shutil.rmtree(lost.folder)
        postgres_server.execute(f"DROP DATABASE {database} WITH (FORCE)")
        postgres_server.execute(f"CREATE DATABASE {database} TEMPLATE template0")

        recovered = desk.json(*lost.words())
        assert recovered["is_ledger_on_server"]
        assert recovered["lacking"] == []
        desk.use(lost.new / "standfast.toml")
        address = postgres_server.url(database, driver="")
        desk.monkeypatch.setenv("LEDGER_ADDRESS", address)
        restored = desk.run(
            *("backup", "restore", recovered["point"], "--set", "installation"),
            *("--into", "env:LEDGER_ADDRESS", "--identity", lost.offline / "identity.txt"),
        )
        assert restored.status == 0, restored
        assert desk.run("audit", "verify").status == 3, "the new witness has no head yet"
        assert desk.run("backup", "run", "installation").status == 0


_KILLED = """
import os, signal, sys
from standfast.cli import main
remaining = int(os.environ["KILL_AT"])
def count(event, _arguments):
    global remaining
    if event in ("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "sqlite3.connect"):
        remaining -= 1
        if remaining < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
sys.exit(main())
"""


def test_killed_recovery_is_completed_by_rerun(desk: Desk, lost: Lost) -> None:
    assert desk.run("backup", "run").status == 0
    shutil.rmtree(lost.folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for step in sample(range(1000), "recovery of an installation"):
        shutil.rmtree(lost.new, ignore_errors=True)
        killed = subprocess.run(
            [sys.executable, "-c", _KILLED, *map(str, lost.words())],
            env={**environment, "KILL_AT": str(step)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
        if not (lost.new / "standfast.toml").exists() or (lost.new / ".recovery").exists():
            assert desk.run(*lost.words()).status == 0, step
        desk.use(lost.new / "standfast.toml")
        assert desk.run("audit", "verify").status == 0, step
    assert 16 < step < 900, "the recovery was killed at several steps and ended"
