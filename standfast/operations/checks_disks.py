"""The disks under what a place writes: a full one shows in nothing that only reads.

Rules
- Asked of each disk once, and told for everything that lies on it.
- The vault's is told with the vault.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from standfast.config import Config
from standfast.operations.verdicts import Check, Ground, Look, fail, ok, warn

LITTLE_BYTES = 1 << 30
_LEAST_BYTES = 16 << 20  # less than a plan of many writes at once
_SQLITE = "sqlite:///"


def _disks(ground: Ground) -> Iterator[Check]:
    disks: dict[int, dict[str, Path]] = {}
    for name, path in _written(ground.config).items():
        folder = nearest(path)
        disks.setdefault(folder.stat().st_dev, {})[name] = folder
    for there in disks.values():
        names = ", ".join(there)
        free_bytes = free_at(next(iter(there.values())))
        left = f"{free_bytes >> 20:,} MiB free for {names}"
        if free_bytes < _LEAST_BYTES:
            yield fail("disks", f"{left}: nothing more can be written down there", "make room now")
        elif free_bytes < LITTLE_BYTES:
            yield warn("disks", left, "make room there, before a night or an incident needs it")
        else:
            yield ok("disks", left)


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


def free_at(folder: Path) -> int:
    """Give how many bytes are free to us on the disk of a folder."""
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize


def nearest(folder: Path) -> Path:
    """Give the folder, or the one above it that exists: what is missing is made when needed."""
    while not folder.exists():
        folder = folder.parent
    return folder


LOOKS: Mapping[str, Look] = {"disks": _disks}
