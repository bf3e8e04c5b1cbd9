"""An incident's timeline for whoever examines it elsewhere, and the program that checks it there.

Rules
- What is in it is what the chain holds: no personal data. The events of others between the
  incident's own are in it too, since every link passes through them.
- Its statement names what was frozen for the incident, and how long each chain of custody was: a
  folder that is gone, or a line that was cut from a chain's end, shows to who has no ledger.
- Signed with the ledger's key, whose public half has to reach the examiner by another way.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backup.lazy_dataclass import dataclass
from standfast.errors import Damaged, StandfastError, UsageError
from standfast.evidence import standfast_verify
from standfast.evidence.custody import read_custody
from standfast.evidence.durable import make_private, sync_folder, write_whole
from standfast.ledger.exported import exported
from standfast.operations.frozen import seal_key
from standfast.operations.place import Place
from standfast.records import JsonObject, canonical

TIMELINE_FILE = "timeline.jsonl"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and the keys that it is checked with."""

    timeline: Path
    program: Path
    events: int
    ledger_key: str  # Ed25519 public key, hex
    seal_key: str


def export_timeline(place: Place, incident_id: str, folder: Path) -> Exported:
    """Write an incident's timeline and the program into a new folder.

    UsageError when there is no such incident, or the folder is there already; Damaged when the
    chain does not hold, and then no timeline is left.
    """
    place.ledger.incidents.get(incident_id)
    if folder.exists():
        raise UsageError(f"{folder} is there already; name a new folder with --to")
    key = seal_key(place.config)
    told: JsonObject = {"incident": incident_id, "evidence": list(_evidence(place, incident_id))}
    timeline, program = folder / TIMELINE_FILE, folder / Path(standfast_verify.__file__).name
    draft = timeline.with_suffix(".draft")
    events, ledger_key = 0, ""
    try:
        make_private(folder)
        with draft.open("xb") as stream:
            now = place.clock()
            place.ledger.audit.sign_head(now)
            for record in exported(place.ledger.core, incident_id, now, told):
                stream.write(canonical(record) + b"\n")
                events += "event" in record
                if "head" in record:
                    ledger_key = str(record["head"]["key"])
        draft.replace(timeline)
        write_whole(program, Path(standfast_verify.__file__).read_bytes())
        sync_folder(folder)
    except OSError as error:
        raise StandfastError(
            f"{folder} cannot be written: {error.strerror}; make room, then name a new folder"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
        if not timeline.exists():
            with suppress(OSError):
                folder.rmdir()
    return Exported(
        timeline=timeline,
        program=program,
        events=events,
        ledger_key=ledger_key,
        seal_key=key,
    )


def _evidence(place: Place, incident_id: str) -> Iterator[JsonObject]:
    """Name what the ledger has as sealed, and the end of each chain of custody as it is now."""
    root = place.config.custody.folder / incident_id
    for row in place.ledger.effects.frozen(incident_id):
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
