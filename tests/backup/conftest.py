import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.archiver import source_archiver, worker_ipc
from tests.backup.disk_trace import folder_in_memory
from tests.backup.keep_site import KeptSite, ten_weeks
from tests.backup.site import Site, TamperedStore, new_site
from tests.backup.trees import owned_tree
from tests.servers import refused_to_root


@pytest.fixture(autouse=True)
def no_unchanged_file_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read no unchanged file again.

    One file in thirty is read again each day, so a test would depend on its date.
    """
    monkeypatch.setattr(source_archiver, "REREAD_CYCLE_DAYS", sys.maxsize)


@pytest.fixture
def reread_cycle_of_thirty_days(
    monkeypatch: pytest.MonkeyPatch, no_unchanged_file_is_read_again: None
) -> None:
    """Read each file again in one of thirty days, as the default does."""
    monkeypatch.setattr(source_archiver, "REREAD_CYCLE_DAYS", 30)


@pytest.fixture(autouse=True)
def umask_is_restored() -> Iterator[None]:
    """Restore the umask of the process, because `break_glass.main` changes it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A new repository in memory."""
    return new_site(tmp_path / "site", TamperedStore())


@pytest.fixture
def kept(tmp_path: Path) -> KeptSite:
    """A site with a keeper and ten weekly points; the oldest four may expire."""
    return ten_weeks(tmp_path)


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """A tree in which every file, device and folder belongs to another user."""
    try:
        return owned_tree(tmp_path / "owned")
    except PermissionError:
        refused_to_root("this machine lets nobody make devices, or give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory for operations that are traced."""
    with folder_in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the forked processes; servers of other tests may have threads."""
    theirs = set(threading.enumerate())
    monkeypatch.setattr(worker_ipc, "may_fork", lambda: theirs.issuperset(threading.enumerate()))
    made: list[int] = []
    original = os.fork

    def fork() -> int:
        pid = original()
        if pid:
            made.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", fork)
    return made
