"""Locked requirements: complete, and each byte pinned by a hash."""

import json
import re
import subprocess
import sysconfig
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASE: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]

ASKED = {
    "run": [*BASE, *GROUPS["build"]],
    "demo": [*BASE, *GROUPS["build"], *EXTRAS["demo"]],
    "dev": [
        *BASE,
        *GROUPS["build"],
        *GROUPS["dev"],
        *(r for extra in EXTRAS.values() for r in extra),
    ],
    **{f"extras/{name}": asked for name, asked in EXTRAS.items() if name != "demo"},
}
LEFT_OUT = {"rfc3987-syntax"}  # the Makefile has the reason
INSTALLED = sorted(set(ASKED) - {"dev", "demo"})  # the locks of a host
SET_UP_PAGE = (ROOT / "deploy/serve/README.md").read_text()


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def entries(name: str) -> list[str]:
    """Split a lock into its requirements, each with its hashes."""
    return re.split(r"\n(?=\S)", lock_text(name).strip())


def pinned(name: str) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for entry in entries(name):
        requirement = Requirement(entry.partition(" \\")[0])
        (specifier,) = requirement.specifier
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


@pytest.mark.parametrize("name", ASKED)
def test_a_lock_holds_what_the_project_asks_for(name: str) -> None:
    versions = pinned(name)
    for text in ASKED[name]:
        requirement = Requirement(text)
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: run `make lock`"
        assert version in requirement.specifier, f"{requirement} is not {version}: run `make lock`"


@pytest.mark.parametrize("name", ASKED)
def test_every_entry_is_one_version_with_hashes(name: str) -> None:
    for entry in entries(name):
        head, *hashes = (line.strip(" \\") for line in entry.split("\n"))
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+( ; .+)?", head), head
        assert hashes, f"{head} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", item) for item in hashes), head


@pytest.mark.parametrize("name", ASKED)
def test_a_lock_names_no_index_and_no_place(name: str) -> None:
    text = lock_text(name)
    assert re.search(r"https?://|file:|index-url|find-links|^-", text, re.MULTILINE) is None
    assert "standfast" not in pinned(name), "a stranger's package could bear our name"


def needed(requirement: Requirement) -> list[Requirement]:
    """Return the requirements of an installed package and its extras here."""
    listed = [Requirement(text) for text in requires(requirement.name) or ()]
    extras = ("", *requirement.extras)
    return [
        one
        for one in listed
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


@pytest.mark.parametrize("name", ASKED)
def test_lock_contains_indirect_dependencies(name: str) -> None:
    locked = pinned(name)
    waiting = [Requirement(text) for text in ASKED[name]]
    reached: set[str] = set()
    missing: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if requirement.name in LEFT_OUT:
            continue
        if canonicalize_name(requirement.name) not in locked:
            missing.add(str(requirement))
        elif str(requirement) not in reached:
            reached.add(str(requirement))
            waiting += needed(requirement)
    assert missing == set(), "run `make lock`"


def test_each_extra_has_one_lock() -> None:
    locks = {path.stem for path in (ROOT / "requirements/extras").iterdir()}
    assert locks == set(EXTRAS) - {"demo"}


@pytest.mark.parametrize("name", sorted(set(EXTRAS) - {"demo"}))
def test_set_up_page_names_each_extra(name: str) -> None:
    assert f"| `{name}` |" in SET_UP_PAGE


def test_bill_of_materials_has_each_locked_version(tmp_path: Path) -> None:
    """The command of `make sbom`, on one of the locks."""
    program = Path(sysconfig.get_path("scripts")) / "cyclonedx-py"
    lock = ROOT / "requirements/extras/postgresql.txt"
    file = tmp_path / "bill.json"
    options = ("--output-reproducible", "--of", "JSON", "--no-validate", "--output-file", file)
    subprocess.run([program, "requirements", lock, *options], check=True, capture_output=True)
    components = json.loads(file.read_text())["components"]
    listed = {part["name"]: Version(part["version"]) for part in components}
    assert listed == pinned("extras/postgresql")
    assert all(part["externalReferences"][0]["hashes"] for part in components)


def test_constraints_for_pipx_are_the_locked_versions(tmp_path: Path) -> None:
    """The command of docs/install.md."""
    page = (ROOT / "docs/install.md").read_text()
    (command,) = re.findall(r"^(grep .*) > dist/constraints.txt$", page, re.MULTILINE)
    answer = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = [Requirement(line) for line in answer.splitlines()]
    locked = {name: version for lock in INSTALLED for name, version in pinned(lock).items()}
    assert {canonicalize_name(one.name): str(one.specifier) for one in lines} == {
        name: f"=={version}" for name, version in locked.items()
    }


@pytest.mark.parametrize("name", sorted(set(ASKED) - {"dev"}))
def test_what_runs_is_what_is_tested(name: str) -> None:
    assert pinned(name).items() <= pinned("dev").items()
