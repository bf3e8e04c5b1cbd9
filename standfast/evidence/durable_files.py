"""Files that are wholly there or not at all, also after the power went; and nobody else's to read.

Owns the order of writing (bytes, fsync, rename, fsync of the folder) and the modes: 0600 and 0700.
What root freezes in another user's place becomes that user's, who goes on with the incident.
"""

import os
from contextlib import suppress
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_atomically(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600 atomically; an existing one is replaced."""
    draft = path.with_name(f".{path.name}.draft")
    # A draft of an interrupted call, or a link that somebody put there: neither is written into.
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, _NEW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def make_private(folder: Path) -> None:
    """Make a folder and each missing one above it, durably, of mode 0700.

    `Path.mkdir` opens those above to others.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        inherit_owner(folder)
        sync_folder(folder.parent)


def inherit_owner(path: Path) -> None:
    """Give what root made to whoever owns the folder it is in; of nobody else's making."""
    if os.geteuid() == 0:
        with suppress(OSError):  # a share may take root for nobody
            above = path.parent.stat()
            os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)


def sync_folder(folder: Path) -> None:
    """Make the names in one folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def inherit_owner_of_tree(folder: Path) -> None:
    """Give a folder that root made, and everything in it, likewise."""
    if os.geteuid() == 0:
        inherit_owner(folder)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                inherit_owner(Path(place, name))


def sync_tree(folder: Path) -> None:
    """Make the names in `folder` and in every folder below it durable; the files are already."""
    for place, _, _ in os.walk(folder):
        sync_folder(Path(place))
