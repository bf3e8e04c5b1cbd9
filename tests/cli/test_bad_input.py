"""Bad input: the exit status, a useful message, and no partial work."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast import __version__
from standfast.errors import ExitStatus
from standfast.ledger.status_query import query_status
from tests.cli.desk import ENTRY, ROOT, Desk, run_apart
from tests.usecases.installations import PASSPHRASES

CYCLE = """\
playbook: cycle
version: 1
title: Round and round
use_when: Never.
steps:
  first: {title: First, needs: [second], manual: Look.}
  second: {title: Second, needs: [first], manual: Look.}
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault: its cause, the typed command, the expected message."""

    spoil: Callable[[Path, pytest.MonkeyPatch], None]
    words: tuple[str, ...]
    status: int
    says: tuple[str, ...]


def append(text: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def spoil(installation: Path, patch: pytest.MonkeyPatch) -> None:
        config_file = installation / "standfast.toml"
        config_file.write_text(config_file.read_text() + text)

    return spoil


def replace(old: str, new: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def spoil(installation: Path, patch: pytest.MonkeyPatch) -> None:
        config_file = installation / "standfast.toml"
        assert old in config_file.read_text()
        config_file.write_text(config_file.read_text().replace(old, new))

    return spoil


def unreadable(installation: Path, patch: pytest.MonkeyPatch) -> None:
    """Root can read every file, but not a folder as a file."""
    (installation / "standfast.toml").unlink()
    (installation / "standfast.toml").mkdir()


def no_text(installation: Path, patch: pytest.MonkeyPatch) -> None:
    (installation / "standfast.toml").write_bytes(b'[organisation]\nname = "\xff"\n')


def cyclic(installation: Path, patch: pytest.MonkeyPatch) -> None:
    (installation / "own").mkdir()
    (installation / "own/cycle.yaml").write_text(CYCLE)
    append('\n[playbooks]\nfolder = "own"\n')(installation, patch)


def other_ending(installation: Path, patch: pytest.MonkeyPatch) -> None:
    cyclic(installation, patch)
    (installation / "own/cycle.yaml").rename(installation / "own/cycle.yml")


def undefined(installation: Path, patch: pytest.MonkeyPatch) -> None:
    notice = installation / "own/hello"
    (notice / "en").mkdir(parents=True)
    (notice / "context.toml").write_text('description = "Says hello."\n')
    (notice / "en/subject.txt").write_text("Hello\n")
    (notice / "en/body.txt").write_text("Hello {{ whoever }}\n")
    replace("[notices]", '[notices]\ntemplates = "own"')(installation, patch)


def store_in_the_way(installation: Path, patch: pytest.MonkeyPatch) -> None:
    """Put a file in the place of a store's folder, so that root fails too."""
    packs = installation / "vault/.incoming"
    packs.rmdir()
    packs.write_text("in the way")


