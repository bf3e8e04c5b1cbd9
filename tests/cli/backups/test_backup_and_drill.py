"""Backups and drills at the command line, with each exit status."""

import errno
import fcntl
import os
import shutil
import signal
from pathlib import Path

import pyrage
import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.servers import free_port


@pytest.fixture
def identity(installation: Path) -> Path:
    return installation / "offline/identity.txt"


def damage(installation: Path) -> None:
    """Flip a byte in the middle of the largest objects, which are packs."""
    objects = [path for path in (installation / "vault").rglob("*") if path.is_file()]
    packs = [path for path in objects if path.stat().st_size > 100_000]
    assert packs
    for pack in packs:
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.chmod(0o640)
        pack.write_bytes(content)


def test_restored_backup_equals_its_source(desk: Desk, installation: Path, identity: Path) -> None:
    answer = desk.run("backup", "run", "main")
    assert answer.status == 0
    assert "main: host-1/0000000001, 1 file, 6 B" in answer.out
    (point,) = desk.json("backup", "list", "--identity", identity)["points"]
    assert (point["point"], point["files"]) == ("host-1/0000000001", 1)
    restored = desk.run(
        *("backup", "restore", "latest", "--to", "out", "--identity", identity, "source/note.txt")
    )
    assert restored.status == 0
    assert (desk.folder / "out/source/note.txt").read_text() == "a note"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("caf\udce9-1", r"caf\xe9-1"),
        ("", ""),
        ("x" * 64, "x" * 64),
        ("A.Very Odd Host", "A.Very Odd Host"),
        ("a\nb", r"a\nb"),
    ],
)
def test_host_name_is_in_point_and_timeline(
    name: str, written: str, desk: Desk, installation: Path, identity: Path
) -> None:
    *_, release, version, machine = os.uname()
    called = os.uname_result(("Linux", name, release, version, machine))
    desk.monkeypatch.setattr("os.uname", lambda: called)
    assert desk.run("backup", "run", "main").status == 0
    restored = desk.run("backup", "restore", "latest", "--to", "out", "--identity", identity)
    assert restored.status == 0
    assert (desk.folder / "out/source/note.txt").read_text() == "a note"
    *_, last = desk.json("audit", "show")["events"]
    assert last["actor"].partition("@")[2] == written
    assert desk.run("audit", "verify").status == 0


def test_foreign_snapshots_are_reported_once(
    desk: Desk, installation: Path, identity: Path
) -> None:
    assert desk.run("backup", "run", "main").status == 0
    for slot in ("0000000002", "9999999999"):
        (installation / "vault/w/host-1/s" / slot).write_bytes(b"not a point")
    answer = desk.run("backup", "run", "main")
    assert answer.status == 3
    assert "check who else has this host's rights at the store" in answer.out + answer.err
    assert "main: host-1/0000000003" in answer.out
    (after,) = desk.json("backup", "run", "main")["backups"]
    assert (after["point"], after["exit_status"]) == ("host-1/0000000004", 0)
    assert (after["has_invalid_snapshots"], after["warnings"]) == (False, [])
    restored = desk.run("backup", "restore", "latest", "--to", "out", "--identity", identity)
    assert restored.status == 0
    assert (desk.folder / "out/source/note.txt").read_text() == "a note"
    assert desk.run("backup", "verify", "--read").status == 0


