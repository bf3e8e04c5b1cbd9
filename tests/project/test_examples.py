"""Examples in the docstrings of public packages run as they are written."""

import textwrap
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

import backup
import standfast.playbook
from backup.archiver.backup_run import back_up
from backup.ownership.repository_creation import create_repository
from backup.repository import Repository
from backup.sources.files.files_source import FilesSource
from backup.stores.directory import DirectoryStore
from backup.trust.key_files import Host, open_identity
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.rendering.plain_text import as_text


def example_of(package: ModuleType) -> str:
    """Return the code between the summary of a package and its next paragraph."""
    assert package.__doc__ is not None
    return textwrap.dedent(package.__doc__.split("\n\n")[1])


def test_example_of_backup_restores_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "notes.txt").write_text("worth keeping")
    names = {
        "DirectoryStore": DirectoryStore, "FilesSource": FilesSource, "Host": Host, "UTC": UTC,
        "Repository": Repository, "back_up": back_up, "create_repository": create_repository,
        "datetime": datetime, "folder": tmp_path, "open_identity": open_identity, "source": source,
    }  # fmt: skip
    exec(example_of(backup), names)
    assert (tmp_path / "restored/documents/notes.txt").read_text() == "worth keeping"


def test_example_of_playbook_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "playbooks/lock.yaml").read_text()
    exec(example_of(standfast.playbook), {"as_text": as_text, "load": load, "text": text})
    assert "Lock the accounts" in capsys.readouterr().out
