"""An installation with backups, targets, approvers and a playbook."""

import sqlite3
from contextlib import closing
from pathlib import Path

from standfast.records import Mode
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at
from tests.usecases.installations import enrol_people

PLAYBOOK = """
playbook: bring-back
version: 1
title: Bring back
use_when: In a test.
inputs:
  services: {type: text, default: crm, description: The services.}
  point: {type: text, default: newest, description: The point.}
steps:
  recover:
    title: Recover
    do: service.recover
    with: {services: "{{ inputs.services }}", point: "{{ inputs.point }}"}
    undo: service.return
"""


def targets(folder: Path) -> str:
    """Return the settings of the recovery targets in the folder `live`."""
    return f"""
[drills]
identity = "file:{identity(folder)}"

[playbooks]
folder = "playbooks"

[backup.sets.main.recovery.recordings]
path = "{folder}/live/recordings"

[backup.sets.main.recovery.crm]
path = "{folder}/live/crm.db"

[backup.sets.other.recovery.scripts]
path = "{folder}/live/scripts"
"""


def prepared(folder: Path, more: str = SERVICE) -> Path:
    """Back up both sets, and put other data at the targets of `main`."""
    config_file = furnish(folder, more + targets(folder))
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "bring-back.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        for name in ("main", "other"):
            run_backup(installation, name, "direct")
        enrol_people(installation)
    live = folder / "live"
    (live / "recordings").mkdir(parents=True)
    (live / "recordings" / "ransom-note.txt").write_text("pay\n")
    (live / "crm.db").write_bytes(b"encrypted")
    (live / "crm.db-wal").write_bytes(b"old log")
    return config_file


def opened(installation: Installation, scenario: str = "bring-back", **inputs: str) -> str:
    """Open a recovery as dana, and run it until it waits; return the incident."""
    case = lifecycle.open_incident(
        installation, scenario, inputs, mode=Mode.LIVE, opened_by="dana"
    ).incident
    lifecycle.advance(installation, case, "direct")
    return case


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return the paths and contents below a folder, without `*.tmp`."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or path.is_file()) and path.suffix != ".tmp"
    }


def customers(database: Path) -> list[tuple[object, ...]]:
    """Return the rows of a CRM."""
    with closing(sqlite3.connect(database)) as crm:
        return crm.execute("SELECT * FROM customers ORDER BY id").fetchall()
