"""Retention holds: no recovery point expires, and no pack is deleted.

A recovery point is the state of a backup set that one backup stored. Its content is in packs, which
are encrypted files in the store of the backups. Each hold is a file next to the key of the keeper
(the person and machine that may expire backups), because only the keeper's machine can expire
recovery points. A hold has the name of the incident that needs it.

Rules
- A hold lasts until it is released by name. Several holds may exist at the same time.
- A hold file that cannot be read has the effect of a hold, so that nothing is deleted by mistake.
- During a hold, the Object Lock periods of all recovery points are still extended.
- Two machines may have the key of the same keeper. The ledger (the database of runs) then transmits
  a hold of one machine to the other machine. A hold must be released on the machine that created
  it. If it is released only on the other machine, the next retention run of the first machine
  records it again.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from standfast.config import Config
from standfast.errors import ConfigurationError, UsageError
from standfast.evidence.private_files import make_private, sync_folder, write_atomically
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.records import canonical, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import origin_of, runs_of_vault

_KIND, _HELD, _RELEASED = "hold", "held", "released"  # kind and states of a ledger row
_TOKEN = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One retention hold."""

    name: str
    since: str
    by: str
    machine: str = ""  # the machine that created the hold; "" for this machine


def is_keeper_machine(config: Config) -> bool:
    """Return whether the keeper's key is on this machine."""
    return config.backup.keeping.key.is_file()


def holds(config: Config) -> list[Hold]:
    """Return the holds of this machine; ConfigurationError if unreadable."""
    try:
        # Not `glob`: for a folder without read permission it returns nothing instead of an error.
        paths = sorted(_folder(config).iterdir())
        return [_read(path) for path in paths if path.suffix == ".json"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(
            f"holds in {_folder(config)}: cannot be read: {error.strerror}. Make the files "
            "readable. Nothing expires until then."
        ) from error


def create_hold(installation: Installation, name: str) -> None:
    """Create a hold, unless it exists; UsageError without the keeper's key."""
    if not is_keeper_machine(installation.config):
        raise UsageError(
            f"hold {name}: this machine has no keeper's key. Run `standfast backup keep hold "
            f"{name}` on the keeper's machine."
        )
    path = _path(installation.config, name)
    if not path.exists():
        make_private(path.parent)
        body = {"name": name, "since": timestamp(installation.clock()), "by": installation.actor}
        write_atomically(path, canonical(body))
    _record_hold(installation, name, _HELD)


def release_hold(installation: Installation, name: str) -> None:
    """Release a hold; do nothing if it does not exist."""
    path = _path(installation.config, name)
    if path.exists():
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    if any(run.subject == name for run in _in_ledger(installation)):
        _record_hold(installation, name, _RELEASED)


def notify_other_hosts(installation: Installation) -> None:
    """Record the holds of this machine in the ledger, for other machines."""
    known = {run.subject for run in _in_ledger(installation)}
    for hold in holds(installation.config):
        if hold.name not in known:
            _record_hold(installation, hold.name, _HELD)


def _in_ledger(installation: Installation) -> list[RunRecord]:
    return runs_of_vault(installation.config, installation.ledger.runs.all(_KIND, states=[_HELD]))


def _record_hold(installation: Installation, name: str, state: str) -> None:
    origin = origin_of(installation.config)
    token = hashlib.sha256(f"hold {origin.vault} {name}".encode()).hexdigest()[:_TOKEN]
    installation.ledger.runs.note(
        token, _KIND, name, state, origin.as_json(), installation.actor, installation.clock()
    )


def all_holds(installation: Installation) -> list[Hold]:
    """Return the holds of this machine and the holds in the ledger, by name."""
    found = {hold.name: hold for hold in holds(installation.config)}
    for run in _in_ledger(installation):
        since = timestamp(run.ended_at or run.started_at)
        machine = Origin.of(run.summary).machine
        other_hold = Hold(name=run.subject, since=since, by="", machine=machine)
        found.setdefault(run.subject, other_hold)
    return [found[name] for name in sorted(found)]


def exists(installation: Installation, name: str) -> bool:
    """Return whether a hold of this name exists."""
    is_there = _path(installation.config, name).exists()
    return is_there or any(run.subject == name for run in _in_ledger(installation))


def hold_reason(installation: Installation) -> str | None:
    """Return a sentence with the holds and how to end them, or None."""
    active = all_holds(installation)
    if not active:
        return None
    names = ", ".join(
        f"{hold.name} (since {hold.since[:16]}Z{f', on {hold.machine}' if hold.machine else ''})"
        for hold in active
    )
    return (
        f"held for {names}: nothing expires. To end a hold: `standfast incident undo INCIDENT "
        "--step STEP`, or `standfast backup keep release NAME`"
    )


def _read(path: Path) -> Hold:
    try:
        body = json.loads(path.read_bytes())
        return Hold(name=path.stem, since=str(body["since"]), by=str(body["by"]))
    except (ValueError, KeyError, TypeError):
        return Hold(name=path.stem, since="an unknown time", by="")


def _path(config: Config, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(f"hold {name!r}: invalid name. Name it like an incident: inc-2026-0001.")
    return _folder(config) / f"{name}.json"


def _folder(config: Config) -> Path:
    return config.backup.keeping.key.with_name("holds")
