"""Paths that no disk has: what a source that is no file system gives of a file or a folder."""

import os
from typing import Literal

from backup.sources import Found


def made_up(
    path: bytes,
    *,
    kind: Literal["file", "directory"],
    modified_ns: int,
    size: int = 0,
    vector: tuple[int, ...] | None = None,
) -> Found:
    """A path that only who runs the backup may read; without a vector it is always read."""
    return Found(
        path=path,
        kind=kind,
        mode=0o600 if kind == "file" else 0o700,
        uid=os.geteuid(),
        gid=os.getegid(),
        user="",
        group="",
        modified_ns=modified_ns,
        size=size,
        target=None,
        device=None,
        same_file=None,
        vector=vector,
        changed_ns=modified_ns,
    )
