"""Temporary folders in memory, for tests that do not examine a disk.

A ledger commits with fsync, which takes milliseconds on a disk and nothing in memory.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 << 30  # containers often have 64 MiB, which one database server fills


def memory_folder() -> Path | None:
    """Return a folder in memory; None (the usual folder) if it has no room."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ENOUGH_BYTES:
        return None
    return _MEMORY


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """An empty folder in memory, removed after the test."""
    folder = Path(tempfile.mkdtemp(prefix="sf-test-", dir=memory_folder()))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
