"""An incident's timeline for whoever examines it elsewhere, and the program that checks it there.

Rules
- What is in it is what the chain holds: no personal data. The events of others between the
  incident's own are in it too, since every link passes through them.
- Its statement names what was frozen for the incident, and how long each chain of custody was: a
  folder that is gone, or a line that was cut from a chain's end, shows to who has no ledger.
- A head is signed for it. Where the ledger can only be read, the newest one has to do, and the
  incident's events after it are counted, for they are not in it.
- Signed with the ledger's key, whose public half has to reach the examiner by another way.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from standfast.errors import Damaged, OnlyReadable, StandfastError, Unavailable, UsageError
from standfast.evidence import standfast_verify
from standfast.evidence.custody import read_custody
from standfast.evidence.durable_files import make_private, sync_folder, write_atomically
from standfast.ledger.audit.timeline_export import exported
from standfast.records import JsonObject, canonical
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import seal_key

TIMELINE_FILE = "timeline.jsonl"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and the keys that it is checked with."""

    timeline: Path
    program: Path
    events: int
    unsigned: int  # the incident's own events that no head covers yet, and are not in it
    ledger_key: str  # Ed25519 public key, hex
    seal_key: str


def export_timeline(installation: Installation, incident_id: str, folder: Path) -> Exported:
    """Write an incident's timeline and the program into a new folder.

    UsageError when there is no such incident, or the folder is there already; OnlyReadable when a
    head has to be signed first, and cannot be; Damaged when the chain does not hold. Then no
    timeline is left.
    """
    installation.ledger.incidents.get(incident_id)
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is there already; name a new folder with --to")
    key = seal_key(installation.config)
    told: JsonObject = {
        "incident": incident_id,
        "evidence": list(_evidence(installation, incident_id)),
    }
    timeline, program = folder / TIMELINE_FILE, folder / Path(standfast_verify.__file__).name
    draft = timeline.with_suffix(".draft")
    events, unsigned, ledger_key = 0, 0, ""
    try:
        make_private(folder)
        with draft.open("xb") as stream:
            now = installation.clock()
            unsigned = _signed_as_far_as_can_be(installation, incident_id, now)
            for record in exported(installation.ledger.database, incident_id, now, told):
                stream.write(canonical(record) + b"\n")
                events += "event" in record
                if "head" in record:
                    ledger_key = str(record["head"]["key"])
        draft.replace(timeline)
        write_atomically(program, Path(standfast_verify.__file__).read_bytes())
        sync_folder(folder)
    except OSError as error:
        raise StandfastError(
            f"{folder} cannot be written: {error.strerror}; name a new folder where there is room "
            "and this user may write"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            if not timeline.exists():
                folder.rmdir()
    return Exported(
        timeline=timeline,
        program=program,
        events=events,
        unsigned=unsigned,
        ledger_key=ledger_key,
        seal_key=key,
    )


def _signed_as_far_as_can_be(installation: Installation, incident_id: str, now: datetime) -> int:
    """Sign a head, or count the incident's events that the newest one does not cover."""
    try:
        installation.ledger.audit.sign_head(now)
    except (OnlyReadable, Unavailable):  # a replica takes no writes, and may be read
        signed_to = installation.ledger.audit.newest_signed(now)
        own = installation.ledger.timeline(incident_id)
        unsigned = sum(event.sequence > signed_to for event in own)
        if unsigned == len(own):
            raise  # nothing of it could be shown
        return unsigned
    return 0


def _evidence(installation: Installation, incident_id: str) -> Iterator[JsonObject]:
    """Name what the ledger has as sealed, and the end of each chain of custody as it is now."""
    root = installation.config.custody.folder / incident_id
    for row in installation.ledger.effects.frozen(incident_id):
        folder = str(row.facts["folder"])
        try:
            chain = read_custody(root / folder)
        except Damaged:
            chain = []  # whoever checks it finds it so
        yield {
            "folder": folder,
            "manifest": str(row.facts["manifest"]),
            "custody": len(chain),
            "custody_hash": chain[-1].hash if chain else "",
        }
