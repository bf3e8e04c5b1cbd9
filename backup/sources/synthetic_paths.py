"""Paths of sources that are not file systems."""

import os
from typing import Literal

from backup.sources import Found


def synthetic_path(
    path: bytes,
    *,
    kind: Literal["file", "directory"],
    modified_ns: int,
    size: int = 0,
    vector: tuple[int, ...] | None = None,
) -> Found:
    """Return a path of the current user; without a vector it is always read."""
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
