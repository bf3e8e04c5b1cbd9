"""Backups as use-cases, on real files, a database and a folder store."""

import multiprocessing
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backup.archiver.upload_cache.database import lock_cache
from backup.records import Progress
from standfast.errors import (
    Damaged,
    ExitStatus,
    Refused,
    StandfastError,
    Unavailable,
    UsageError,
)
from standfast.usecases.backups.backup_run import run_backup, set_age
from standfast.usecases.backups.configured_sources import own_files
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.recovery_point_contents import (
    compare_points,
    list_folder,
    list_points,
    write_file_to,
)
from standfast.usecases.backups.verification import verify
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import DIED, recorded
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.source_comparison import compare
from tests.backup.trees import describe
from tests.servers import refused_to_root, wait_until
from tests.usecases.backup_installation import (
    NOW,
    change,
    damage_a_pack,
    full_disk,
    furnish,
    identity,
    installation_at,
)


def assert_equals_the_source(installation: Installation, tree: Path, scratch: Path) -> None:
    scratch.mkdir()
    found = compare(installation.config.backup.sets["main"], tree, scratch, installation.clock)
    assert found.differences == ()
    assert found.files
    assert found.rows


def test_a_changed_backup_comes_back_as_it_was(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        change(tmp_path)
        outcome = run_backup(installation, "main", "direct")
        assert outcome.exit_status is ExitStatus.DONE
        restored = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
        assert restored.exit_status is ExitStatus.DONE
        assert_equals_the_source(installation, tmp_path / "out", tmp_path / "scratch")
        assert not (tmp_path / "out" / "recordings" / "half.tmp").exists()


def test_earlier_backup_is_restored_after_a_later(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        first = run_backup(installation, "main", "direct")
        change(tmp_path)
        run_backup(installation, "main", "direct")
        restore(installation, first.result.point, tmp_path / "out", identity(tmp_path))
    notes = tmp_path / "out" / "recordings" / "notes.txt"
    assert notes.read_text() == "the customer rang twice\n"
    with closing(sqlite3.connect(tmp_path / "out" / "crm" / "crm.db")) as crm:
        assert crm.execute("SELECT count(*) FROM customers").fetchone() == (20,)


def test_ambiguous_latest_is_refused(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        first = run_backup(installation, "main", "direct").result.point
        run_backup(installation, "main", "direct")
        run_backup(installation, "other", "direct")
        key = identity(tmp_path)
        with pytest.raises(UsageError, match="with --set: main, other"):
            restore(installation, "latest", tmp_path / "out", key)
        with pytest.raises(UsageError, match="with --set: main, other"):
            list_folder(installation, "latest", "", key)
        with pytest.raises(UsageError, match="with --set: main, other"):
            write_file_to(installation, "latest", "scripts/greeting.txt", key, bytes)
        assert not (tmp_path / "out").exists()
        restored = restore(installation, "latest", tmp_path / "out", key, set_name="main")
        assert restored.point.sequence == 2
        # With points of two sets, `latest` is the newest point of the named set.
        compared = compare_points(installation, first, "latest", key)
        assert (compared.before.sequence, compared.after.sequence) == (1, 2)


def test_run_is_recorded_with_counts_without_names(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        outcome = run_backup(installation, "main", "serve")
        (row,) = installation.ledger.runs.all("backup", "main")
        assert (row.id, row.state, row.way) == (outcome.run, "done", "serve")
        assert row.summary["point"] == "host-1/0000000001"
        assert row.summary["files"] == outcome.result.files == 5
        assert row.ended_at is not None
        report = installation.ledger.audit.verify()
        assert report.is_whole
        assert report.witnessed
    assert b"call-1.wav" not in (tmp_path / "ledger.db").read_bytes()


def test_restore_reports_its_progress(tmp_path: Path) -> None:
    seen: list[Progress] = []
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        restore(installation, "latest", tmp_path / "out", identity(tmp_path), progress=seen.append)
    assert seen[-1].files == 5


def test_missing_source_makes_the_run_partial(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        (tmp_path / "crm.db").rename(tmp_path / "moved.db")
        outcome = run_backup(installation, "main", "direct")
        assert outcome.exit_status is ExitStatus.PARTIAL
        assert [item.path for item in outcome.result.unread] == ["crm"]
        assert "crm.db" in outcome.result.unread[0].reason
        (row,) = installation.ledger.runs.all("backup", "main")
        assert (row.state, row.summary["unread"]) == ("partial", 1)
        restored = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
        assert (restored.exit_status, restored.result.problems) == (ExitStatus.PARTIAL, ())
    assert (tmp_path / "out" / "recordings" / "notes.txt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read")
def test_unreadable_file_makes_the_run_partial() -> None:
    # Not below pytest's folder, because only its owner may enter it.
    with TemporaryDirectory() as name:
        folder = Path(name)
        config_file = furnish(folder)
        (folder / "recordings" / "notes.txt").chmod(0o000)
        assert _in_a_process(_back_up_as_nobody, config_file) == ExitStatus.PARTIAL
        with installation_at(config_file) as installation:
            restored = restore(
                installation, "latest", folder / "out", identity(folder), set_name="main"
            )
            (row,) = installation.ledger.runs.all("backup", "main")
            assert (row.state, row.summary["unread"]) == ("partial", 1)
            assert restored.result.files == 4
        assert not (folder / "out" / "recordings" / "notes.txt").exists()


def _back_up_as_nobody(config_file: Path) -> int:
    nobody = 65534
    with installation_at(config_file) as installation:
        run_backup(
            installation, "other", "direct"
        )  # so that every module is loaded before this user loses the right to read it
        for path in [config_file.parent, *config_file.parent.rglob("*")]:
            if path.name != "notes.txt":
                os.chown(path, nobody, nobody, follow_symlinks=False)
        os.setgroups([])
        os.setgid(nobody)
        os.setuid(nobody)
        outcome = run_backup(installation, "main", "direct")
    named = [item.path for item in outcome.result.unread]
    return int(outcome.exit_status) if named == ["recordings/notes.txt"] else 99


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_restores_and_leaves_no_files(
    tmp_path: Path,
) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        vault = sorted((tmp_path / "vault").rglob("*"))
        os.chown(installation.config.backup.host, 65534, 65534)
        for run in (
            lambda: run_backup(installation, "main", "direct"),
            lambda: verify(installation),
            lambda: run_drill(installation, "main", identity(tmp_path)),
        ):
            with pytest.raises(Refused, match="`sudo -u nobody`"):
                run()
        assert sorted((tmp_path / "vault").rglob("*")) == vault
        restored = restore(
            installation, "latest", tmp_path / "out", identity(tmp_path), set_name="main"
        )
        assert restored.exit_status is ExitStatus.DONE
        os.chown(installation.config.backup.host, 0, 0)
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE


def test_vault_inside_the_source_does_not_grow(tmp_path: Path) -> None:
    config = furnish(tmp_path)
    text = config.read_text().replace('path = "scripts"', 'path = "."')
    config.write_text(text + '\n[backup.copies.near]\nvault = "copy"\n')
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "pack").write_bytes(b"a copy of a backup")
    with installation_at(config) as installation:
        for _ in range(2):
            result = run_backup(installation, "other", "direct").result
            left_out = {item.path for item in result.left_out}
            assert left_out == {"scripts/vault", "scripts/copy"}
        restore(installation, "latest", tmp_path / "tree", identity(tmp_path), set_name="other")
        restored = tmp_path / "tree" / "scripts"
        assert (restored / "recordings" / "notes.txt").read_text() == "the customer rang twice\n"
        assert not any((restored / "vault").iterdir())
        assert not any((restored / "copy").iterdir())
        (tmp_path / "scratch").mkdir()
        own = own_files(installation.config.backup)
        settings = installation.config.backup.sets["other"]
        found = compare(settings, tmp_path / "tree", tmp_path / "scratch", installation.clock, own)
        assert not any("vault/" in one or "copy/" in one for one in found.differences)


def test_empty_vault_is_reported_as_empty(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        for set_name in (None, "main", "mian"):
            with pytest.raises(UsageError, match="no recovery point"):
                restore(
                    installation, "latest", tmp_path / "out", identity(tmp_path), set_name=set_name
                )


def test_missing_vault_is_named(tmp_path: Path) -> None:
    config = furnish(tmp_path, '[backup.bandwidth]\n"08:00-20:00" = "20 MB/s"\n')
    shutil.rmtree(tmp_path / "vault")
    with installation_at(config) as installation:
        told = f"{re.escape(str(tmp_path))}/vault: there is no repository"
        with pytest.raises(UsageError, match=told):
            run_backup(installation, "main", "direct")
        with pytest.raises(UsageError, match=told):
            list_points(installation)


def test_foreign_vault_is_not_listed_as_own(tmp_path: Path) -> None:
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        with installation_at(furnish(tmp_path / name)) as installation:
            run_backup(installation, "other", "direct")
    shutil.rmtree(tmp_path / "one" / "vault")
    (tmp_path / "another" / "vault").rename(tmp_path / "one" / "vault")
    with installation_at(tmp_path / "one" / "standfast.toml") as installation:
        with pytest.raises(Damaged, match="another owner"):
            list_points(installation)
        # Without the keys of this host, nothing shows which owner the vault should have.
        shutil.rmtree(installation.config.backup.host)
        assert len(list_points(installation).points) == 1


def test_upload_cache_inside_the_source_is_excluded(tmp_path: Path) -> None:
    """The cache differs after each backup, so each one would store it again."""
    config = furnish(tmp_path, '[backup]\nsend_log = "scripts/sta*te [1]/send-log.db"\n')
    with installation_at(config) as installation:
        for _ in range(2):
            assert run_backup(installation, "other", "direct").exit_status is ExitStatus.DONE
        assert len(list((tmp_path / "scripts/sta*te [1]").glob("send-log.db*"))) > 1
        (tmp_path / "scripts/sta*te [1]/answers").write_text("kept")
        run_backup(installation, "other", "direct")
        restore(installation, "latest", tmp_path / "tree", identity(tmp_path))
        restored = tmp_path / "tree" / "scripts"
        assert (restored / "sta*te [1]" / "answers").read_text() == "kept"
        assert not list(restored.rglob("send-log.db*"))


def test_unknown_set_names_the_known_ones(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        with pytest.raises(UsageError, match="main, other"):
            run_backup(installation, "mian", "direct")
        assert installation.ledger.runs.all("backup") == []


def test_unwritable_store_is_a_clear_failure(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        (tmp_path / "vault" / "w").write_text("a file where the packs should go")
        with pytest.raises(Unavailable, match="storing w/host-1") as caught:
            run_backup(installation, "main", "direct")
        assert caught.value.exit_status is ExitStatus.FAILED
        (row,) = installation.ledger.runs.all("backup", "main")
        assert row.state == "failed"
        assert "storing" in row.summary["problem"]


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        packs = tmp_path / "vault" / "w" / "host-1" / "p"
        kept = tmp_path / "kept"
        packs.rename(kept)
        with full_disk(packs, "64k") as is_full:
            if not is_full:
                refused_to_root("no file system may be mounted here")
            (tmp_path / "recordings" / "new.wav").write_bytes(os.urandom(900_000))
            with pytest.raises(Unavailable, match="has space"):
                run_backup(installation, "main", "direct")
        packs.rmdir()
        kept.rename(packs)
        restored = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
        assert restored.exit_status is ExitStatus.DONE
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE


def test_full_disk_below_the_cache_is_reported(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        with full_disk(tmp_path / "state", "16k") as is_full:
            if not is_full:
                refused_to_root("no file system may be mounted here")
            with pytest.raises(StandfastError, match="free space"):
                run_backup(installation, "main", "direct")
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE


def test_another_identity_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    furnish(tmp_path / "theirs")
    with installation_at(furnish(tmp_path / "ours")) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(UsageError) as caught:
            restore(installation, "latest", tmp_path / "out", identity(tmp_path / "theirs"))
        assert caught.value.exit_status is ExitStatus.USAGE
        with pytest.raises(UsageError):  # the refusal reports no damage
            verify(installation, identity_file=identity(tmp_path / "theirs"))
        assert verify(installation, identity_file=identity(tmp_path / "ours")).open_damage is None
        shutil.rmtree(
            installation.config.backup.host
        )  # as on a machine that restores after a disaster
        with pytest.raises(UsageError):
            list_folder(installation, "latest", "", identity(tmp_path / "theirs"))
        with pytest.raises(UsageError):
            restore(installation, "latest", tmp_path / "out", identity(tmp_path / "theirs"))
        with pytest.raises(UsageError):
            verify(installation, identity_file=identity(tmp_path / "theirs"))
        restored = restore(installation, "latest", tmp_path / "back", identity(tmp_path / "ours"))
        assert restored.exit_status is ExitStatus.DONE
        assert_equals_the_source(installation, tmp_path / "back", tmp_path / "scratch")
    assert not (tmp_path / "out").exists()


def test_link_cycle_fails_only_its_source(tmp_path: Path) -> None:
    config = furnish(tmp_path)
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    config.write_text(config.read_text().replace('path = "recordings"', 'path = "circle"'))
    with installation_at(config) as installation:
        outcome = run_backup(installation, "main", "direct")
        assert outcome.exit_status is ExitStatus.PARTIAL
        assert "Too many levels of symbolic links" in outcome.result.unread[0].reason
        with pytest.raises(StandfastError, match="symbolic links"):
            restore(installation, "latest", circle / "out", identity(tmp_path))
        restored = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
        assert restored.exit_status is ExitStatus.PARTIAL
        with closing(sqlite3.connect(tmp_path / "out" / "crm" / "crm.db")) as crm:
            assert crm.execute("SELECT count(*) FROM customers").fetchone() == (20,)


@pytest.mark.parametrize("inside", ["vault", "vault/restored", "keys/store/../store/restored"])
def test_restore_into_vault_or_key_store_is_refused(tmp_path: Path, inside: str) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(Refused, match="a store of backups"):
            restore(installation, "latest", tmp_path / inside, identity(tmp_path))
        assert not (tmp_path / inside / "recordings").exists()
        assert verify(installation).findings == ()
        restored = restore(installation, "latest", tmp_path / "vault-2", identity(tmp_path))
        assert restored.exit_status is ExitStatus.DONE
        assert_equals_the_source(installation, tmp_path / "vault-2", tmp_path / "scratch")


def test_a_restore_needs_an_identity(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(UsageError, match="--identity"):
            restore(installation, "latest", tmp_path / "out", None)


def test_restore_overwrites_no_existing_file(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(Refused, match="empty"):
            restore(installation, "latest", tmp_path / "recordings", identity(tmp_path))


def test_unknown_point_lists_the_existing_ones(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(UsageError, match="host-1/0000000001"):
            restore(installation, "17", tmp_path / "out", identity(tmp_path))


def test_identity_reveals_more_about_points(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        run_backup(installation, "other", "direct")
        assert [point.set_name for point in list_points(installation).points] == ["main", "other"]
        (bare,) = list_points(installation, "other").points
        assert bare.details is None
        (told,) = list_points(installation, "other", identity(tmp_path)).points
        assert told.details is not None
        assert told.details.files == 1


def test_second_run_of_a_set_is_refused(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        with (
            recorded(installation, "backup", "main", "direct") as run,
            pytest.raises(Refused, match=rf"in progress \(process {os.getpid()} on "),
        ):
            run_backup(installation, "main", "direct")
        run_backup(installation, "main", "direct")
        assert len(installation.ledger.runs.all("backup", "main")) == 2
        assert run.died_before == ()


def test_another_set_waits_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        turn = multiprocessing.get_context("spawn").Event()
        done = multiprocessing.get_context("spawn").Event()
        other = multiprocessing.get_context("spawn").Process(
            target=_hold_the_send_log, args=(tmp_path, turn, done)
        )
        other.start()
        try:
            assert turn.wait(120)
            with pytest.raises(Refused, match="another backup uses it"):
                run_backup(installation, "other", "direct", wait_for_another_set=timedelta(0))
            assert not caplog.messages
            outcome = run_backup(installation, "other", "direct", sleep=lambda _: done.set())
        finally:
            done.set()
            other.join(120)
        told = [text for text in caplog.messages if "other waits" in text]
        assert len(told) == 1
        assert outcome.exit_status is ExitStatus.DONE
        restore(installation, outcome.result.point, tmp_path / "out", identity(tmp_path))
        assert describe(tmp_path / "out/scripts") == describe(tmp_path / "scripts")


def _hold_the_send_log(folder: Path, turn: Event, done: Event) -> None:
    with lock_cache(folder / "state" / "send-log.db"):
        turn.set()
        done.wait(240)


def test_dead_run_is_marked_by_the_next(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    assert _in_a_process(_die_in_the_middle, config_file) == -9
    with installation_at(config_file) as installation:
        (row,) = installation.ledger.runs.all("backup", "main")
        assert row.state == "running"
        outcome = run_backup(installation, "main", "direct")
        assert outcome.died_before == (row.id,)
        states = {
            one.id: (one.state, one.summary) for one in installation.ledger.runs.all("backup")
        }
        assert states[row.id] == ("failed", {**row.summary, "problem": DIED})
        assert states[outcome.run][0] == "done"
        assert installation.ledger.audit.verify().is_whole


def _die_in_the_middle(config_file: Path) -> int:
    with (
        installation_at(config_file) as installation,
        recorded(installation, "backup", "main", "direct"),
    ):
        os.kill(os.getpid(), 9)
    return 0


def test_interrupted_run_is_recorded_as_failed(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        with (
            pytest.raises(KeyboardInterrupt),
            recorded(installation, "backup", "main", "direct"),
        ):
            raise KeyboardInterrupt
        (row,) = installation.ledger.runs.all("backup", "main")
        assert (row.state, row.summary["problem"]) == ("failed", "unexpected KeyboardInterrupt")


def test_two_restores_at_once_are_two_restores(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with recorded(installation, "restore", "main", "direct", is_shared=True) as other:
            restore(installation, "latest", tmp_path / "out", identity(tmp_path))
            other.ends("done", {})
        assert {row.state for row in installation.ledger.runs.all("restore")} == {"done"}


def test_damaged_vault_restore_names_the_files(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        damage_a_pack(tmp_path)
        try:
            outcome = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
        except Damaged:
            pass  # a page of the manifest was damaged, so no file can be listed
        else:
            assert outcome.exit_status is ExitStatus.DAMAGED
            assert outcome.result.problems
        assert installation.ledger.runs.all("restore")[0].state == "failed"


def test_a_backup_that_did_not_run_is_missed(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    now = [NOW]
    with installation_at(config_file, clock=lambda: now[0]) as installation:
        never = set_age(installation, "main")
        assert never.is_missed
        assert never.good_at is None
        run_backup(installation, "main", "direct")
        good = set_age(installation, "main")
        assert not good.is_missed
        assert good.due_at == NOW.replace(hour=2, minute=30)
        now[0] = NOW + timedelta(days=1)
        late = set_age(installation, "main")
        assert late.is_missed
        assert late.age_seconds == 86400
        assert not set_age(installation, "main", grace=timedelta(hours=1)).is_missed


def test_a_run_that_failed_is_no_backup(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path), clock=lambda: NOW) as installation:
        with pytest.raises(StandfastError), recorded(installation, "backup", "main", "direct"):
            raise StandfastError("the disk broke")
        assert set_age(installation, "main").is_missed
        with recorded(installation, "backup", "main", "direct"):
            assert not set_age(installation, "main").is_missed  # a run is in progress


def _in_a_process(work: Callable[[Path], int], config_file: Path) -> int | None:
    """Run `work` in its own process; return its exit code."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_exit_with, args=(work, config_file))
    process.start()
    wait_until(lambda: not process.is_alive(), "the process ends")
    process.join()
    return process.exitcode


def _exit_with(work: Callable[[Path], int], config_file: Path) -> None:
    os._exit(work(config_file))
