"""Ledger record of an incident's evidence: seals, custody, disposals.

The ledger (the installation's database) names each evidence folder that must exist, with the hash
of its manifest. This record is necessary, because the signature in a folder (its seal) does not
prove that no folder is missing: an intruder who deletes a folder deletes its seal too, and an
intruder who has this host's key can sign another folder.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from standfast.ledger.audit.auditor import AuditEvent
from standfast.ledger.incidents.incident_notes import NOTED
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.disposal_state import DISPOSED, Authority, current_state

# Events of the timeline. `custody` in their detail has hashes of lines from the folders' chains of
# custody, the files that record each access to a folder.
REVIEWED = "evidence.reviewed"
EXPORTED = "evidence.exported"
STAMPED = "evidence.stamped"
OPENING, OPENED = "evidence.opening", "evidence.opened"


@dataclass(kw_only=True)
class Recorded:
    """The ledger's record of an incident's evidence, by folder."""

    manifests: dict[Path, str] = field(default_factory=dict)  # SHA-256 of the sealed manifest
    lines: dict[Path, set[str]] = field(default_factory=dict)  # hashes of lines of the custody file
    hosts: dict[Path, str] = field(default_factory=dict)  # the host that collected the folder
    disposals: dict[Path, Authority] | None = None  # None if the ledger was not read


def recorded_evidence(installation: Installation, incident: str) -> Recorded:
    """Return the ledger's record of an incident's seals and chains of custody."""
    found = recorded_seals(installation, incident)
    root = installation.config.custody.folder / incident
    noted = [row.facts.get("custody", {}) for row in installation.ledger.effects.reviewed(incident)]
    noted += [
        event.detail.get("custody", {})
        for event in installation.ledger.timeline(incident)
        if event.action in (EXPORTED, REVIEWED, STAMPED, NOTED, OPENING, OPENED, DISPOSED)
    ]
    for lines_by_name in noted:
        for name, line in cast("dict[str, str]", lines_by_name).items():
            found.lines.setdefault(root / name, set()).add(line)
    return found


def recorded_seals(installation: Installation, incident: str) -> Recorded:
    """Return the ledger's record of an incident's seals and disposals."""
    ledger, root = installation.ledger, installation.config.custody.folder / incident
    begun = current_state(installation, incident).begun
    found = Recorded(disposals={root / name: authority for name, authority in begun.items()})
    by = ledger.effects.hosts_of(incident, SNAPSHOT)
    for row in ledger.effects.frozen(incident):
        folder = root / str(row.facts["folder"])
        found.manifests[folder] = str(row.facts["manifest"])
        found.hosts[folder] = by.get(row.token, "")
        lines = found.lines.setdefault(folder, set())
        lines.update(cast("list[str]", row.facts.get("custody", [])))
    for event in note_seals(installation, incident):
        folder = root / str(event.detail["folder"])
        found.manifests[folder] = str(event.detail["manifest"])
        found.hosts[folder] = str(event.detail["host"])
    return found


def note_seals(installation: Installation, incident: str) -> list[AuditEvent]:
    """Return the events of an incident's notes that have sealed files."""
    events = installation.ledger.timeline(incident)
    return [event for event in events if event.action == NOTED and "manifest" in event.detail]
