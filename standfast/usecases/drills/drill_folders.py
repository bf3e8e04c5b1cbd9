"""Folders that drills and scans restore into, and their deletion.

Rules
- A target is a new private folder. It is deleted however the drill ends, and a check then confirms
  that it is gone.
- The folders of a dead drill are deleted before the next drill of the same set. The ledger shows
  which drills are alive, because drills of another machine may use the same parent folder.
- Only `keep_target` keeps a target.
- The name of a scan's folder contains its process and machine. The next scan or drill of the set,
  or the watchdog, deletes the folder after that process has ended.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup.system.tree_removal import remove_tree
from standfast.errors import StandfastError
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import is_gone
from standfast.ledger.schema.row_ids import new_token
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.throwaway.server_process import end_processes

_KEPT = ".kept"
_SHORT = 8  # characters of a run's id
OUTPUT = ".output"  # the suffix of a file with the output of failed commands
_in_use: set[str] = set()  # names of the scan folders that this process uses


@dataclass(frozen=True, kw_only=True)
class Target:
    """The folder of the restore, and whether it was kept or destroyed."""

    folder: Path
    is_kept: bool
    is_gone: bool  # a check after the deletion did not find it


@contextmanager
def new_target(installation: Installation, set_name: str, run: str) -> Iterator[Path]:
    """Create a new private folder; delete it if the drill is interrupted."""
    folder = installation.config.drills.folder / f"{set_name}.{run}"
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StandfastError(
            f"drill folder {folder}: cannot be created: {error.strerror}. Repair the disk or set "
            "drills.folder, then drill again."
        ) from error
    try:
        yield folder
    except BaseException:
        destroy(folder)
        raise


@contextmanager
def drill_folder(installation: Installation, set_name: str, name: str) -> Iterator[Path]:
    """Create a private folder for a scan, and delete it afterwards.

    The folder is next to the folders of the drills. If a dead scan left a folder with the same
    name, that folder is deleted first.
    """
    set_name = f".{set_name}"  # the dot keeps `destroy_leftovers` of drills from deleting it
    destroy(installation.config.drills.folder / f"{set_name}.{name}")
    with new_target(installation, set_name, name) as folder:
        yield folder
        destroy(folder)


@contextmanager
def scan_folder(installation: Installation, set_name: str, kind: str) -> Iterator[Path]:
    """Create a scan folder; a later run deletes it if this process dies.

    `kind` is a word without a hyphen.
    """
    destroy_dead_scans(installation, set_name)
    name = f"{kind}-{os.getpid()}-{_machine()}-{new_token()}"
    _in_use.add(name)
    try:
        with drill_folder(installation, set_name, name) as folder:
            yield folder
    finally:
        _in_use.discard(name)


def destroy_dead_scans(installation: Installation, set_name: str) -> None:
    """Delete the scan folders of a set that ended processes of this host left."""
    own_name = re.compile(rf"[a-z]+-([0-9]{{1,10}})-{_machine()}-[^.]+")
    for path in installation.config.drills.folder.glob(f".{set_name}.*"):
        name = path.name.removeprefix(f".{set_name}.")
        found = own_name.fullmatch(name)
        if found is None or name in _in_use:
            continue
        pid = int(found[1])
        if pid == os.getpid() or is_gone(host_name(), pid):
            destroy(path)


def _machine() -> str:
    return hashlib.sha256(host_name().encode()).hexdigest()[:12]


def keep_target(folder: Path) -> Target:
    """Keep a target for a person, under a name that no drill deletes."""
    kept = folder.with_name(folder.name + _KEPT)
    folder.rename(kept)
    return Target(folder=kept, is_kept=True, is_gone=False)


def destroy(folder: Path) -> Target:
    """Delete a target without overwriting its bytes; check that it is gone.

    Database servers that a killed drill left are killed first.
    """
    servers = server_folder(folder)
    end_processes(servers)
    # Delete the folder of the servers before the target. After a crash in between, its path can be
    # derived from the name of the target, which still exists.
    remove_tree(servers)
    remove_tree(folder)
    is_gone = not os.path.lexists(servers) and not os.path.lexists(folder)
    return Target(folder=folder, is_kept=False, is_gone=is_gone)


def server_folder(target: Path) -> Path:
    """Return the folder of the database servers of a target.

    It is next to the target and has a short name, because a socket's path has at most 107 bytes.
    """
    return target.parent.resolve() / target.name.rpartition(".")[2][:_SHORT]


def destroy_leftovers(installation: Installation, subject: str) -> int:
    """Delete what dead drills of a subject left; return the number of paths.

    The caller holds the lock of this machine's drills of the subject. The lock does not cover
    drills of another machine in the same folder, so the ledger shows which drills are alive.
    """
    destroy_dead_scans(installation, subject)
    folder = installation.config.drills.folder
    alive = {row.id for row in installation.ledger.runs.all("drill", subject, states=["running"])}
    leftovers = []
    for path in folder.glob(f"{subject}.*"):
        run, _, suffix = path.name.removeprefix(f"{subject}.").partition(".")
        if suffix in ("", OUTPUT[1:]) and run not in alive:
            leftovers.append(path)
    for path in leftovers:
        if path.suffix == OUTPUT:
            path.unlink(missing_ok=True)
        else:
            destroy(path)
    return len(leftovers)
