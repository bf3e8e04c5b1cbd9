"""A killed search for a clean point leaves no restored data behind."""

import os
import signal
from pathlib import Path

import pytest

from standfast.evidence.review.indicator_search import read_indicators
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills import clean_point_search
from standfast.usecases.drills.drill_folders import scan_folder
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.health.watchdog import keep_watch
from tests.kill.tracing import in_own_process
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at

KILLED = -signal.SIGKILL


def _die(config_file: Path) -> None:
    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    vars(clean_point_search)["scan"] = kill
    with installation_at(config_file) as installation:
        clean_point_search.last_clean_point(installation, "main", read_indicators(["text:wallet"]))


@pytest.mark.parametrize("who", ["the watch", "the next drill"])
def test_remains_of_a_dead_search_are_destroyed(tmp_path: Path, who: str) -> None:
    drills = f'\n[drills]\nidentity = "file:{identity(tmp_path)}"\n'
    config_file = furnish(tmp_path, SERVICE + drills)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
    assert in_own_process(_die, config_file) == KILLED
    (left,) = (tmp_path / "drills").glob(".main.look-*")
    assert any((left / "tree").iterdir())
    with (
        installation_at(config_file) as installation,
        scan_folder(installation, "other", "look") as of_other_set,
    ):
        used = of_other_set.with_name(of_other_set.name.replace("other", "main"))
        used.mkdir()
        if who == "the watch":
            keep_watch(installation, "direct")
        else:
            run_drill(installation, "main", identity(tmp_path))
        assert not left.exists()
        assert used.exists()
        assert of_other_set.exists()
