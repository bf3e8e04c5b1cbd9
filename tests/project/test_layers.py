"""The rooms import each other as ARCHITECTURE.md draws them."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("backup", "demo", "flows", "standfast")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def imported(source: str) -> set[str]:
    """Return every package that a module imports, at any place."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def importers(package: str, *places: str) -> set[str]:
    sources = {path: path.read_text(encoding="utf-8") for path in modules(*places)}
    return {
        str(path.relative_to(ROOT))
        for path, source in sources.items()
        if package in source and package in imported(source)  # parsing is slow
    }


def test_the_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_only_flows_import_prefect() -> None:
    outside_flows = [package for package in OURS if package != "flows"]
    assert importers("prefect", *outside_flows) == set()


def test_only_the_ledger_imports_sqlalchemy() -> None:
    found = importers("sqlalchemy", *OURS) | importers("alembic", *OURS)
    assert {path for path in found if not path.startswith("standfast/ledger/")} == set()


def test_the_repository_imports_nothing_of_ours() -> None:
    for package in OURS[1:]:
        assert importers(package, "backup") == set()


def test_every_room_stands_in_a_layer() -> None:
    layers = " ".join(CONTRACTS["contracts"][0]["layers"])
    rooms = {
        path.stem
        for path in (ROOT / "standfast").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {room for room in rooms - {"__init__", "__main__"} if room not in layers} == set()


@pytest.mark.parametrize("room", ["playbook", "continuity", "triggers", "deadlines"])
def test_rule_packages_import_no_io(room: str) -> None:
    pure = next(item for item in CONTRACTS["contracts"] if "no input" in item["name"])
    is_there = (ROOT / "standfast" / room).is_dir()
    assert is_there == (f"standfast.{room}" in pure["source_modules"])
