"""A ledger on PostgreSQL with a read-only user: writes are refused."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import cluster_folder
from tests.usecases.installations import PASSPHRASES, enrol_people

READ_ALL = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}"


@pytest.fixture
def shared_installation(live_installation: Path, desk: Desk, postgres_url: str) -> Path:
    """A complete installation with its ledger in PostgreSQL."""
    config = live_installation / "standfast.toml"
    named = f'[ledger]\nurl = "{postgres_url}"\nwitness = "another.jsonl"\n'
    config.write_text(config.read_text() + named)
    assert desk.run("init", live_installation).status == 0
    with open_installation(config, env={}, actor="os:test") as opened:
        enrol_people(opened)
    return live_installation


def be_auditor(installation: Path, server: Postgres, url: str, desk: Desk, *rights: str) -> None:
    """Set the ledger's address to a user with these rights only."""
    name, password = server.role()
    server.execute(*(right.format(name) for right in rights), database=str(make_url(url).database))
    config = installation / "standfast.toml"
    text = config.read_text().replace("postgres@", f"{name}@")
    config.write_text(text.replace("[ledger]\n", '[ledger]\npassword = "env:LEDGER_PASSWORD"\n'))
    desk.monkeypatch.setenv("LEDGER_PASSWORD", password)


def test_read_only_user_reads_all_and_writes_nothing(
    desk: Desk, shared_installation: Path, postgres_server: Postgres, postgres_url: str
) -> None:
    incident = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    identity = ("--identity", shared_installation / "offline" / "identity.txt")
    assert desk.run("backup", "run").status == 0
    assert desk.run("drill", "run", "main", *identity).status == 0
    reads = [
        ("status",),
        ("audit", "verify"),
        ("audit", "show", incident),
        ("incident", "list"),
        ("incident", "status", incident),
        ("notice", "accounting", incident),
        ("people", "list"),
        ("evidence", "list", incident),
        ("evidence", "verify", incident),
        ("report", incident, "--to", "incident.html"),
        ("backup", "list"),
        ("drill", "list"),
    ]
    by_us = [desk.run(*words).out for words in reads]
    be_auditor(shared_installation, postgres_server, postgres_url, desk, READ_ALL)
    for words, ours in zip(reads, by_us, strict=True):
        answer = desk.run(*words)
        assert answer.out.splitlines()[:1] == ours.splitlines()[:1], (words, answer.err)
    assert desk.run("audit", "export", incident, "--to", "exported").status == 0
    file = shared_installation / "second"
    file.write_text(PASSPHRASES["kim"] + "\n")
    file.chmod(0o600)
    second = ("--second", "kim", "--second-passphrase-file", file)
    for words in (
        ("incident", "stop", incident, *desk.by("dana")),
        ("incident", "close", incident, *desk.by("dana")),
        ("incident", "retry", incident, "lock"),
        ("incident", "open", "leaver", "-i", "accounts=agents:b"),
        ("people", "remove", "lee", *desk.by("dana"), *second),
        ("backup", "keep"),
        ("drill", "run", "main", *identity),
    ):
        answer = desk.run(*words)
        assert (answer.status, "in ledger.url may only read" in answer.err) == (
            2,
            True,
        )
    # Commands that need no ledger succeed, and report that the ledger lacks their record.
    for status, words in (
        (3, ("backup", "run")),
        (3, ("backup", "verify")),
        (0, ("backup", "restore", "latest", *identity, "--to", "restored")),
    ):
        answer = desk.run(*words)
        assert (answer.status, "in ledger.url may only read" in answer.out) == (status, True)


def test_missing_database_right_is_named(
    desk: Desk, shared_installation: Path, postgres_server: Postgres, postgres_url: str
) -> None:
    rights = (READ_ALL, "REVOKE SELECT ON run, audit_event FROM {}")
    be_auditor(shared_installation, postgres_server, postgres_url, desk, *rights)
    for words in (("status",), ("audit", "verify"), ("drill", "list")):
        answer = desk.run(*words)
        assert answer.status == 2, words
        assert "in ledger.url may not read" in answer.err, words
        assert "GRANT SELECT ON ALL TABLES" in answer.err, words


def test_replica_export_uses_the_newest_signed_head(
    desk: Desk, shared_installation: Path, postgres_server: Postgres, postgres_url: str
) -> None:
    incident = desk.json("incident", "open", "leaver", "-i", "accounts=agents:a")["incident"]
    desk.run("check")  # signs a head
    with cluster_folder(postgres_server.programs) as replica:
        replica.follow(postgres_server.url("postgres", driver=""))
        with replica.started():
            config = shared_installation / "standfast.toml"
            elsewhere = make_url(postgres_url).set(query={"host": str(replica.folder)})
            named = elsewhere.render_as_string(hide_password=False)
            config.write_text(config.read_text().replace(postgres_url, named))
            stopped = desk.run("incident", "stop", incident, *desk.by("dana"))
            assert "does not accept writes" in stopped.err, stopped
            assert desk.run("audit", "verify").status == 0
            assert desk.json("audit", "export", incident, "--to", "exported")["unsigned"] == 0
