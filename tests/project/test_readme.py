"""Claims of the README, and its commands after the whole demo."""

import os
import re
from pathlib import Path

import pytest

from standfast.config import load
from tests.cli.desk import Desk, run_apart
from tests.memory_disk import tmp_path
from tests.pages.blocks import blocks
from tests.pages.typist import Step, Typist, steps
from tests.servers import need
from tests.servers.timestamp_authority import Authority

__all__ = ["tmp_path"]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_LAST_LINE = "\t$(BIN)/standfast demo $(if $(AGAIN),--again)\n"


@pytest.mark.long
def test_readme_commands_work_after_the_demo(
    tmp_path: Path,
    timestamp_authority: Authority,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other tests of the pages use a smaller installation."""
    need("scim2-server", "the demo's directory of accounts")
    for name in [name for name in os.environ if name.startswith("STANDFAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    desk = Desk(folder=tmp_path, capture=capsys, monkeypatch=monkeypatch)
    typist = Typist(desk=desk, folder=tmp_path, demo=tmp_path, authority=timestamp_authority)
    try:
        for step in _with_the_demo():
            if step.command == "make demo":
                # Only its last line: the installation is done. The demo chooses its Prefect server
                # before Prefect is imported.
                assert _LAST_LINE in (ROOT / "Makefile").read_text()
                step.check(run_apart("demo", cwd=tmp_path), "README.md")
            else:
                step.check(typist.type(step.command), "README.md")
    finally:
        if (tmp_path / "demo-place").exists():
            run_apart("demo", "--stop", "demo-place", cwd=tmp_path)


def _with_the_demo() -> list[Step]:
    end = README[: README.index("## Your first backup")].count("\n")
    found = [
        step
        for block in blocks("README.md")
        if block.language == "console" and block.line < end
        for step in steps(block)
    ]
    assert len(found) > 10
    return found


def test_readme_settings_load(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    file = tmp_path / "standfast.toml"
    file.write_text(f'[organisation]\nname = "Example"\ncontact_line = "0123"\n{block}')
    assert set(load(file).accounts) == {"staff"}


def test_readme_incidents_are_opened_by_a_person() -> None:
    opened = [
        step.command
        for step in _with_the_demo()
        if step.command.startswith("standfast incident open")
    ]
    assert opened
    # Otherwise each approval needs two more people, and the demo has fewer.
    assert [command for command in opened if " --as " not in command] == []


def test_the_readme_tells_every_exit_status() -> None:
    from standfast.errors import EXIT_STATUS_MEANING

    for status, meaning in EXIT_STATUS_MEANING.items():
        assert f"| {status.value} | {meaning.partition(':')[0]}" in README


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
