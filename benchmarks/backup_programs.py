"""Backup programs that are compared.

Each program creates a repository, backs up and restores.

- Each program runs as a person or a timer starts it, at its default settings. Its repository, keys
  and caches are in a separate folder.
- The programs do different work. The password of restic or borg, which is on the host, opens every
  backup. Standfast encrypts to a key that the host does not have, and records each run in a
  database.
"""

import os
import shutil
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.commands import STANDFAST
from benchmarks.measure import Missing
from benchmarks.processes import Usage, run

_OURS = [Path(__file__).parents[1] / name for name in ("backup", "standfast")]


class Program(ABC):
    """A backup program with an empty repository for one source."""

    name: str

    def __init__(self, folder: Path, source: Path) -> None:
        """Raise `Missing` if the program is not installed."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.source = source
        self.repository = folder / "repository"
        self._prepare()

    @abstractmethod
    def back_up(self) -> Usage:
        """Make a recovery point of the source as it is now."""

    def restore(self, target: Path, *, waits: bool = False) -> Usage:
        """Restore the newest point, with owners, modes and times.

        With `waits`, return when the disk has all data: by the program's own option, or else by
        `sync`.
        """
        used = self._restore(target)
        if not waits:
            return used
        synced = run(["sync", "--file-system", str(target)])
        return Usage(
            wall_seconds=used.wall_seconds + synced.wall_seconds,
            cpu_seconds=used.cpu_seconds + synced.cpu_seconds,
            memory_bytes=used.memory_bytes,
        )

    @abstractmethod
    def _restore(self, target: Path, *options: str) -> Usage: ...

    @abstractmethod
    def restored(self, target: Path) -> Path:
        """Return the path of the source below the target of a restore."""

    @abstractmethod
    def _prepare(self) -> None: ...

    def stored_bytes(self) -> int:
        """The size of the repository, without keys and caches."""
        return sum(path.stat().st_size for path in self.repository.rglob("*") if path.is_file())


class Standfast(Program):
    """Standfast, by `standfast backup`."""

    name = "standfast"

    def back_up(self) -> Usage:
        return run([*self._command, "run", "main"])

    def restore(self, target: Path, *, waits: bool = False) -> Usage:
        return self._restore(target, "--sync") if waits else self._restore(target)

    def _restore(self, target: Path, *options: str) -> Usage:
        identity = self.folder / "place" / "offline" / "identity.txt"
        where = ["--to", str(target), "--identity", str(identity), "--owner"]
        return run([*self._command, "restore", "latest", *where, *options])

    def restored(self, target: Path) -> Path:
        return target / self.source.name

    def _prepare(self) -> None:
        # Compile the modules, as pip does after an installation; skip those that are compiled.
        run([sys.executable, "-m", "compileall", "-q", *map(str, _OURS)])
        place = self.folder / "place"
        run([*STANDFAST, "init", str(place), "--source", str(self.source), "--yes"])
        self.repository = place / "vault"
        self._command = [*STANDFAST, "-c", str(place / "standfast.toml"), "backup"]


class Restic(Program):
    """restic, with its cache in the folder."""

    name = "restic"

    def back_up(self) -> Usage:
        return run(["restic", "backup", "--quiet", str(self.source)], env=self._env)

    def _restore(self, target: Path, *options: str) -> Usage:
        command = ["restic", "restore", "latest", "--quiet", "--target", str(target), *options]
        return run(command, env=self._env)

    def restored(self, target: Path) -> Path:
        return target / self.source.relative_to("/")

    def _prepare(self) -> None:
        _need("restic", "restic")
        self._env = {
            **os.environ,
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
        }
        run(["restic", "init", "--quiet"], env=self._env)


class Borg(Program):
    """borg 1, with its caches and keys in the folder."""

    name = "borg"

    def back_up(self) -> Usage:
        self._points += 1
        archive = f"{self.repository}::{self._points}"
        return run(["borg", "create", archive, str(self.source)], env=self._env)

    def _restore(self, target: Path, *options: str) -> Usage:
        target.mkdir()
        archive = f"{self.repository}::{self._points}"
        return run(["borg", "extract", *options, archive], env=self._env, cwd=target)

    def restored(self, target: Path) -> Path:
        return target / self.source.relative_to("/")

    def _prepare(self) -> None:
        _need("borg", "borgbackup")
        self._points = 0
        self._env = {
            **os.environ,
            "BORG_PASSPHRASE": "benchmark",
            "BORG_BASE_DIR": str(self.folder / "base"),
        }
        command = ["borg", "init", "--encryption", "repokey", str(self.repository)]
        run(command, env=self._env)


PROGRAMS: tuple[type[Program], ...] = (Standfast, Restic, Borg)


def _need(command: str, package: str) -> None:
    if shutil.which(command) is None:
        raise Missing(f"{command} is not installed; apt-get install {package}")
