"""Export of an incident's timeline for an examiner, with its verifier.

The timeline of an incident consists of its events in the audit chain, in which each event contains
the hash of the event before it. The audit chain is in the ledger, the installation's database. A
signed head is the number and the hash of the newest event, signed with the ledger's key.

Rules
- The export contains the events without personal data. Events of other incidents between two events
  of this incident are included, because the hashes of the chain cover them.
- A statement in the export names the evidence folders of the incident. It also has the length of
  each folder's chain of custody, the file that records all access to the folder. Thus an examiner
  without the ledger can detect a missing folder, or missing entries at the end of this file.
- The newest event is signed for the export. If the ledger cannot be written, the newest existing
  signed head is used. The incident's events after this head are not exported, only counted.
- The export is signed with the ledger's key. The examiner must receive the public key separately
  from the export.
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
from standfast.evidence.private_files import make_private, sync_folder, write_atomically
from standfast.ledger.audit.timeline_export import exported
from standfast.records import JsonObject, canonical
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.evidence_record import note_seals
from standfast.usecases.evidence.frozen_folders import seal_key

TIMELINE_FILE = "timeline.jsonl"


@dataclass(frozen=True, kw_only=True)
class ExportedTimeline:
    """The written files, and the keys that verify them."""

    timeline: Path
    program: Path
    events: int
    unsigned: int  # number of events that are not exported, because no signed head covers them
    ledger_key: str  # Ed25519 public key, hex
    seal_key: str  # public key that verifies evidence folders, hex


def export_timeline(installation: Installation, incident_id: str, folder: Path) -> ExportedTimeline:
    """Write an incident's timeline and the verifier to a new folder.

    Raise UsageError for an unknown incident or an existing folder. Raise OnlyReadable if the ledger
    cannot be written and no event of the incident is signed, and Damaged for an invalid chain.
    After an error, no timeline remains.
    """
    installation.ledger.incidents.get(incident_id)
    if os.path.lexists(folder):
        raise UsageError(f"{folder}: it exists already. Name a new folder with --to.")
    key = seal_key(installation.config)
    statement: JsonObject = {
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
            unsigned = _sign_head_or_count_unsigned(installation, incident_id, now)
            for record in exported(installation.ledger.database, incident_id, now, statement):
                stream.write(canonical(record) + b"\n")
                events += "event" in record
                if "head" in record:
                    ledger_key = str(record["head"]["key"])
        draft.replace(timeline)
        write_atomically(program, Path(standfast_verify.__file__).read_bytes())
        sync_folder(folder)
    except OSError as error:
        raise StandfastError(
            f"{folder}: cannot be written: {error.strerror}. Name a new folder with free space "
            "where this user may write."
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            if not timeline.exists():
                folder.rmdir()
    return ExportedTimeline(
        timeline=timeline,
        program=program,
        events=events,
        unsigned=unsigned,
        ledger_key=ledger_key,
        seal_key=key,
    )


def _sign_head_or_count_unsigned(
    installation: Installation, incident_id: str, now: datetime
) -> int:
    """Sign the newest event, or return the number of unsigned events."""
    try:
        installation.ledger.audit.sign_head(now)
    except (OnlyReadable, Unavailable):  # for example, a database replica: it is still exported
        signed_to = installation.ledger.audit.newest_signed(now)
        own = installation.ledger.timeline(incident_id)
        unsigned = sum(event.sequence > signed_to for event in own)
        if unsigned == len(own):
            raise  # no event of the incident could be exported
        return unsigned
    return 0


def _evidence(installation: Installation, incident_id: str) -> Iterator[JsonObject]:
    """Yield the record of each evidence folder, with its last custody entry."""
    root = installation.config.custody.folder / incident_id
    frozen = [row.facts for row in installation.ledger.effects.frozen(incident_id)]
    frozen += [event.detail for event in note_seals(installation, incident_id)]
    for facts in frozen:
        folder = str(facts["folder"])
        try:
            chain = read_custody(root / folder)
        except Damaged:
            chain = []  # the examiner's verification reports the error
        yield {
            "folder": folder,
            "manifest": str(facts["manifest"]),
            "custody": len(chain),
            "custody_hash": chain[-1].hash if chain else "",
        }
