"""A writer's store cannot remove; its process loads no code that does."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from backup.archiver import backup_run
from backup.stores import Store, directory
from backup.stores.keeper import KeeperStore
from backup.stores.s3 import store
from tests.backup.memory_stores import MemoryKeeperStore, MemoryStore
from tests.backup.site import new_site
from tests.backup.trees import describe, plain_tree

ONLY_THE_KEEPERS = {"clock", "lock_until", "extend_lock", "remove"}
LOADED = """
import sys
import backup.archiver.backup_run, backup.repository, backup.checker.verification
import backup.stores.directory, backup.stores.s3.store
kept = ("keep", "retention")
names = [name for name in sys.modules if name.startswith("backup.")]
print(*sorted(name for name in names if any(word in name for word in kept)))
"""


def test_writer_stores_have_no_keeper_methods() -> None:
    assert {name for name in vars(KeeperStore) if not name.startswith("_")} == ONLY_THE_KEEPERS
    assert not ONLY_THE_KEEPERS & {name for name, _ in inspect.getmembers(Store)}
    assert get_type_hints(backup_run.back_up)["vault"] is Store
    for kind in (directory.DirectoryStore, MemoryStore, store.S3Store):
        assert not ONLY_THE_KEEPERS & {name for name, _ in inspect.getmembers(kind)}


def test_a_writers_process_loads_nothing_that_removes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    # The base class only declares the methods of a keeper's store.
    harmless = {"backup.format.keep_record", "backup.trust.retention_log", "backup.stores.keeper"}
    assert {"backup.trust.retention_log"} <= set(done.stdout.split()) <= harmless


def test_backup_and_restore_load_no_keeper_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("a writer or a reader called the keeper's side")

    for name in ONLY_THE_KEEPERS:
        monkeypatch.setattr(KeeperStore, name, touched)
    site = new_site(tmp_path / "site", MemoryKeeperStore())
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    site.back_up(source)
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