def test_rolled_back_machine_is_reported_then_backs_up(
    desk: Desk, installation: Path, identity: Path
) -> None:
    """A cloned machine looks the same: two hosts with one identity."""
    note = desk.folder / "source/note.txt"
    assert desk.run("backup", "run", "main").status == 0
    vault, image = installation / "vault", desk.folder / "image"
    vault.rename(desk.folder / "elsewhere")
    shutil.copytree(installation, image)
    (desk.folder / "elsewhere").rename(vault)
    note.write_text("after the image was made")
    assert desk.run("backup", "run", "main").status == 0

    vault.rename(image / "vault")
    shutil.rmtree(installation)
    image.rename(installation)
    note.write_text("after the machine was rolled back")
    answer = desk.run("backup", "run", "main")
    assert answer.status == 3
    assert "cloned or rolled back" in answer.out + answer.err
    assert "main: host-1/0000000003" in answer.out

    note.write_text("the next backup")
    (after,) = desk.json("backup", "run", "main")["backups"]
    assert after["point"] == "host-1/0000000004"
    assert (after["has_foreign_point"], after["warnings"], after["exit_status"]) == (False, [], 0)
    for sequence, text in enumerate(
        ("a note", "after the image was made", "after the machine was rolled back"), 1
    ):
        out = f"out-{sequence}"
        words = ("backup", "restore", f"{sequence}", "--to", out, "--identity", identity)
        assert desk.run(*words).status == 0
        assert (desk.folder / out / "source/note.txt").read_text() == text
    words = ("backup", "restore", "latest", "--to", "out", "--identity", identity)
    assert desk.run(*words).status == 0
    assert (desk.folder / "out/source/note.txt").read_text() == "the next backup"


def test_full_disk_of_state_does_not_prevent_restore(
    desk: Desk, installation: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text in a run's lock file is optional; the lock works without it."""
    assert desk.run("backup", "run", "main").status == 0
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".lock":
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        restored = desk.run("backup", "restore", "latest", "--to", "out", "--identity", identity)
        assert restored.status == 0, restored
        assert desk.run("backup", "verify").status == 0
    assert (desk.folder / "out/source/note.txt").read_text() == "a note"


def test_unknown_set_lists_the_known_sets(desk: Desk, installation: Path) -> None:
    assert desk.run("backup", "run").status == 0
    identity = installation / "offline/identity.txt"
    words = ("backup", "restore", "latest", "--to", "out", "--identity", identity)
    answer = desk.run(*words, "--set", "nope")
    assert answer.status == ExitStatus.USAGE
    assert "backup set 'nope': not in the vault; the known names are: main" in answer.err


def test_restore_that_selects_nothing_says_so(desk: Desk, installation: Path) -> None:
    assert desk.run("backup", "run").status == 0
    identity = installation / "offline/identity.txt"
    words = ("backup", "restore", "latest", "--identity", identity)
    nothing = desk.run(*words, "--to", "out", "source/gone/*")
    assert nothing.status == ExitStatus.USAGE
    assert "Nothing is restored" in nothing.out
    assert "source/gone/*" in nothing.out
    assert "still writing" not in nothing.out
    assert "`standfast backup ls host-1/0000000001 --identity FILE`" in nothing.out
    some = desk.run(*words, "--to", "some", "source/note.txt", "source/gone/*")
    assert some.status == ExitStatus.PARTIAL
    assert "selects nothing in this point" in some.out


def test_restore_into_nonempty_folder_is_refused(
    desk: Desk, installation: Path, identity: Path
) -> None:
    desk.run("backup", "run")
    words = ("backup", "restore", "latest", "--to", desk.folder / "source", "--identity", identity)
    before = (desk.folder / "source").stat().st_mtime_ns
    answer = desk.run(*words)
    assert answer.status == 4
    assert (desk.folder / "source").stat().st_mtime_ns == before
    assert (desk.folder / "source/note.txt").read_text() == "a note"
    assert [path.name for path in (desk.folder / "source").iterdir()] == ["note.txt"]


def test_folder_of_running_restore_is_refused(
    desk: Desk, installation: Path, identity: Path
) -> None:
    desk.run("backup", "run")
    words = ("backup", "restore", "latest", "--to", "out", "--identity", identity)
    (desk.folder / "out").mkdir()
    with (desk.folder / "out/.standfast-restore").open("w") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        answer = desk.run(*words)
    assert answer.status == 4
    assert "out: another restore is running there" in answer.err
    assert desk.run(*words).status == 0


def test_missing_source_makes_backup_partial(
    desk: Desk, installation: Path, identity: Path
) -> None:
    text = (installation / "standfast.toml").read_text()
    (installation / "standfast.toml").write_text(
        text.replace(
            "sources = [", 'sources = [\n  { kind = "files", name = "gone", path = "gone" },'
        )
    )
    answer = desk.run("backup", "run")
    assert answer.status == 3, answer
    assert "gone" in answer.out
    document = desk.json("backup", "run")
    assert document["backups"][0]["exit_status"] == 3
    nothing = desk.run("backup", "restore", "latest", "gone", "--to", "o", "--identity", identity)
    assert "Nothing is restored" in nothing.out
    assert "The backup could not read 1 path completely" in nothing.out
    assert "may contain the missing files" in nothing.out


def test_set_without_files_is_not_done(desk: Desk, installation: Path) -> None:
    """An empty folder may be the mount point of a disk that was not mounted."""
    (desk.folder / "unmounted").mkdir()
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            "\n[backup.sets.other]\n"
            f'sources = [{{ kind = "files", name = "x", path = "{desk.folder}/unmounted" }}]\n'
        )
    answer = desk.run("backup", "run", "other")
    assert answer.status == 3, answer
    assert "other: host-1/0000000001, 0 files" in answer.out
    assert "No file was found." in answer.out


