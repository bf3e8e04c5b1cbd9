"""What the hurried commands load, and how long they take (printed, not asserted)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.desk import ROOT, Desk, run_apart

# What takes long to import, and has no part in a backup, a listing or a restore on this machine.
HEAVY = {
    "asyncio",
    "boto3",
    "botocore",
    "click",
    "email",
    "httpx",
    "jinja2",
    "prefect",
    "pydantic",
    "rich",
    "ruamel",
    "sqlalchemy",
    "ssl",
    "typer",
}
LOADED = (
    "import sys, json; from standfast.cli import main; status = main({words!r});"
    " print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(status)"
)
IDENTITY = ["--identity", "place/offline/identity.txt"]


LIGHT = {
    "backup.lazy_dataclass",
    # The list of copies of the key records, which `status` shows.
    *("backup.errors", "backup.local_files", "backup.owner", "backup.owner.key_copy_list"),
}


@pytest.mark.parametrize("words", [["--help"], ["status"], ["incident", "open", "--help"]])
def test_what_must_answer_at_once_loads_nothing_heavy(
    words: list[str], quiet_place: Path, desk: Desk
) -> None:
    assert desk.run("lock", "alice", "--exercise").status == 0  # status has one to show
    loaded = loaded_by(words, quiet_place)
    # Only its playbook, which `status` reads to say what comes next, is YAML.
    assert loaded & {*HEAVY, "cryptography"} <= {"ruamel"}
    assert {name for name in loaded if name.startswith("backup.")} <= LIGHT
    assert "argparse" in loaded


@pytest.mark.parametrize(
    "words",
    [
        ["backup", "run"],
        ["backup", "ls", "latest", *IDENTITY],
        ["backup", "restore", "latest", "--to", "restored", *IDENTITY],
    ],
    ids=lambda words: words[1],
)
def test_a_backup_loads_only_what_it_needs(words: list[str], place: Path, desk: Desk) -> None:
    assert desk.run("backup", "run").status == 0
    loaded = loaded_by(words, place)
    assert loaded & HEAVY == set()
    assert "multiprocessing" not in loaded
    assert loaded & {"shutil", "tempfile"} == set()
    if words[1] == "restore":  # whoever restores waits
        assert "zoneinfo" not in loaded
    assert "cryptography" in loaded


def loaded_by(words: list[str], place: Path) -> set[str]:
    """Give the modules that a command imports in a process of its own, and their packages."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(words=words)],
        capture_output=True,
        text=True,
        check=True,
        cwd=place.parent,
        env=environment(place),
    )
    modules = json.loads(done.stderr)
    return {*modules, *(name.partition(".")[0] for name in modules)}


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
