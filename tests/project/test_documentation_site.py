"""Documentation site: a strict build of all pages."""

import re
import subprocess
from pathlib import Path

import pytest

from standfast.cli.app import app
from standfast.cli.parsing.commands import leaf_commands
from tests.project.documentation_site import build
from tests.project.test_tree import ROOT, tracked

_CODE = re.compile(r"`[^`]*`|\\\|")  # may contain the character between two cells


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    try:
        build(folder)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr)
    return folder


def test_site_has_each_page(site: Path) -> None:
    pages = {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    index = {page.with_name("index.html") for page in pages if page.name == "README.md"}
    assert {page.with_suffix(".html") for page in pages if page.name != "README.md"} | index < built


def test_reference_has_each_command(site: Path) -> None:
    page = (site / "docs/commands.html").read_text()
    for words, _ in leaf_commands(app):
        assert f">standfast {' '.join(words)}</h2>" in page


def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe|link rel=\"stylesheet\")[^>]*(?:src|href)=\"(?:https?:)?//"
    )
    assert [str(page) for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


def test_table_rows_have_the_cells_of_their_header() -> None:
    uneven = []
    for page in [path for path in tracked() if path.suffix == ".md"]:
        cells = 0
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            found = _CODE.sub("", line).count("|") if line.startswith("|") else 0
            if cells and found not in (0, cells):
                uneven.append(f"{page.relative_to(ROOT)}:{number}")
            cells = cells if cells and found else found
    assert uneven == []


def test_list_of_playbooks_is_complete() -> None:
    folder = ROOT / "docs/playbooks"
    listed = re.findall(r"\]\(([\w-]+\.html)\)", (folder / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.html"))