def test_one_sets_failure_does_not_stop_the_others(desk: Desk, installation: Path) -> None:
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            '\n[backup.sets.other]\nsources = [{ kind = "files", name = "x", path = "gone" }]\n'
        )
    document = desk.json("backup", "run")
    assert document["exit_status"] == 3
    by_set = {one["set"]: one for one in document["backups"]}
    assert by_set["main"]["exit_status"] == 0
    assert by_set["other"]["exit_status"] == 1


def test_unreachable_database_fails_its_set_only(desk: Desk, installation: Path) -> None:
    down = f'{{ kind = "postgresql", name = "crm", host = "127.0.0.1", port = {free_port()} }}'
    config = installation / "standfast.toml"
    text = config.read_text().replace("sources = [", f"sources = [\n  {down},")
    config.write_text(f"{text}\n[backup.sets.crm]\nsources = [{down}]\n")
    alone = desk.run("backup", "run", "crm")
    assert alone.status == 1
    assert "no source could be read, so no recovery point was made: source crm" in alone.err
    document = desk.json("backup", "run", "main")
    assert document["exit_status"] == 3
    (unread,) = document["backups"][0]["unread"]
    assert unread["path"] == "crm"
    assert document["backups"][0]["files"] == 1


def test_second_backup_of_running_set_is_refused(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    with (installation / "state/backup-main.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = desk.run("backup", "run", "main")
    assert answer.status == 4
    assert "in progress" in answer.err


@pytest.mark.usefixtures("installation")
def test_verification_without_points_reports_no_agreement(desk: Desk) -> None:
    answer = desk.run("backup", "verify")
    assert answer.status == 0
    assert "There is nothing to verify yet." in answer.out
    assert "agrees" not in answer.out


def test_verify_restore_and_drill_find_damaged_vault(
    desk: Desk, installation: Path, identity: Path
) -> None:
    (desk.folder / "source/large").write_bytes(os.urandom(200_000))
    desk.run("backup", "run")
    assert desk.run("backup", "verify", "--read").status == 0
    damage(installation)
    verified = desk.run("backup", "verify", "--read")
    assert verified.status == 6
    assert "error: " in verified.out
    words = ("backup", "restore", "latest", "--to", "out", "--identity", identity)
    assert desk.run(*words).status == 6
    drilled = desk.run("drill", "run", "main", "--identity", identity)
    assert drilled.status == 6
    assert "RTO" in drilled.out


def test_a_drill_measures_destroys_and_is_listed(
    desk: Desk, installation: Path, identity: Path
) -> None:
    desk.run("backup", "run")
    document = desk.json("drill", "run", "main", "--identity", identity, "--compare")
    assert (document["exit_status"], document["target_is_gone"]) == (0, True)
    assert document["restored_at"] is not None
    assert document["rto_ms"] is None  # no check shows that the service is usable
    (listed,) = desk.json("drill", "list")["drills"]
    assert listed["run"] == document["run"]
    kept = desk.run("drill", "run", "main", "--identity", identity, "--keep")
    assert (kept.status, "The restored data is kept in" in kept.out) == (0, True)
    assert "of work lost, counted from the time of the backup" in kept.out
    Path(document["report"]).unlink()
    assert desk.run("drill", "list").status == 6


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_terminated_drill_destroys_its_target_and_fails(
    desk: Desk, installation: Path, identity: Path, number: signal.Signals, status: int
) -> None:
    """Customers' data would stay in clear until the next drill."""
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            "\n[services.notes]\nowner = 'Head'\nrto_minutes = 60\nrpo_minutes = 60\n"
            "sets = ['main']\nchecks = [{ kind = 'command', command = ['true'] }]\n"
        )
    desk.run("backup", "run")
    restored: list[Path] = []

    def told_to_end(*_: object) -> None:
        restored.extend((installation / "drills").rglob("note.txt"))
        os.kill(os.getpid(), number)

    desk.monkeypatch.setattr("standfast.usecases.drills.restore_drill.run_checks", told_to_end)
    answer = desk.run("drill", "run", "main", "--identity", identity)
    assert answer.status == status
    assert answer.err.startswith("interrupted:")
    assert restored
    assert not any(file.exists() for file in restored)
    assert [one["state"] for one in desk.json("drill", "list")["drills"]] == ["failed"]
    again = desk.json("drill", "run", "main", "--identity", identity)
    assert again == {"error": answer.err.rstrip(), "exit_status": status}


def test_interrupted_restore_can_be_resumed_by_same_command(
    desk: Desk, installation: Path, identity: Path, tmp_path: Path
) -> None:
    desk.run("backup", "run")
    words = ("backup", "restore", "latest", "--to", tmp_path / "out", "--identity", identity)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with desk.monkeypatch.context() as patch:
        patch.setattr("standfast.usecases.backups.folder_restore.restore", interrupted)
        stopped = desk.run(*words)
    assert stopped.status == 130
    assert stopped.err.startswith("interrupted: ")
    assert desk.run(*words).status == 0


def test_drill_names_differences_from_the_source(
    desk: Desk, installation: Path, identity: Path
) -> None:
    desk.run("backup", "run")
    note = next((installation.parent).rglob("note.txt"))
    note.write_text("written since")
    drilled = desk.run("drill", "run", "main", "--identity", identity, "--compare")
    assert drilled.status == 1
    assert "1 difference\n" in drilled.out
    assert "note.txt: " in drilled.out
    assert "RTO       never usable\n" in drilled.out


def test_failed_drill_shows_its_reason(desk: Desk, installation: Path, identity: Path) -> None:
    config = installation / "standfast.toml"
    config.write_text(
        config.read_text()
        + '[services.crm]\nowner = "IT"\nrto_minutes = 60\nrpo_minutes = 60\nsets = ["main"]\n'
        + '[[services.crm.checks]]\nkind = "command"\ncommand = ["true"]\n'
        + '[services.phones]\nowner = "IT"\nrto_minutes = 60\nrpo_minutes = 60\n'
    )
    desk.run("backup", "run")
    drill = ("drill", "run", "main", "--identity", identity)
    stranger = desk.folder / "stranger.txt"
    stranger.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    assert desk.run(*drill[:-1], stranger).status == 2
    assert desk.run(*drill).status == 0
    done, failed, *_ = desk.run("drill", "list").out.splitlines()
    assert "RTO " in done
    assert "not measured" in failed
    assert "identity: it opens no domain" in failed
    desk.run("report", "--to", "place.html")
    page = (desk.folder / "place.html").read_text()
    assert page.count("<caption>Drill of main") == 2
    assert "never usable" in page
    assert "identity: it opens no domain" in page
    assert "No: in the newest drill of each service, 1 of 2 services met their objectives" in page
    assert "never drilled: phones." in page


def test_mistyped_point_is_not_a_failed_drill(
    desk: Desk, installation: Path, identity: Path
) -> None:
    drill = ("drill", "run", "main", "--identity", identity)
    desk.run("backup", "run")
    assert desk.run(*drill).status == 0
    for point in ("nope", "nope/latest", "2"):
        refused = desk.run(*drill, "--point", point)
        assert (refused.status, "The only point is: host-1/0000000001" in refused.err) == (2, True)
    (only,) = desk.json("drill", "list")["drills"]
    assert only["state"] == "done"


@pytest.mark.parametrize("point", ["latest", "host-1/latest", "1"])
def test_drill_without_points_fails(
    desk: Desk, installation: Path, identity: Path, point: str
) -> None:
    desk.run("backup", "run")
    (installation / "vault/w/host-1/s/0000000001").unlink()
    drilled = desk.run("drill", "run", "main", "--identity", identity, "--point", point)
    assert drilled.status == 2
    (failed,) = desk.json("drill", "list")["drills"]
    assert failed["state"] == "failed"


def test_drill_that_restores_too_little_says_so(
    desk: Desk, installation: Path, identity: Path
) -> None:
    drill = ("drill", "run", "main", "--identity", identity)
    (desk.folder / "source/note.txt").rename(desk.folder / "note.txt")
    assert desk.run("backup", "run").status == 3
    empty = desk.run(*drill)
    assert (empty.status, "no file was restored" in empty.out) == (3, True)
    (desk.folder / "note.txt").rename(desk.folder / "source/note.txt")
    config = installation / "standfast.toml"
    absent = '{ kind = "files", name = "absent", path = "/nowhere" },\n]'
    config.write_text(config.read_text().replace("\n]\n", f"\n{absent}\n", 1))
    assert desk.run("backup", "run").status == 3
    partial = desk.run(*drill)
    assert (partial.status, "the point itself is incomplete" in partial.out) == (3, True)
    assert desk.json(*drill)["shortfalls"]


def test_a_failed_check_fails_the_drill(desk: Desk, installation: Path, identity: Path) -> None:
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            "\n[services.notes]\nowner = 'Head'\nrto_minutes = 60\nrpo_minutes = 60\n"
            "sets = ['main']\nchecks = [{ kind = 'command', command = ['false'] }]\n"
        )
    desk.run("backup", "run")
    answer = desk.run("drill", "run", "main", "--identity", identity)
    assert answer.status == 1
    assert "failed" in answer.out


