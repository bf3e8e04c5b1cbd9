"""Hooks of a backup set: real commands around real backups."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup.archiver.upload_cache.database import lock_cache
from standfast.config import load
from standfast.errors import ConfigurationError, ExitStatus, StandfastError, Unavailable
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.core.installation import Installation
from tests.usecases.backup_installation import furnish, identity, installation_at

NOTE = 'echo "$0 $STANDFAST_SET $STANDFAST_RESULT $STANDFAST_POINT" >> '


@contextmanager
def hooked(
    folder: Path,
    before: str = "true",
    after: str = "true",
    *,
    is_required: bool = True,
    before_seconds: int = 30,
) -> Iterator[Installation]:
    """Open an installation with hooks before and after the set `other`."""
    required = json.dumps(is_required)
    more = "".join(
        f"""
[commands.{name}]
argv = {json.dumps(["/bin/sh", "-c", f"{NOTE} {folder}/notes; {script}", name])}
timeout_seconds = {seconds}
"""
        for name, script, seconds in (("pause", before, before_seconds), ("resume", after, 30))
    )
    config_file = furnish(folder, more)
    hooks = (
        f'before = [{{ command = "pause", is_required = {required} }}]\n'
        f'after = [{{ command = "resume", is_required = {required} }}]\n'
    )
    text = config_file.read_text()
    config_file.write_text(
        text.replace("[backup.sets.other]\n", f"[backup.sets.other]\n{hooks}", 1)
    )
    with installation_at(config_file) as installation:
        yield installation


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def recorded_hooks(installation: Installation) -> list[tuple[str, bool]]:
    """Return the moment and success of each hook from the ledger."""
    run = installation.ledger.runs.all("backup", "other")[0]
    return [(hook["moment"], not hook["problem"]) for hook in run.summary.get("hooks", [])]


def test_hooks_surround_the_backup_and_are_recorded(tmp_path: Path) -> None:
    script = f"echo paused > {tmp_path}/scripts/state"
    with hooked(tmp_path, script, f"rm {tmp_path}/scripts/state") as installation:
        outcome = run_backup(installation, "other", "direct")
        assert outcome.exit_status is ExitStatus.DONE
        point = outcome.result.point
        assert notes(tmp_path) == ["pause other  ", f"resume other done {point}"]
        assert recorded_hooks(installation) == [("before", True), ("after", True)]
        restore(installation, "latest", tmp_path / "back", identity(tmp_path), set_name="other")
    assert (tmp_path / "back/scripts/state").read_text() == "paused\n"
    assert not (tmp_path / "scripts/state").exists()


def test_set_without_hooks_runs_none(tmp_path: Path) -> None:
    with hooked(tmp_path) as installation:
        run_backup(installation, "main", "direct")
    assert notes(tmp_path) == []


def test_failed_hook_before_stops_the_backup(tmp_path: Path) -> None:
    with hooked(tmp_path, "exit 3") as installation:
        with pytest.raises(StandfastError):
            run_backup(installation, "other", "direct")
        (run,) = installation.ledger.runs.all("backup", "other")
        assert run.state == "failed"
        assert recorded_hooks(installation) == [("before", False), ("after", True)]
    assert notes(tmp_path)[1] == "resume other failed "


def test_failed_hook_after_makes_the_run_partial(tmp_path: Path) -> None:
    with hooked(tmp_path, after="exit 3") as installation:
        assert run_backup(installation, "other", "direct").exit_status is ExitStatus.PARTIAL
        assert recorded_hooks(installation) == [("before", True), ("after", False)]


def test_hooks_that_are_not_required_stop_nothing(tmp_path: Path) -> None:
    with hooked(tmp_path, "exit 3", "exit 3", is_required=False) as installation:
        assert run_backup(installation, "other", "direct").exit_status is ExitStatus.DONE
        assert recorded_hooks(installation) == [("before", False), ("after", False)]


def test_hook_ends_at_its_time_limit(tmp_path: Path) -> None:
    with hooked(tmp_path, "sleep 60", before_seconds=1) as installation:
        with pytest.raises(StandfastError):
            run_backup(installation, "other", "direct")
        assert recorded_hooks(installation) == [("before", False), ("after", True)]


def test_output_is_logged_to_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = "yes disk is full | head -c 100000; exit 3"
    with (
        hooked(tmp_path, script, is_required=False) as installation,
        caplog.at_level(logging.WARNING, "standfast.backup"),
    ):
        run_backup(installation, "other", "direct")
        (run,) = installation.ledger.runs.all("backup", "other")
    assert "disk is full" in caplog.text
    assert len(caplog.text) < 4000
    assert "disk is full" not in json.dumps(run.summary)


def test_hooks_run_after_a_failed_backup(tmp_path: Path) -> None:
    script = f"mv {tmp_path}/vault {tmp_path}/gone"
    with hooked(tmp_path, script) as installation, pytest.raises(StandfastError):
        run_backup(installation, "other", "direct")
    assert notes(tmp_path)[1:] == ["resume other failed "]


def test_hooks_wait_for_another_set(tmp_path: Path) -> None:
    with hooked(tmp_path) as installation:
        waited: list[list[str]] = []
        with lock_cache(installation.config.backup.send_log) as lock:

            def sleep(seconds: float) -> None:
                waited.append(notes(tmp_path))
                raise Unavailable("enough")

            with pytest.raises(StandfastError):
                run_backup(installation, "other", "direct", sleep=sleep)
            del lock
    assert waited == [[]]


def without_command(text: str) -> str:
    return text.replace("[commands.pause]", "[commands.other]")


def with_parameter(text: str) -> str:
    return text.replace(
        "[commands.resume]", '[commands.resume]\nparameters = { host = { type = "host" } }'
    )


@pytest.mark.parametrize("change", [without_command, with_parameter])
def test_unusable_command_is_refused(tmp_path: Path, change: Callable[[str], str]) -> None:
    with hooked(tmp_path):
        config_file = tmp_path / "standfast.toml"
        config_file.write_text(change(config_file.read_text()))
        with pytest.raises(ConfigurationError):
            load(config_file)