def wrong_passphrase(installation: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("STANDFAST_PASSPHRASE", "not the one that was enrolled")


def nothing(installation: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("STANDFAST_PASSPHRASE", PASSPHRASES["dana"])


CASES = {
    "unknown key": Case(
        spoil=replace("[notices]", "[notices]\nabort_windw = 3"),
        words=("check",),
        status=2,
        says=("standfast.toml:", "notices.abort_windw: unknown key", "did you mean"),
    ),
    "wrong type": Case(
        spoil=append("\n[limits]\naccounts_without_second_person = 'many'\n"),
        words=("backup", "run"),
        status=2,
        says=("standfast.toml:", "limits.accounts_without_second_person", "a whole number"),
    ),
    "missing secret": Case(
        spoil=nothing,
        words=("incident", "plan", "lock", "-i", "accounts=agents:alice"),
        status=4,
        says=("env:SCIM_TOKEN: missing or empty",),
    ),
    "unreadable configuration": Case(
        spoil=unreadable, words=("check",), status=2, says=("standfast.toml", "standfast init")
    ),
    "configuration that is no text": Case(
        spoil=no_text, words=("check",), status=2, says=("standfast.toml:2: not UTF-8 text",)
    ),
    "wrong passphrase": Case(
        spoil=wrong_passphrase,
        words=("lock", "alice", "--as", "dana"),
        status=4,
        says=("sign-in: that is not the passphrase of 'dana'",),
    ),
    "unknown person": Case(
        spoil=nothing,
        words=("lock", "alice", "--as", "somebody"),
        status=2,
        says=("'somebody': not enrolled", "people list"),
    ),
    "unknown playbook": Case(
        spoil=nothing,
        words=("incident", "open", "acount-takeover"),
        status=2,
        says=("playbook 'acount-takeover'", "; did you mean 'account-takeover'?"),
    ),
    "a playbook's file": Case(
        spoil=nothing,
        words=("incident", "plan", "./mine.yaml"),
        status=2,
        says=("copy it into `playbooks.folder`", "the known names are: account-"),
    ),
    "a playbook with the other ending": Case(
        spoil=other_ending,
        words=("incident", "open", "cycle"),
        status=2,
        says=("cycle.yml:6: these steps wait for each other",),
    ),
    "unknown incident": Case(
        spoil=nothing,
        words=("incident", "status", "inc-2020-0001"),
        status=2,
        says=("incident 'inc-2020-0001': unknown",),
    ),
    "unknown backup set": Case(
        spoil=nothing,
        words=("backup", "run", "mian"),
        status=2,
        says=("backup set 'mian': not configured", "; did you mean 'main'?"),
    ),
    "unknown notice": Case(
        spoil=nothing,
        words=("notice", "preview", "customers-acount-takeover"),
        status=2,
        says=("unknown; the known names are", "; did you mean 'customers-account-takeover'?"),
    ),
    "unknown exercise": Case(
        spoil=nothing,
        words=("tabletop", "start", "ransomwear"),
        status=2,
        says=("exercise 'ransomwear'", "; did you mean 'ransomware'?"),
    ),
    "a keeper believed to a record and not at all": Case(
        spoil=nothing,
        words=(
            *("backup", "owner", "retire-keeper", "--owner-key", "owner.json"),
            *("--trusted-through", "0", "--trust-none"),
        ),
        status=2,
        says=("either --trusted-through", "--trust-none"),
    ),
    "somebody told at two addresses": Case(
        spoil=nothing,
        words=("notice", "tell", "0000ffff", "--to", "a@b.example", "--own-address"),
        status=2,
        says=("give either --to ADDRESS", "--own-address"),
    ),
    "a backup set whose name is empty": Case(
        spoil=nothing,
        words=("backup", "run", ""),
        status=2,
        says=("backup set '': not configured", "main"),
    ),
    "unknown backup set, listed": Case(
        spoil=nothing,
        words=("backup", "list", "--set", "mian"),
        status=2,
        says=("backup set 'mian': not configured", "main"),
    ),
    "unknown recovery point": Case(
        spoil=nothing,
        words=("backup", "restore", "latest", "--to", "out", "--identity", "IDENTITY"),
        status=2,
        says=("there is no recovery point yet",),
    ),
    "wrong identity": Case(
        spoil=nothing,
        words=("drill", "run", "main", "--identity", "PLACE/standfast.toml"),
        status=2,
        says=("identity",),
    ),
    "playbook with a cycle": Case(
        spoil=cyclic,
        words=("incident", "open", "cycle"),
        status=2,
        says=("cycle.yaml:6: these steps wait for each other", "hint: remove one of these needs"),
    ),
    "notice with an undefined name": Case(
        spoil=undefined,
        words=("notice", "preview", "hello"),
        status=2,
        says=("hello/en/body.txt:1", "whoever"),
    ),
    "unwritable store": Case(
        spoil=store_in_the_way,
        words=("backup", "run", "main"),
        status=2,
        says=(".incoming: not a folder", "remove it"),
    ),
    "an approval by nobody": Case(
        spoil=nothing, words=("incident", "approve"), status=2, says=("--as PERSON",)
    ),
    "a mistyped option": Case(
        spoil=nothing, words=("backup", "list", "--sett", "main"), status=2, says=("--set",)
    ),
    "a missing argument": Case(
        spoil=nothing, words=("drill", "run"), status=2, says=("set or a service", "--all")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_reported_without_side_effects(
    name: str, desk: Desk, quiet_installation: Path
) -> None:
    case = CASES[name]
    case.spoil(quiet_installation, desk.monkeypatch)
    words = [
        word.replace("IDENTITY", str(quiet_installation / "offline/identity.txt")).replace(
            "PLACE", str(quiet_installation)
        )
        for word in case.words
    ]
    answer = desk.run(*words)
    said = answer.err + (answer.out if answer.status == 4 and "plan" in words else "")
    assert answer.status == case.status, answer
    for text in case.says:
        assert text in said
    assert "Traceback" not in answer.out + answer.err
    as_document = desk.run(*words, "--json")
    assert as_document.status == case.status
    assert as_document.document["exit_status"] == case.status
    assert as_document.err == ""
    assert not (desk.folder / "out").exists()
    seen = query_status(f"sqlite:///{quiet_installation}/ledger.db", datetime.now(UTC))
    assert seen.incidents == ()
    assert {run.state for run in seen.last_runs} <= {"failed"}


@pytest.mark.parametrize(
    ("names", "wanted", "told_by"),
    [
        (("pause", "resume", "go", "stop", "read", "correct", "posted"), "STEP", "notice status"),
        (("leave-out", "tell --own-address"), "MARK", "notice held"),
    ],
)
def test_missing_notice_word_suggests_the_list(
    names: tuple[str, ...], wanted: str, told_by: str, desk: Desk, quiet_installation: Path
) -> None:
    for name in names:
        answer = desk.run("notice", *name.split(), "inc-2026-0001")
        assert answer.status == ExitStatus.USAGE
        assert f"expected {wanted} (`standfast {told_by}` lists them)" in answer.err, name


@pytest.mark.parametrize(
    "words", [("incident", "status"), ("audit", "show"), ("report",), ("people", "remove")]
)
def test_undecodable_name_is_a_mistyped_word(
    words: tuple[str, ...], desk: Desk, quiet_installation: Path
) -> None:
    answer = desk.run(*words, "inc-\udce9")
    assert (answer.status, answer.out) == (2, "")
    assert "not UTF-8" in answer.err


def test_unexpected_error_is_one_line_without_text(desk: Desk, quiet_installation: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("alice's token is 1234")

    desk.monkeypatch.setattr("standfast.usecases.health.status.look", broken)
    answer = desk.run("status")
    assert answer.status == 1
    assert answer.err.count("\n") == 1
    assert "unexpected RuntimeError" in answer.err
    assert "STANDFAST_DEBUG=1" in answer.err
    assert "1234" not in answer.err
    assert desk.json("status")["exit_status"] == 1
    desk.monkeypatch.setenv("STANDFAST_DEBUG", "1")
    with pytest.raises(RuntimeError, match="1234"):
        desk.run("status")


def test_unreadable_file_is_named(desk: Desk, quiet_installation: Path) -> None:
    def shut(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/theirs")

    desk.monkeypatch.setattr("standfast.usecases.health.status.look", shut)
    answer = desk.run("status")
    assert answer.status == 1
    assert "/srv/theirs: permission denied" in answer.err


def test_missing_package_is_named_with_its_python(desk: Desk, quiet_installation: Path) -> None:
    def broken(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'blake3'", name="blake3")

    desk.monkeypatch.setattr("standfast.usecases.health.status.look", broken)
    answer = desk.run("status")
    assert answer.status == 1
    assert answer.err.startswith(f"package blake3: missing in {sys.executable}")


def test_interrupt_ends_with_130_and_current_state(desk: Desk, quiet_installation: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    desk.monkeypatch.setattr("standfast.usecases.health.status.look", interrupted)
    answer = desk.run("status")
    assert answer.status == 130
    assert answer.err.startswith("interrupted:")
    assert "`standfast status`" in answer.err
    assert desk.json("status") == {"error": answer.err.rstrip(), "exit_status": 130}


def test_closed_pipe_is_no_error(installation: Path, desk: Desk) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, "status", "-c", str(installation / "standfast.toml")],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_entry_point_prints_json_for_missing_installation(desk: Desk) -> None:
    answer = run_apart("check", "--json", cwd=desk.folder)
    assert answer.status == 2
    assert "standfast init" in answer.document["error"]
    assert answer.err == ""


def test_windows_host_is_refused_with_an_alternative(desk: Desk) -> None:
    as_windows = f"import sys, standfast.cli; sys.platform = 'win32'; {ENTRY}"
    done = subprocess.run(
        [sys.executable, "-c", as_windows, "backup", "run", "--json"],
        capture_output=True,
        text=True,
        cwd=desk.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert "Linux" in document["error"]
    assert "docs/sources.md" in document["error"]
    assert document["exit_status"] == 2


def test_script_and_module_print_the_version(desk: Desk) -> None:
    told = f"standfast {__version__}\n"
    assert desk.run("--version").out == told
    assert desk.json("--version") == {"version": __version__}
    assert "--version" in desk.run("--help").out
    done = subprocess.run(
        [sys.executable, "-m", "standfast", "--version"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")


@pytest.mark.parametrize(
    ("closed", "words", "status", "says"),
    [
        (
            "<&-",
            "people add zoe --full-name Zoe --mail zoe@example.com",
            2,
            "passphrase of zoe",
        ),
        (">&-", "status", 0, ""),
        ("2>&-", "nosuch", 2, ""),
    ],
)
def test_closed_stream_is_no_error(
    closed: str, words: str, status: int, says: str, installation: Path, desk: Desk
) -> None:
    done = _at_a_shell(f"{words} {closed}", installation)
    assert done.returncode == status, done
    assert says in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "unexpected" not in done.stderr


@pytest.mark.sampled
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("as_json", ["", " --json"])
def test_unwritable_answer_undoes_nothing_and_is_reported(
    as_json: str, unbuffered: str, installation: Path, desk: Desk
) -> None:
    for words, status in (("backup run", 1), ("backup list", 1), ("backup nosuch", 2)):
        done = _at_a_shell(
            f"{words}{as_json} >/dev/full", installation, PYTHONUNBUFFERED=unbuffered
        )
        assert done.returncode == status
        assert "Traceback" not in done.stderr
        assert "unexpected" not in done.stderr
        if status == 1:
            assert "standard output: cannot be written: No space left" in done.stderr
        else:
            assert "nosuch" in done.stderr
    (point,) = desk.json("backup", "list")["points"]
    assert point["is_complete"]
    where = ("--to", desk.folder / "back", "--identity", installation / "offline/identity.txt")
    assert desk.run("backup", "restore", "latest", *where).status == 0
    assert (desk.folder / "back/source/note.txt").read_text() == "a note"


def test_unprintable_error_keeps_its_exit_status(installation: Path) -> None:
    for everywhere in ("2>/dev/full", ">/dev/full 2>/dev/full", "--json >/dev/full 2>/dev/full"):
        assert _at_a_shell(f"backup nosuch {everywhere}", installation).returncode == 2
    assert _at_a_shell("backup list >/dev/full 2>/dev/full", installation).returncode == 1


def test_deleted_working_folder_is_named(installation: Path, desk: Desk) -> None:
    gone = desk.folder / "gone"
    for words in ("backup run", "status"):
        gone.mkdir()
        command = f"cd {gone}; rmdir {gone}; exec {sys.executable} -m standfast"
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} -c ../place/standfast.toml {words}"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 2, done
        assert "current folder: it was deleted" in done.stderr
        assert "unexpected" not in done.stderr


def _at_a_shell(words: str, installation: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            "/bin/sh",
            "-c",
            f"exec {sys.executable} -m standfast -c {installation}/standfast.toml {words}",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        check=False,
    )


def test_unreadable_ledger_key_is_named(installation: Path, desk: Desk) -> None:
    """Root can read every file, but not a folder as a file."""
    key = installation / "keys/ledger/installation.key"
    key.unlink()
    key.mkdir()
    for words in (("lock", "alice", "--exercise"), ("incident", "list"), ("people", "list")):
        answer = desk.run(*words)
        assert "unexpected" not in answer.err
        assert answer.status in (0, 2)
    answer = desk.run("lock", "alice", "--exercise")
    assert answer.status == 2
    assert f"ledger key 'installation' in {key.parent}: cannot be read" in answer.err
    failed = [one for one in desk.json("check")["checks"] if one["verdict"] == "fail"]
    assert "cannot be read" in str(failed)


def test_invalid_person_is_refused_before_the_passphrase(
    desk: Desk, quiet_installation: Path
) -> None:
    who = ("--full-name", "Dana Ray", "--mail", "dana@example.com")
    assert "sign-in name 'dana'" in desk.run("people", "add", "dana", *who).err
    assert "Use lower-case letters" in desk.run("people", "add", "x y", *who).err
    mail = desk.run("people", "add", "zoe", "--full-name", "Zoe", "--mail", "nowhere")
    assert "--mail: not a valid mail address" in mail.err


def test_undecodable_passphrase_is_a_terminal_error(desk: Desk, quiet_installation: Path) -> None:
    """A terminal without UTF-8 sends an é as one byte."""
    words = ("lock", "alice", "--exercise", "--as", "dana")
    desk.sign_in_with(b"caf\xe9".decode(errors="surrogateescape"))
    said = [desk.run(*words)]
    desk.monkeypatch.delenv("STANDFAST_PASSPHRASE")
    desk.monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    desk.monkeypatch.setattr("getpass.getpass", lambda prompt: b"caf\xe9".decode())
    said.append(desk.run(*words))
    for answer in said:
        assert answer.status == 2
        assert "not UTF-8" in answer.err


@pytest.mark.parametrize("file", ["/dev/zero", "accounts.txt"])
def test_endless_account_file_is_not_read_completely(
    desk: Desk, quiet_installation: Path, file: str
) -> None:
    if file == "accounts.txt":
        (desk.folder / file).write_bytes(b"alice\n" * 3_000_000)
        file = str(desk.folder / file)
    answer = desk.run("lock", f"@{file}", "--exercise")
    assert answer.status == 2
    assert "larger than 16 MiB" in answer.err


def test_missing_account_file_is_named_as_typed(desk: Desk, quiet_installation: Path) -> None:
    said = "none.txt: cannot be read: No such file or directory"
    assert desk.run("lock", "@none.txt").err.startswith(said)
    answer = desk.run("incident", "plan", "lock", "-i", "accounts=@none.txt")
    assert answer.err.startswith(f"--input accounts: {said}")