def test_drill_of_a_service_shows_its_clocks(
    desk: Desk, installation: Path, identity: Path
) -> None:
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            "\n[services.notes]\nowner = 'Head'\nrto_minutes = 60\nrpo_minutes = 60\n"
            'sets = ["main"]\n[[services.notes.checks]]\nkind = "command"\ncommand = ["true"]\n'
        )
    desk.run("backup", "run")
    drilled = desk.run("drill", "run", "notes", "--identity", identity)
    assert drilled.status == 0
    for shown in ("Drill of service.notes: done.", "data complete", "usable", "notes: RTO met"):
        assert shown in drilled.out
    assert desk.run("drill", "run", "service.notes", "--identity", identity).status == 0
    assert desk.run("drill", "run", "--all", "--identity", identity).status == 0
    assert desk.run("drill", "run", "note", "--identity", identity).status == 2
    assert desk.run("drill", "run", "notes", "--identity", identity, "--keep").status == 2


def test_drill_without_identity_says_how_to_name_it(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    answer = desk.run("drill", "run", "main")
    assert answer.status == 2
    assert "--identity" in answer.err


def test_sample_drill_prints_the_seed_that_repeats_it(
    desk: Desk, installation: Path, identity: Path
) -> None:
    desk.run("backup", "run", "main")
    drill = ("drill", "run", "main", "--identity", identity, "--sample", "100")
    sample = desk.json(*drill)["sample"]
    answer = desk.run(*drill, "--seed", str(sample["seed"]))
    assert answer.status == 0, answer.out
    assert f"seed {sample['seed']}" in answer.out
    assert "RTO       not measured" in answer.out


_SERVERS = """
[backup.sets.servers]
[[backup.sets.servers.sources]]
kind = "postgresql"
name = "crm-server"
host = "/no/such/folder"
user = "backup"
databases = ["crm"]
[[backup.sets.servers.sources]]
kind = "mariadb"
name = "shop-server"
host = "/no/such.sock"
user = "backup"
databases = ["shop"]

[services.crm]
owner = "Operations"
rto_minutes = 60
rpo_minutes = 60
sets = ["servers"]

[services.desk]
owner = "Operations"
rto_minutes = 120
rpo_minutes = 60
sets = ["main"]
depends_on = ["crm"]
"""


@pytest.mark.parametrize(
    "words",
    [["servers"], ["crm"], ["desk"], ["--all"], ["--surprise"], ["servers", "--sample", "5"]],
    ids=" ".join,
)
def test_missing_programs_are_named_before_a_drill(
    words: list[str], desk: Desk, installation: Path, identity: Path
) -> None:
    with (installation / "standfast.toml").open("a") as config_file:
        config_file.write(_SERVERS)
    desk.monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    # There is no recovery point, so nothing can be restored before the programs are named.
    answer = desk.run("drill", "run", *words, "--identity", identity)
    assert answer.status != ExitStatus.DONE
    for source, package in (("crm-server", "postgresql"), ("shop-server", "mariadb-server")):
        (line,) = (line for line in answer.err.splitlines() if line.startswith(f"{source}: "))
        assert f"Install the package {package}" in line
    with (installation / "standfast.toml").open("a") as config_file:
        config_file.write("[drills]\nloads_databases = false\n")
    assert "Install" not in desk.run("drill", "run", *words, "--identity", identity).err


@pytest.mark.parametrize(
    "options",
    [
        ["--sample", "0"],
        ["--sample", "101"],
        ["--seed", "1"],
        ["--surprise"],
        ["--sample", "5", "--compare"],
        ["--sample", "5", "--until", "2026-03-02T14:20+01:00"],
    ],
)
def test_contradicting_sample_options_are_usage_errors(
    options: list[str], desk: Desk, installation: Path, identity: Path
) -> None:
    answer = desk.run("drill", "run", "main", "--identity", identity, *options)
    assert answer.status == ExitStatus.USAGE
    assert desk.json("drill", "list")["drills"] == []


def add_service(installation: Path) -> None:
    service = '\n[services.crm]\nowner = "Operations"\nrto_minutes = 60\nrpo_minutes = 60\n'
    check = '[[services.crm.checks]]\nkind = "command"\ncommand = ["true"]\n'
    with (installation / "standfast.toml").open("a") as config_file:
        config_file.write(service + 'sets = ["main"]\n' + check)


def test_surprise_drill_prints_its_seed(desk: Desk, installation: Path, identity: Path) -> None:
    add_service(installation)
    desk.run("backup", "run", "main")
    drill = ("drill", "run", "--surprise", "--identity", identity)
    drawn = desk.json(*drill)["surprise"]
    assert drawn["service"] == "crm"
    answer = desk.run(*drill, "--seed", str(drawn["seed"]))
    assert answer.status == 0, answer.out
    assert f"seed {drawn['seed']}" in answer.out


def test_drill_list_shows_predicted_recovery_beside_rto(
    desk: Desk, installation: Path, identity: Path
) -> None:
    add_service(installation)
    desk.run("backup", "run", "main")
    assert desk.run("drill", "run", "main", "--identity", identity).status == 0
    (predicted,) = desk.json("drill", "list")["predictions"]
    assert predicted["service"] == "crm"
    assert predicted["shortest_ms"] == predicted["expected_ms"] == predicted["longest_ms"] > 0
    answer = desk.run("drill", "list")
    assert "1 drill" in answer.out
    assert "RTO 1 h" in answer.out
