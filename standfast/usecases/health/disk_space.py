"""How much room the disks have that a place writes to, and when that is too little.

Rules
- Each disk is asked once, and told for everything that lies on it.
- `standfast status` asks too, at once: nothing is imported here that takes long.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LITTLE_BYTES = 1 << 30
_LEAST_BYTES = 16 << 20  # less than a plan of many writes at once


@dataclass(frozen=True, kw_only=True)
class Room:
    """What is free on one disk."""

    names: tuple[str, ...]  # what lies on it, by the words for people
    free_bytes: int

    @property
    def is_little(self) -> bool:
        """Could a night or an incident fill it?"""
        return self.free_bytes < LITTLE_BYTES

    @property
    def is_full(self) -> bool:
        """Can nothing more be written down there?"""
        return self.free_bytes < _LEAST_BYTES

    @property
    def sentence(self) -> str:
        """Say it for people."""
        left = f"{self.free_bytes >> 20:,} MiB free for {', '.join(self.names)}"
        return f"{left}: nothing more can be written down there" if self.is_full else left


def rooms(written: Mapping[str, Path]) -> Iterator[Room]:
    """Give the disks under what is written, which is named; OSError where one says nothing."""
    disks: dict[int, dict[str, Path]] = {}
    for name, path in written.items():
        folder = nearest(path)
        disks.setdefault(folder.stat().st_dev, {})[name] = folder
    for there in disks.values():
        yield Room(names=tuple(there), free_bytes=free_at(next(iter(there.values()))))


def free_at(folder: Path) -> int:
    """Give how many bytes are free to us on the disk of a folder."""
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize


def nearest(folder: Path) -> Path:
    """Give the folder, or the one above it that exists: what is missing is made when needed."""
    while not folder.exists():
        folder = folder.parent
    return folder
