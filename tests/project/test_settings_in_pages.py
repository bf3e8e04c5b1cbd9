"""Settings and other data in pages are valid."""

import json
import textwrap
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from standfast.config import load
from standfast.playbook.parser import playbook_file
from tests.pages.blocks import Block, blocks, pages
from tests.project.test_tree import ROOT

START = """
[organisation]
name = "Example"
contact_line = "0123"
"""
# Services and schedules of drills name backup sets.
SETS = """
[[backup.sets.crm.sources]]
kind = "postgresql"
name = "crm-server"
host = "/var/run/postgresql"

[[backup.sets.recordings.sources]]
kind = "files"
name = "recordings"
path = "/srv/recordings"
"""
MAIN = """
[[backup.sets.main.sources]]
kind = "files"
name = "my-files"
path = "/srv/my-files"
"""
CRM = """
[[backup.sets.crm.sources]]
kind = "files"
name = "recordings"
path = "/srv/recordings"

[[backup.sets.crm.sources]]
kind = "sqlite"
name = "crm"
path = "/srv/crm/crm.db"

[[backup.sets.crm.sources]]
kind = "postgresql"
name = "crm-server"
host = "/var/run/postgresql"

[[backup.sets.crm-base.sources]]
kind = "postgresql_base"
name = "crm-base"
host = "/var/run/postgresql"
wal = "/srv/crm-wal"

[[backup.sets.crm.sources]]
kind = "s3"
name = "calls"
bucket = "example-recordings"
access_key_id = "file:keys/id"
secret_access_key = "file:keys/secret"
"""


DIRECTORY = """
[services.directory]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 240

[commands.ivr-mode]
argv = ["/usr/local/sbin/ivr", "{mode}"]
parameters.mode = { type = "choice", options = ["callback", "off"] }
"""
CUSTOMERS = """
[audiences.customers]
kind = "csv"
path = "customers.csv"
"""
LOADED = {
    "deploy/s3/README.md": "",
    "deploy/site/README.md": "",
    "docs/console.md": "",
    "docs/continuity.md": DIRECTORY,
    "docs/drills.md": SETS,
    "docs/monitoring.md": SETS,
    "docs/open-incidents.md": CUSTOMERS,
    "docs/recover-a-service.md": CRM,
    "docs/recover-installation.md": "",
    "docs/tutorial.md": MAIN,
    "docs/write-a-playbook.md": "",
}
ELSEWHERE = {
    "README.md": "tests/project/test_readme.py",
    "docs/accounts.md": "tests/adapters/accounts/test_page.py",
    "docs/deadlines.md": "tests/project/test_deadlines_page.py",
    "docs/evidence.md": "tests/adapters/evidence_sources/test_page.py",
    "docs/notices.md": "tests/project/test_notices_page.py",
    "docs/senders.md": "tests/adapters/senders/test_page.py",
    "docs/sources.md": "tests/project/test_sources_page.py",
    "docs/triggers.md": "tests/project/test_triggers_page.py",
    "docs/write-a-notice.md": "tests/pages/courses.py",
}
STEPS = """
playbook: example
version: 1
title: Example
use_when: In a test.
steps:
"""


def of_language(*languages: str) -> list[Block]:
    return [block for page in pages() for block in blocks(page) if block.language in languages]


@pytest.mark.parametrize(("page", "before"), LOADED.items())
def test_settings_in_pages_load(page: str, before: str, tmp_path: Path) -> None:
    found = [block.text for block in blocks(page) if block.language == "toml"]
    assert found
    file = tmp_path / "standfast.toml"
    file.write_text("\n".join([START, before, *found]))
    load(file)


def test_settings_of_every_page_are_tested() -> None:
    assert {block.page for block in of_language("toml")} == LOADED.keys() | ELSEWHERE.keys()
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_yaml_in_pages_is_valid(block: Block) -> None:
    found = YAML(typ="safe").load(block.text)
    if "playbook" in found:
        playbook_file.load(block.text, str(block))
    elif any("do" in value for value in found.values() if isinstance(value, dict)):
        playbook_file.load(STEPS + textwrap.indent(block.text, "  "), str(block))


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_json_in_pages_is_valid(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict)
