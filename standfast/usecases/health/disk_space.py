"""Free space on the disks that the installation writes to, and its limits.

Rules
- Each disk is measured once, and reported with all paths on it to which the installation writes.
- The module imports nothing that loads slowly, because `standfast status` uses it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LITTLE_BYTES = 1 << 30
_LEAST_BYTES = 16 << 20  # with less space, the plan of one step perhaps does not fit on the disk


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """The free space of one disk."""

    names: tuple[str, ...]  # the names of the paths on the disk, for people
    free_bytes: int

    @property
    def is_little(self) -> bool:
        """Return whether a backup or an incident could fill the disk."""
        return self.free_bytes < LITTLE_BYTES

    @property
    def is_full(self) -> bool:
        """Return whether nothing more can be written to the disk."""
        return self.free_bytes < _LEAST_BYTES

    @property
    def sentence(self) -> str:
        """The free space in words."""
        free = f"{self.free_bytes >> 20:,} MiB free for {', '.join(self.names)}"
        return f"{free}: too little to write anything" if self.is_full else free


def disk_spaces(written: Mapping[str, Path]) -> Iterator[DiskSpace]:
    """Yield the disk of each path, once; OSError if a disk is unreadable."""
    disks: dict[int, dict[str, Path]] = {}
    for name, path in written.items():
        folder = nearest_existing_folder(path)
        disks.setdefault(folder.stat().st_dev, {})[name] = folder
    for folders in disks.values():
        yield DiskSpace(names=tuple(folders), free_bytes=free_at(next(iter(folders.values()))))


def free_at(folder: Path) -> int:
    """Return the bytes that this user can write to the disk of a folder."""
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize


def nearest_existing_folder(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return folder
