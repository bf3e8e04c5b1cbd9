"""Manual pages: one for each command, which groff reads without a warning."""

import subprocess
from pathlib import Path

import click
import pytest

from standfast.cli.app import app
from standfast.cli.parsing.commands import leaf_commands
from standfast.cli.parsing.manual_page import manual_pages
from tests.cli.desk import Desk
from tests.servers import need


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return dict(manual_pages(app, "standfast"))


def groff(text: str) -> str:
    """Return the page as a terminal shows it; fail on a warning."""
    need("groff", "it formats manual pages")
    command = ["groff", "-man", "-ww", "-Kutf8", "-Tutf8", "-P-cbou", "-rLL=300n"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_command_has_a_page(pages: dict[str, str]) -> None:
    names = {"-".join(("standfast", *words)) for words, _ in leaf_commands(app)}
    assert names < pages.keys()


def test_groff_reads_each_page(pages: dict[str, str]) -> None:
    shown = groff("".join(pages.values()))
    assert shown.count("\nSYNOPSIS\n") == len(pages)


def test_page_explains_its_command(pages: dict[str, str]) -> None:
    shown = groff(pages["standfast-backup-run"])
    for part in ("ARGUMENTS", "--distrust REPORT.json", "EXIT STATUS", "standfast backup run main"):
        assert part in shown


def test_page_of_a_group_lists_its_commands(pages: dict[str, str]) -> None:
    assert "standfast backup restore" in groff(pages["standfast-backup"])


def test_text_is_never_a_command_of_roff() -> None:
    command = click.Command("x", help=".so /etc/hostname\n'quoted' \\fB -n")
    ((_, text),) = manual_pages(command, "x")
    assert ".so /etc/hostname 'quoted' \\fB -n" in " ".join(groff(text).split())


def test_command_writes_and_replaces_pages(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "man1"
    for _ in range(2):
        answer = desk.json("manual", "--to", folder)
        assert {f"{name}.1" for name in answer["pages"]} == {path.name for path in folder.iterdir()}
