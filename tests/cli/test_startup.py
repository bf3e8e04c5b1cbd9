"""What the hurried commands load, and how long they take (printed, not asserted)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.desk import ROOT, Desk, run_apart

HEAVY = {"sqlalchemy", "prefect", "httpx", "pydantic", "rich", "cryptography", "jinja2"}
LOADED = (
    "import sys, json; from standfast.cli import main; status = main({words!r});"
    " print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(status)"
)


@pytest.mark.parametrize("words", [["--help"], ["status"], ["incident", "open", "--help"]])
def test_what_must_answer_at_once_loads_nothing_heavy(
    words: list[str], quiet_place: Path, desk: Desk
) -> None:
    assert desk.run("lock", "alice", "--exercise").status == 0  # status has one to show
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(words=words)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(quiet_place),
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr)}
    assert loaded & HEAVY == set()
    assert "typer" in loaded


@pytest.mark.parametrize("words", [["--help"], ["status"]])
def test_how_long_it_takes(words: list[str], place: Path) -> None:
    began = time.perf_counter()
    answer = run_apart(*words, env=environment(place), cwd=place)
    took = time.perf_counter() - began
    assert answer.status == 0, answer.err
    print(f"standfast {' '.join(words)}: {took:.2f} s")


def environment(place: Path) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("STANDFAST_")}
    return {**plain, "PYTHONPATH": str(ROOT), "STANDFAST_CONFIG": str(place / "standfast.toml")}
