"""Checks of the disks that the installation writes to, except the vault's.

Reads do not detect a full disk, so the free space is measured.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from standfast.config import Config
from standfast.usecases.health.check_results import Check, Ground, Look, fail, ok, warn
from standfast.usecases.health.disk_space import rooms

_SQLITE = "sqlite:///"


def _disks(ground: Ground) -> Iterator[Check]:
    for room in rooms(_written(ground.config)):
        if room.is_full:
            yield fail("disks", room.sentence, "free space now")
        elif room.is_little:
            yield warn(
                "disks", room.sentence, "free space there before a backup or an incident needs it"
            )
        else:
            yield ok("disks", room.sentence)


def _written(config: Config) -> Mapping[str, Path]:
    """Return the written paths of this machine, by their names for people."""
    found = {
        "send-log": config.backup.send_log,
        "drills": config.drills.folder,
        "evidence": config.custody.folder,
    }
    if config.ledger.url.startswith(_SQLITE):
        return {"ledger": Path(config.ledger.url.removeprefix(_SQLITE)), **found}
    return found


LOOKS: Mapping[str, Look] = {"disks": _disks}
