"""Installations of earlier releases, with an open incident.

    python -m tests.cli.setup.earlier_installation 0.1.0   # before that release

They are in `fixtures/RELEASE/`: the ledger as SQL, its keys and its witness. The fixture of a
release is never written again.
"""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from shutil import copyfile, copytree
from tempfile import TemporaryDirectory

from standfast.records import Mode
from standfast.usecases.incidents import lifecycle
from tests.ledger.ledger_files import FOUNDED, NOW
from tests.ledger.schema.earlier_ledgers import load_sqlite
from tests.ledger_schema import create
from tests.usecases.installations import enrol_people, installation_at

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = sorted(path.name for path in FIXTURES.iterdir())
SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000, the number on your card"

[playbooks]
folder = "playbooks"

[commands.isolate]
argv = ["/bin/true"]
"""
PLAYBOOK = """
playbook: contain
version: 1
title: Contain
use_when: In a test.
steps:
  isolate:
    title: Isolate
    do: run.command
    with: {command: isolate}
    approval: {roles: [duty-manager], count: 1}
"""


def configure(folder: Path) -> Path:
    """Write the configuration and the playbook; return the path of the former."""
    (folder / "playbooks").mkdir()
    (folder / "playbooks/contain.yaml").write_text(PLAYBOOK)
    file = folder / "standfast.toml"
    file.write_text(SETTINGS)
    return file


def load(release: str, folder: Path) -> Path:
    """Create the installation of a release; return its configuration's path."""
    fixture = FIXTURES / release
    load_sqlite(fixture, folder / "ledger.db")
    copytree(fixture / "keys", folder / "keys" / "ledger")
    copyfile(fixture / "heads.jsonl", folder / "witness.jsonl")
    return configure(folder)


def _write(release: str) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = configure(folder)
        keys, witness = folder / "keys" / "ledger", folder / "witness.jsonl"
        create(f"sqlite:///{folder}/ledger.db", keys, witness, FOUNDED)
        with installation_at(file, clock=_at(FOUNDED)) as installation:
            enrol_people(installation)
        with installation_at(file, clock=_at(NOW)) as installation:
            opened = lifecycle.open_incident(
                installation, "contain", {}, mode=Mode.LIVE, opened_by="dana"
            )
            lifecycle.advance(installation, opened.incident, "direct")
            installation.ledger.audit.sign_head(NOW)
        fixture = FIXTURES / release
        copytree(keys, fixture / "keys")
        copyfile(witness, fixture / "heads.jsonl")
        with closing(sqlite3.connect(folder / "ledger.db")) as database:
            (fixture / "ledger.sql").write_text("\n".join(database.iterdump()) + "\n")


def _at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


if __name__ == "__main__":
    _write(sys.argv[1])
