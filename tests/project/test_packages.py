"""Wheel and source distribution: their files, and their installation."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.project.test_tree import ROOT, tracked

PACKAGES = ("standfast", "backup", "flows", "demo", "playbooks", "notify_templates")
PAGES = ("docs", "deploy")
_PAGE = re.compile(r"\b(?:docs|deploy)/[\w/.-]*\w")


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """Run a command without this environment's variables; return output."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both distributions; return each file by its suffix."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def wheel_files(built: dict[str, Path]) -> set[str]:
    """Return the wheel's files, by their names in the repository."""
    with zipfile.ZipFile(built[".whl"]) as file:
        return {name.rpartition("data/share/doc/standfast/")[2] for name in file.namelist()}


def test_wheel_has_every_file_that_is_needed(wheel_files: set[str]) -> None:
    wanted = {
        name
        for name in (path.relative_to(ROOT).as_posix() for path in tracked())
        if name.startswith(tuple(f"{folder}/" for folder in (*PACKAGES, *PAGES)))
    }
    assert wanted - wheel_files == set()


@pytest.mark.long
def test_wheel_is_reproducible(built: dict[str, Path], tmp_path: Path) -> None:
    """Another machine builds it from the source distribution, at another time."""
    with tarfile.open(built[".gz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for path in source.rglob("*"):
        os.utime(path, (2e9, 2e9))
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, folder=source)
    (again,) = tmp_path.glob("*.whl")
    assert again.read_bytes() == built[".whl"].read_bytes()


def test_pages_that_messages_name_exist() -> None:
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES
        for page in _PAGE.findall(path.read_text())
    }
    assert len(named) > 10
    assert {(path, page) for path, page in named if not (ROOT / page).exists()} == set()


@pytest.mark.parametrize("suffix", [".whl", pytest.param(".gz", marks=pytest.mark.long)])
def test_installed_distribution_restores_its_backup(
    built: dict[str, Path], suffix: str, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    programs = environment / "bin"
    # The dependencies are those of this environment. Its own .pth files are not read there, so
    # the repository, which is installed in it as editable, cannot be imported.
    site = Path(
        run(programs / "python", "-c", "import site; print(site.getsitepackages()[0])")[:-1]
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    offline = ("--offline", "--no-cache", "--no-config", "--no-deps", "--no-build-isolation")
    run(uv, "pip", "install", *offline, "--python", environment, built[suffix])

    imported = run(
        programs / "python", "-c", "import standfast; print(standfast.__file__)", folder=tmp_path
    )
    assert Path(imported.strip()).is_relative_to(site)
    standfast = programs / "standfast"
    assert re.fullmatch(
        r"standfast \d+\.\d+\.\d+\S*\n", run(standfast, "--version", folder=tmp_path)
    )

    source = tmp_path / "calls"
    source.mkdir()
    (source / "call.wav").write_bytes(bytes(range(256)) * 4096)
    installation = tmp_path / "installation"
    config = ("--config", installation / "standfast.toml")
    identity = installation / "offline" / "identity.txt"
    run(standfast, "init", installation, "--source", source, "--yes", folder=tmp_path)
    run(standfast, *config, "backup", "run", folder=tmp_path)
    restored = tmp_path / "restored"
    run(
        standfast, *config, "backup", "restore", "latest", "--to", restored,
        "--identity", identity, folder=tmp_path,
    )  # fmt: skip
    assert (restored / "calls" / "call.wav").read_bytes() == (source / "call.wav").read_bytes()
