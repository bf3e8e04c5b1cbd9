"""Draw of a surprise drill from a seed: service, moment, recovery points.

A surprise drill is a test restore of a random service at a random time.

Rules
- A draw chooses the service, the time and the recovery points. It depends only on the seed, the
  services and the existing recovery points.
- A window is the period in which one surprise drill takes place. Each window has one draw. The draw
  is recorded before the drill, so that a restart of the program does not change it.
- A draw is not secret: a person who can read the ledger (the installation's database) can read the
  time of the drill.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from standfast.config.sections.services import ServiceConfig
from standfast.errors import UsageError
from standfast.records import Json, moment, timestamp
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_host
from standfast.usecases.core.run_record import SURPRISE_SUBJECT, recorded

_DRAW = "draw"  # the kind of the ledger's entry for a draw
_LARGEST_SEED = 2**32
_DIGEST_BYTES = 6  # a float represents this many bytes exactly
_DIGEST_RANGE = 2.0**48


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A drawn service; `window` and `at` are None for an immediate drill."""

    seed: int
    service: str
    window: datetime | None = None  # the time at which the window began
    at: datetime | None = None  # the drawn time of the drill

    def as_json(self) -> dict[str, Json]:
        return {
            "seed": self.seed,
            "service": self.service,
            "window": timestamp(self.window) if self.window else None,
            "at": timestamp(self.at) if self.at else None,
        }


@dataclass(frozen=True, kw_only=True)
class DrawnPoint:
    """The drawn recovery point of a set."""

    name: str
    superseded_at: datetime | None  # the time of the next newer point; None for the newest point


def draw_service(services: Mapping[str, ServiceConfig], seed: int | None) -> Draw:
    """Draw one of the services with backup sets; by default from a new seed."""
    names = sorted(name for name, service in services.items() if service.sets)
    if not names:
        raise UsageError("services: none of them has a backup set. Add `sets` to a service.")
    chosen = secrets.randbelow(_LARGEST_SEED) if seed is None else seed
    return Draw(seed=chosen, service=names[_position(chosen, "service", len(names))])


def draw_of_window(
    installation: Installation, window: datetime, length: timedelta, way: str
) -> Draw:
    """Return the recorded draw of a window; if there is none, draw and record."""
    found = _recorded_draw(installation, window)
    if found is None:
        with recorded(installation, _DRAW, SURPRISE_SUBJECT, way) as run:
            # Read again: another process may have recorded a draw meanwhile.
            found = _recorded_draw(installation, window)
            if found is None:
                drawn = draw_service(installation.config.services, None)
                at = window + length * _fraction(drawn.seed, "moment")
                found = Draw(seed=drawn.seed, service=drawn.service, window=window, at=at)
            run.ends("done", found.as_json())
    return found


def draw_point(
    installation: Installation, identity_file: Path | None, set_name: str, seed: int
) -> DrawnPoint:
    """Draw one of a set's recovery points."""
    identity = identity_of(installation, identity_file)
    with translated_errors("opening the repository"):
        points = open_repository(installation, identity).points(set_name)
    whole = sorted(
        (point for point in points if not point.is_interim), key=lambda point: point.time
    )
    if not whole:
        raise UsageError(f"{set_name}: no recovery point. Back the set up first.")
    position = _position(seed, f"point of {set_name}", len(whole))
    newer = whole[position + 1 : position + 2]
    return DrawnPoint(name=whole[position].name, superseded_at=newer[0].time if newer else None)


def _position(seed: int, purpose: str, count: int) -> int:
    return int(_fraction(seed, purpose) * count)


def _fraction(seed: int, purpose: str) -> float:
    """Return a number from 0 to below 1."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return int.from_bytes(digest[:_DIGEST_BYTES]) / _DIGEST_RANGE


def _recorded_draw(installation: Installation, window: datetime) -> Draw | None:
    runs = installation.ledger.runs.all(_DRAW, SURPRISE_SUBJECT, states=["done"])
    for run in runs_of_host(installation.config, runs):
        if run.summary["window"] == timestamp(window):
            return Draw(
                seed=int(run.summary["seed"]),
                service=str(run.summary["service"]),
                window=window,
                at=moment(run.summary["at"]),
            )
    return None
