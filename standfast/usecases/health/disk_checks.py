"""The disks under what a place writes: a full one shows in nothing that only reads.

Rules
- The vault's is told with the vault.
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
            yield fail("disks", room.sentence, "make room now")
        elif room.is_little:
            yield warn(
                "disks", room.sentence, "make room there, before a night or an incident needs it"
            )
        else:
            yield ok("disks", room.sentence)


def _written(config: Config) -> Mapping[str, Path]:
    """Give what is written on this machine, by the word for it."""
    found = {
        "send-log": config.backup.send_log,
        "drills": config.drills.folder,
        "evidence": config.custody.folder,
    }
    if config.ledger.url.startswith(_SQLITE):
        return {"ledger": Path(config.ledger.url.removeprefix(_SQLITE)), **found}
    return found


LOOKS: Mapping[str, Look] = {"disks": _disks}
