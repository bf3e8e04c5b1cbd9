"""Paths of sources that are not file systems: dumps and objects."""

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
    """Return a path that belongs to the user of this process.

    `vector` contains values that change with the content, so that a run can omit unchanged paths.
    Without it, the path is read in each run.
    """
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
