"""Rules about the files of the whole repository."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".html", ".jsonl", ".cfg", ".sh", ""}


def tracked() -> list[Path]:
    """List the tracked files that are there still."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    found = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8", errors="replace")
        for path in tracked()
        if path.suffix in TEXT
    }
    assert "pyproject.toml" in found
    return found


def test_no_module_is_longer_than_a_person_reads(texts: dict[str, str]) -> None:
    # Two files are whole programs on purpose. A court's expert copies and reads
    # `standfast_verify.py` alone; `break_glass.py` restores alone, and begins with instructions.
    limits = {"standfast/evidence/standfast_verify.py": 550, "backup/break_glass.py": 480}
    too_long = {
        name: text.count("\n")
        for name, text in texts.items()
        if name.endswith(".py")
        and text.count("\n") > limits.get(name, 750 if name.startswith("tests/") else 400)
    }
    assert too_long == {}


def test_no_folder_has_more_modules_than_one_sees(texts: dict[str, str]) -> None:
    modules = Counter(
        str(Path(name).parent)
        for name in texts
        if name.endswith(".py") and not name.startswith("tests/")
    )
    assert {folder: count for folder, count in modules.items() if count > 25} == {}


def test_no_text_contains_a_local_path(texts: dict[str, str]) -> None:
    places = re.compile(rf"{re.escape(str(ROOT))}/|(?<![\w.])/(?:root|work|home/(?!someone\b)\w+)/")
    found = [
        f"{name}: {line.strip()[:80]}"
        for name, text in texts.items()
        for line in text.splitlines()
        if places.search(line)
    ]
    assert found == []


def test_no_text_names_a_package_index(texts: dict[str, str]) -> None:
    # Put together here, so that this file does not name one itself.
    index = re.compile(
        "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.", "--" + "(extra-)?index-url"))
    )
    found = [name for name, text in texts.items() if index.search(text.replace("--no-emit-", ""))]
    assert found == []


def test_no_module_has_an_empty_name(texts: dict[str, str]) -> None:
    unwanted = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    assert [name for name in texts if Path(name).stem in unwanted] == []


def test_every_folder_stands_in_the_architecture(texts: dict[str, str]) -> None:
    page = texts["ARCHITECTURE.md"]
    folders = {name.partition("/")[0] for name in texts if "/" in name and name[0] != "."}
    rooms = {
        "/".join(name.split("/")[:2])
        for name in texts
        if re.fullmatch(r"standfast/\w+/__init__\.py", name)
    }
    unnamed = {folder for folder in (folders | rooms) - {"docs"} if f"`{folder}/" not in page}
    assert unnamed == set()


def test_decisions_are_listed_with_their_cost(texts: dict[str, str]) -> None:
    listing = texts["docs/decisions/README.md"]
    for name, text in texts.items():
        if re.match(r"docs/decisions/\d", name):
            assert Path(name).name in listing, f"{name} is not listed"
            assert "cost" in text.lower(), f"{name} does not say what it costs"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_page_names_paths_that_exist(page: str, texts: dict[str, str]) -> None:
    path_in_code = r"`((?:standfast|backup|flows|tests|docs|deploy)/[\w./-]*)`"
    named = {path for path in re.findall(path_in_code, texts[page]) if "KIND" not in path}
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []
