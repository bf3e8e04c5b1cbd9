"""Start-up of the commands that an operator waits for."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.desk import ROOT, run_apart

MAX_CPU_SECONDS = 0.5


@pytest.mark.parametrize("words", [["--help"], ["status"]])
def test_help_and_status_start_quickly(words: list[str], installation: Path) -> None:
    # Processor time instead of wall time, which depends on what else the machine does.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = run_apart(*words, env=environment(installation), cwd=installation)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.status == 0, answer.err
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used <= MAX_CPU_SECONDS


def test_help_does_not_load_the_configuration_reader(installation: Path) -> None:
    program = "from standfast.cli import main; import sys; main(['--help']); print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(installation),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"pydantic", "sqlalchemy", "standfast.config.schema"} & set(answer.stdout.split())


def environment(installation: Path) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("STANDFAST_")}
    return {
        **plain,
        "PYTHONPATH": str(ROOT),
        "STANDFAST_CONFIG": str(installation / "standfast.toml"),
    }
