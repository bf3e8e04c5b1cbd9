"""Read-only copies of installations and ledgers, as auditors have them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_NOBODY = 65534


@contextmanager
def copy_to_read(folder: Path) -> Iterator[Path]:
    """Return a read-only copy (files 0444, folders 0555) for another user.

    The copy is not below `tmp_path`, which other users cannot enter; its parent folder is writable.
    Run everything once before: if Python is installed where only root may read, the other user
    cannot import further modules.
    """
    with TemporaryDirectory() as above:
        Path(above).chmod(0o777)
        copy = Path(above) / folder.name
        shutil.copytree(folder, copy)
        _set_modes(copy, of_folders=0o555, of_files=0o444)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(_NOBODY)
        try:
            yield copy
        finally:
            if is_root:
                os.seteuid(0)
            _set_modes(copy, of_folders=0o755, of_files=0o644)


def _set_modes(copy: Path, *, of_folders: int, of_files: int) -> None:
    for folder, _, files in os.walk(copy):
        Path(folder).chmod(of_folders)
        for name in files:
            (Path(folder) / name).chmod(of_files)
