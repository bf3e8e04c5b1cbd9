"""What is installed where the repository is not."""

import re
import subprocess
import sys
import zipfile

import pytest

from tests.project.test_tree import ROOT, tracked

PACKAGES = ("standfast", "backup", "flows", "demo", "playbooks", "notify_templates")
PAGES = ("docs", "deploy")
_PAGE = re.compile(r"\b(?:docs|deploy)/[\w/.-]*\w")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of the wheel, by the names that they have in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.iterdir()
    with zipfile.ZipFile(wheel) as file:
        return {name.rpartition("data/share/doc/standfast/")[2] for name in file.namelist()}


def test_whatever_the_program_reads_or_names_is_installed_with_it(installed: set[str]) -> None:
    wanted = {
        name
        for name in (path.relative_to(ROOT).as_posix() for path in tracked())
        if name.startswith(tuple(f"{folder}/" for folder in (*PACKAGES, *PAGES)))
    }
    assert wanted - installed == set()


def test_each_page_that_a_message_names_is_there() -> None:
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES
        for page in _PAGE.findall(path.read_text())
    }
    assert len(named) > 10
    assert {one for one in named if not (ROOT / one[1]).exists()} == set()
