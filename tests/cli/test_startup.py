"""Start-up of the commands that an operator waits for."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.desk import ROOT, run_apart

# The aim is 0.5 on a quiet machine; other tests on the same cores add half of it.
MAX_CPU_SECONDS = 0.75
MOST_RUNS = 5


@pytest.mark.parametrize("words", [["--help"], ["status"]])
def test_help_and_status_start_quickly(words: list[str], installation: Path) -> None:
    # The first run compiles; on a busy machine the same work takes more processor time, too.
    assert any(cpu_seconds(words, installation) <= MAX_CPU_SECONDS for _ in range(MOST_RUNS))


def cpu_seconds(words: list[str], installation: Path) -> float:
    """Run a command; return its processor time, not its wall time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = run_apart(*words, env=environment(installation), cwd=installation)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.status == 0, answer.err
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_does_not_load_the_configuration_reader(installation: Path) -> None:
    modules = modules_after("from standfast.cli import main; main(['--help'])", installation)
    assert not {"pydantic", "sqlalchemy", "standfast.config.schema"} & modules


def test_shipped_playbooks_load_no_schema_validator(installation: Path) -> None:
    modules = modules_after(
        "from standfast.usecases.playbooks.library import find; find(None, 'lock')",
        installation,
    )
    assert "jsonschema" not in modules, "it takes up to 0.6 s of the time until the first lock"


def modules_after(program: str, installation: Path) -> set[str]:
    """Run a program in a process of its own; return the loaded modules."""
    answer = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        env=environment(installation),
        cwd=installation,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(answer.stdout.split())


def environment(installation: Path) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("STANDFAST_")}
    return {
        **plain,
        "PYTHONPATH": str(ROOT),
        "STANDFAST_CONFIG": str(installation / "standfast.toml"),
    }
