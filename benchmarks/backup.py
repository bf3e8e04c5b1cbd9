"""A night of recordings and a CRM: backed up, backed up again unchanged, and restored.

Both programs run as whole processes on the same files, with an empty repository each round. They do
not do the same: restic's key opens what it wrote, and it copies the CRM's file as it finds it.
Standfast encrypts to a key that this machine does not hold, copies the CRM as one transaction, and
writes the run into its ledger.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.commands import STANDFAST
from benchmarks.contact_centre import (
    expect_same_crm,
    expect_same_recordings,
    make_crm,
    make_recordings,
)
from benchmarks.measure import Contender, Missing, Row, Setting, Stopwatch, compare, expect

_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class _Night:
    """What is backed up, and how its three figures are called."""

    recordings: Path
    crm: Path
    size_bytes: int

    @property
    def names(self) -> tuple[str, str, str, str]:
        size = f"{self.size_bytes / 1e6:.0f} MB"
        return f"first backup, {size}", "again, unchanged", f"restore, {size}", "stored"


def rows(setting: Setting) -> list[Row]:
    """Back up about 300 MB with each program in turn."""
    source = setting.room("source")
    recordings, crm = source / "recordings", source / "crm.db"
    size_bytes = make_recordings(recordings, setting.size(300_000_000, 20_000_000))
    night = _Night(recordings=recordings, crm=crm, size_bytes=size_bytes + make_crm(crm))
    first, again, restore, stored = night.names
    return compare(
        "backup",
        {first: "s", again: "s", restore: "s", stored: "MB"},
        [
            Contender(subject="standfast", run=lambda number: _standfast(setting, night, number)),
            Contender(subject="restic", run=lambda number: _restic(setting, night, number)),
        ],
        setting,
        seconds_a_round=4 * _SECONDS,
    )


def _standfast(setting: Setting, night: _Night, number: int) -> Mapping[str, float]:
    folder = setting.room(f"standfast-{number}")
    place = folder / "place"
    _run([*STANDFAST, "init", str(place), "--source", str(night.recordings), "--yes"])
    config_file = place / "standfast.toml"
    text = config_file.read_text()
    only = f'path = "{night.recordings}" }},\n'
    expect(only in text, "`init` wrote the source into the configuration")
    more = f'{only}  {{ kind = "sqlite", name = "crm", path = "{night.crm}" }},\n'
    config_file.write_text(text.replace(only, more))
    command = [*STANDFAST, "-c", str(config_file), "backup"]
    target = folder / "restored"
    restore = ["restore", "latest", "--to", str(target)]
    restore += ["--identity", str(place / "offline" / "identity.txt")]
    figures = (
        _run([*command, "run", "main"]),
        _run([*command, "run", "main"]),
        _run([*command, *restore]),
        _size_of(place / "vault"),
    )
    expect_same_recordings(night.recordings, target / "recordings")
    expect_same_crm(night.crm, target / "crm" / "crm.db")
    shutil.rmtree(folder)
    return dict(zip(night.names, figures, strict=True))


def _restic(setting: Setting, night: _Night, number: int) -> Mapping[str, float]:
    if shutil.which("restic") is None:
        raise Missing("restic is not installed; apt-get install restic")
    folder = setting.room(f"restic-{number}")
    repository, target = folder / "repository", folder / "restored"
    env = {
        **os.environ,
        "RESTIC_REPOSITORY": str(repository),
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_CACHE_DIR": str(folder / "cache"),
    }
    _run(["restic", "init", "--quiet"], env)
    backup = ["restic", "backup", "--quiet", str(night.recordings), str(night.crm)]
    figures = (
        _run(backup, env),
        _run(backup, env),
        _run(["restic", "restore", "latest", "--quiet", "--target", str(target)], env),
        _size_of(repository),
    )
    restored = target / night.recordings.relative_to("/")
    expect_same_recordings(night.recordings, restored)
    expect_same_crm(night.crm, restored.parent / night.crm.name)
    shutil.rmtree(folder)
    return dict(zip(night.names, figures, strict=True))


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """Run to the end and give the seconds; Wrong with its own words when it fails."""
    watch = Stopwatch()
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    seconds = watch.seconds()
    words = (done.stderr or done.stdout).strip()[-300:]
    expect(done.returncode == 0, f"{command[0]} ends with 0, not {done.returncode}: {words}")
    return seconds


def _size_of(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
