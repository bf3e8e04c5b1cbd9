"""Every command of the pages for readers runs, as the page shows it."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.memory_disk import memory_folder, tmp_path
from tests.pages.blocks import blocks, fences, pages, pages_with_commands
from tests.pages.courses import COURSES, Course, follow
from tests.pages.demo_place import demo_template
from tests.pages.not_run import APPLIED, NOT_RUN, SHOWN, NotRun, is_shown
from tests.pages.typist import Typist, steps
from tests.project.test_tree import ROOT
from tests.servers import need
from tests.servers.timestamp_authority import Authority

__all__ = ["tmp_path"]
LOADED = ("toml", "yaml", "json")  # by tests/project/test_settings_in_pages.py
pytestmark = pytest.mark.xdist_group("pages")  # one process makes the demo's installation


def _in_order() -> list[list[str]]:
    """Return the pages; those that follow each other are one list."""
    after = {course.after: page for page, course in COURSES.items() if course.after}
    found = []
    for page in pages_with_commands():
        if page not in after.values():
            pages = [page]
            while pages[-1] in after:
                pages.append(after[pages[-1]])
            found.append(pages)
    return found


@pytest.fixture(scope="module")
def demo() -> Iterator[Path]:
    need("scim2-server", "it is the directory of the demo")
    need("aiosmtpd", "it is the mail server of the demo")
    with demo_template(memory_folder()) as folder:
        yield folder


@pytest.fixture
def typist(
    demo: Path,
    tmp_path: Path,
    timestamp_authority: Authority,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Typist:
    for name in [name for name in os.environ if name.startswith("STANDFAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    desk = Desk(folder=tmp_path, capture=capsys, monkeypatch=monkeypatch)
    return Typist(desk=desk, folder=tmp_path, demo=demo, authority=timestamp_authority)


@pytest.mark.parametrize("pages", _in_order(), ids=" ".join)
def test_commands_do_what_the_page_shows(pages: list[str], typist: Typist) -> None:
    for page in pages:
        follow(typist, page)


@pytest.mark.parametrize(("entry", "reason"), NOT_RUN.items(), ids=lambda part: str(part[1]))
def test_block_that_is_not_run_needs_its_program(entry: tuple[str, str], reason: NotRun) -> None:
    page, beginning = entry
    found = [block for block in blocks(page) if block.begins.startswith(beginning)]
    assert found, "the block is gone: remove or correct the entry"
    program = re.compile(rf"(?:^|[\s/]){re.escape(reason.program)}\s")
    assert all(program.search(block.text) for block in found), "it can run now: remove the entry"
    if reason.tested_by:
        assert Path(page).name in (ROOT / reason.tested_by).read_text()


def test_every_block_is_executed_or_listed() -> None:
    applied = Counter[tuple[str, str]]()
    for page in pages():
        taken = COURSES.get(page, Course()).takes
        assert fences(page) == 2 * len(blocks(page)), f"{page}: write a block as ```language"
        for block in blocks(page):
            is_typed = block.has_commands or block.language in taken
            if not (is_typed or block.language in LOADED or is_shown(block)):
                applied[page, block.language] += 1
    assert applied == {entry: test.number for entry, test in APPLIED.items()}
    for (page, _), test in APPLIED.items():
        assert Path(page).name in (ROOT / test.tested_by).read_text()
    for page, beginning in SHOWN:
        assert any(block.begins.startswith(beginning) for block in blocks(page)), beginning


def test_each_course_is_of_its_page() -> None:
    for page, course in COURSES.items():
        commands = [step for block in blocks(page) if block.has_commands for step in steps(block)]
        lines = "\n".join(step.line for step in commands)
        used = {*course.before, *course.by_hand, *course.instead}
        assert {text for text in used if text not in lines} == set(), page
