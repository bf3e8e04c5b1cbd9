"""A desk to type commands at: `main` in this process or in another one."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from standfast.cli import main
from standfast.cli.app import app
from standfast.cli.parsing.commands import Command
from standfast.errors import ExitStatus
from tests.usecases.installations import PASSPHRASES

ROOT = Path(__file__).parents[2]
_OF_A_SIGNAL = 128
ENTRY = (
    "import sys; from standfast.cli import main; sys.exit(main())"  # as the installed script does
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Output and exit status of a command."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return the one JSON document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A shell for commands; its environment names the installation."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *words: str | Path) -> Answer:
        """Type a command in this process."""
        self.capture.readouterr()
        status = main([str(word) for word in words])
        said = self.capture.readouterr()
        assert _may_end([str(word) for word in words], status), (status, words, said.err)
        return Answer(status=status, out=said.out, err=said.err)

    def json(self, *words: str | Path) -> Any:
        """Run a command with --json; return its document after checking status."""
        answer = self.run(*words, "--json")
        document = answer.document
        assert document.get("exit_status", answer.status) == answer.status
        return document

    def asked(self) -> str:
        """Return the digest of the step that waits for approval."""
        (digest,) = filter(
            None, [step["digest"] for step in self.json("incident", "status")["steps"]]
        )
        return str(digest)

    def use(self, config_file: Path) -> None:
        """Use this installation for every later command."""
        self.monkeypatch.setenv("STANDFAST_CONFIG", str(config_file))

    def by(self, person: str) -> tuple[str, str]:
        """Sign in as one of PASSPHRASES; return the option that names the person."""
        self.sign_in_with(PASSPHRASES[person])
        return ("--as", person)

    def sign_in_with(self, passphrase: str) -> None:
        """Use this passphrase for every later command."""
        self.monkeypatch.setenv("STANDFAST_PASSPHRASE", passphrase)


def _may_end(words: list[str], status: int) -> bool:
    """Return whether the help lists this status, or a signal caused it."""
    if status > _OF_A_SIGNAL or "--version" in words:
        return True
    at: click.Command = app
    for word in words:
        found = at.get_command(click.Context(at), word) if isinstance(at, click.Group) else None
        at = found or at
    if isinstance(at, Command):
        return status in at.exits
    return status in (ExitStatus.DONE, ExitStatus.USAGE)


def run_apart(*words: str | Path, env: Mapping[str, str] | None = None, cwd: Path) -> Answer:
    """Run the entry point in its own process, with an empty standard input."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("STANDFAST_")}
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env={**plain, "PYTHONPATH": str(ROOT), **(env or {})},
        check=False,
        timeout=300,
    )
    return Answer(status=done.returncode, out=done.stdout, err=done.stderr)


_SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000, the number on your card"

[backup.sets.main]
sources = [{{ kind = "files", name = "recordings", path = "recordings" }}]

[accounts.agents]
kind = "scim"
url = "{scim_url}"
token = "env:SCIM_TOKEN"
timeout_seconds = 5

[evidence.telephony]
kind = "files"
paths = ["logs"]

[senders.mail]
kind = "smtp"
host = "127.0.0.1"
port = {smtp_port}
security = "none"
sender_address = "security@example.com"
timeout_seconds = 5

[audiences.staff]
kind = "csv"
path = "staff.csv"
why = "works here"

[audiences.customers]
kind = "sqlite"
path = "crm.db"
query = "SELECT email AS address, name FROM customers ORDER BY id"
why = "their record was open"

[notices]
abort_window_seconds = 0

[protected.accounts]
"agents:break-glass" = "the way in when all else is locked"
"""


def furnish(
    folder: Path, *, scim_url: str = "http://127.0.0.1:9/v2", smtp_port: int = 9, more: str = ""
) -> Path:
    """Add directories, recipients and logs to a new installation."""
    (folder / "logs").mkdir()
    (folder / "logs/sign-in.log").write_text("agent01 signed in\n")
    (folder / "recordings").mkdir()
    (folder / "recordings/call.wav").write_bytes(b"RIFF" + bytes(2000))
    (folder / "staff.csv").write_text("email,name,language\nstaff1@example.com,Staff One,en\n")
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name, email)")
        crm.executemany(
            "INSERT INTO customers VALUES (?, ?, ?)",
            [(n, f"Customer {n}", f"customer{n}@example.net") for n in (1, 2, 3)],
        )
    crm.close()
    config_file = folder / "standfast.toml"
    config_file.write_text(_SETTINGS.format(scim_url=scim_url, smtp_port=smtp_port) + more)
    return config_file
