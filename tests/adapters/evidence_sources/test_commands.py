"""The output of commands as evidence: real programs of this machine."""

import fcntl
import sys
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.commands import CommandsEvidence
from standfast.config.sections.evidence_sources import CommandsEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.standfast_verify import Check
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    SealedContract,
    order,
    sealed_folder,
    sealed_manifest,
)
from tests.adapters.settings import settings_of
from tests.servers import growing, wait_until


def source_of(*commands: list[str], **settings: object) -> CommandsEvidence:
    config = settings_of(CommandsEvidenceConfig, commands=list(commands), **settings)
    return CommandsEvidence("logs", config, CONTEXT)


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def output(custody: Custody, number: int, token: str = "token-1") -> bytes:
    (file,) = (sealed_folder(custody, token) / "files").glob(f"{number:02}-*.output")
    return file.read_bytes()


def output_until_limit(custody: Custody, command: list[str]) -> bytes:
    """Return the output of an endless command, cut at a limit."""
    for seconds in growing(1):
        token = f"within-{seconds:g}"
        source = source_of(command, timeout_seconds=seconds)
        result = source.collect(order(token), custody)
        assert result.facts["incomplete"] == 1
        if found := output(custody, 1, token):
            break
    return found


def is_free(held: Path) -> bool:
    with held.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


class TestCommandsEvidence(SealedContract):
    @pytest.fixture
    def source(self) -> CommandsEvidence:
        return source_of(["/bin/cat", "/etc/passwd"], ["/usr/bin/id"])


def test_hostile_output_is_kept_unchanged(custody: Custody) -> None:
    hostile = b"\xff\x00\x1b]0;x\x07" + b"x" * 10_000_000
    text = "import sys; sys.stdout.buffer.write(b'\\xff\\0\\x1b]0;x\\7' + b'x' * 10_000_000)"
    result = source_of(python(text)).collect(order(), custody)
    assert output(custody, 1) == hostile
    assert (result.facts["files"], result.facts["incomplete"]) == (1, 0)


def test_failed_command_is_named_and_rest_collected(custody: Custody) -> None:
    failing = python("import sys; print('half', flush=True); sys.exit('broken')")
    missing = ["/nowhere/program"]
    result = source_of(failing, missing, ["/bin/echo", "whole"]).collect(order(), custody)
    assert (result.state, result.facts["incomplete"]) == (EffectState.DONE, 1)
    assert result.facts["unread"] == 1
    items = {item.path: item for item in sealed_manifest(custody).items}
    assert "status 1" in next(item.reason for path, item in items.items() if "/01-" in path)
    assert output(custody, 1) == b"half\n"
    assert output(custody, 3) == b"whole\n"
    (messages,) = (sealed_folder(custody) / "files").glob("01-*.messages")
    assert messages.read_bytes() == b"broken\n"
    check = Check("", "")
    check.attempt("it", check.folder, sealed_folder(custody), "")
    assert (check.problems["it"], sum("incomplete" in line for line in check.report)) == ([], 2)


def test_slow_command_is_cut_at_its_limit(custody: Custody) -> None:
    waiting = ["/bin/sh", "-c", "echo first; sleep 600"]
    assert output_until_limit(custody, waiting) == b"first\n"


def test_endless_output_is_cut_at_its_limit(custody: Custody) -> None:
    endless = python("while True: print('y' * 1000)")
    result = source_of(endless, limit_mib=2).collect(order(), custody)
    assert result.facts["incomplete"] == 1
    assert len(output(custody, 1)) == 2 * 1024 * 1024


def test_commands_see_no_secret_of_ours(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDFAST_SECRET", "hunter2")
    source_of(["/usr/bin/env"]).collect(order(), custody)
    assert b"hunter2" not in output(custody, 1)
    assert b"PATH=" in output(custody, 1)


def test_nothing_is_left_running(custody: Custody, tmp_path: Path) -> None:
    held = tmp_path / "held"
    child = (
        f"import fcntl, time; lock = open({str(held)!r}, 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print('locked', flush=True); time.sleep(60)"
    )
    leaving = python(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])")
    assert output_until_limit(custody, leaving) == b"locked\n"
    wait_until(lambda: is_free(held), "the child of the command has ended")


def test_missing_program_is_named_before() -> None:
    with pytest.raises(Unavailable):
        source_of(["/nowhere/program"]).describe()
