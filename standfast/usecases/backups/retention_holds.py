"""Holds: while one stands, the keeper lets no recovery point expire and drops nothing.

They lie beside the keeper's key, on the keeper's machine, because only that identity lets points
expire. Each is named like the incident it is for.

Rules
- A hold stands until it is released by its name; several may stand at once.
- What cannot be read counts as a hold: nothing is let go by mistake.
- The locks of all points are still extended while one stands.
- One that stands on another machine, where the keeper of the same vault runs too, holds here as
  well: the ledger has it. It ends where its name is released, on either.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from standfast.config import Config
from standfast.errors import ConfigurationError, UsageError
from standfast.evidence.durable_files import make_private, sync_folder, write_atomically
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.records import canonical, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import origin_of, runs_of_vault

_KIND, _HELD, _RELEASED = "hold", "held", "released"  # of its row in the ledger
_TOKEN = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One hold, as its file says it."""

    name: str
    since: str
    by: str
    machine: str = ""  # where it stands, if not here


def is_keeper_machine(config: Config) -> bool:
    """Has this machine the keeper's key?"""
    return config.backup.keeping.key.is_file()


def holds(config: Config) -> list[Hold]:
    """Give the holds that stand, by name; ConfigurationError when they cannot be read."""
    try:
        # Not `glob`: of a folder that may not be read it says that there is nothing in it.
        paths = sorted(_folder(config).iterdir())
        return [_read(path) for path in paths if path.suffix == ".json"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(
            f"the holds in {_folder(config)} cannot be read: {error.strerror}; nothing is let go "
            "until they can"
        ) from error


def create_hold(installation: Installation, name: str) -> None:
    """Put a hold; to put it again changes nothing. UsageError where the keeper is not."""
    if not is_keeper_machine(installation.config):
        raise UsageError(
            f"the keeper's key is not on this machine; there: `standfast backup keep hold {name}`"
        )
    path = _path(installation.config, name)
    if not path.exists():
        make_private(path.parent)
        body = {"name": name, "since": timestamp(installation.clock()), "by": installation.actor}
        write_atomically(path, canonical(body))
    _tell(installation, name, _HELD)


def release_hold(installation: Installation, name: str) -> None:
    """Release a hold; one that does not stand is released already."""
    path = _path(installation.config, name)
    if path.exists():
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    if any(run.subject == name for run in _in_ledger(installation)):
        _tell(installation, name, _RELEASED)


def notify_other_hosts(installation: Installation) -> None:
    """Have the ledger know what stands here, also what was put while it was away."""
    known = {run.subject for run in _in_ledger(installation)}
    for one in holds(installation.config):
        if one.name not in known:
            _tell(installation, one.name, _HELD)


def _in_ledger(installation: Installation) -> list[RunRecord]:
    return runs_of_vault(installation.config, installation.ledger.runs.all(_KIND, states=[_HELD]))


def _tell(installation: Installation, name: str, state: str) -> None:
    origin = origin_of(installation.config)
    token = hashlib.sha256(f"hold {origin.vault} {name}".encode()).hexdigest()[:_TOKEN]
    installation.ledger.runs.note(
        token, _KIND, name, state, origin.as_json(), installation.actor, installation.clock()
    )


def standing(installation: Installation) -> list[Hold]:
    """Give the holds that stand here or, by the ledger, elsewhere; by name."""
    found = {one.name: one for one in holds(installation.config)}
    for run in _in_ledger(installation):
        since = timestamp(run.ended_at or run.started_at)
        machine = Origin.of(run.summary).machine
        elsewhere = Hold(name=run.subject, since=since, by="", machine=machine)
        found.setdefault(run.subject, elsewhere)
    return [found[name] for name in sorted(found)]


def stands(installation: Installation, name: str) -> bool:
    """Does a hold of this name stand?"""
    is_there = _path(installation.config, name).exists()
    return is_there or any(run.subject == name for run in _in_ledger(installation))


def hold_reason(installation: Installation) -> str | None:
    """Say what holds everything, and how it ends; None when nothing does."""
    there = standing(installation)
    if not there:
        return None
    names = ", ".join(
        f"{one.name} (since {one.since[:16]}Z{f', on {one.machine}' if one.machine else ''})"
        for one in there
    )
    return (
        f"held for {names}: nothing expires. To end it: `standfast incident undo INCIDENT --step "
        "STEP`, or `standfast backup keep release NAME`"
    )


def _read(path: Path) -> Hold:
    try:
        body = json.loads(path.read_bytes())
        return Hold(name=path.stem, since=str(body["since"]), by=str(body["by"]))
    except (ValueError, KeyError, TypeError):
        return Hold(name=path.stem, since="an unknown time", by="")


def _path(config: Config, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError("a hold is named like an incident: inc-2026-0001")
    return _folder(config) / f"{name}.json"


def _folder(config: Config) -> Path:
    return config.backup.keeping.key.with_name("holds")
