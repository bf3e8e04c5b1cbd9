"""Settings in pages that have no test of their own load."""

import re
from pathlib import Path

import pytest

from standfast.config import load
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

[[backup.sets.crm-base.sources]]
kind = "postgresql_base"
name = "crm-base"
host = "/var/run/postgresql"
"""


@pytest.mark.parametrize(
    ("page", "before"),
    [
        ("console.md", ""),
        ("drills.md", SETS),
        ("monitoring.md", SETS),
        ("recover-a-service.md", CRM),
        ("recover-installation.md", ""),
        ("tutorial.md", MAIN),
        ("write-a-playbook.md", ""),
    ],
)
def test_settings_in_pages_load(page: str, before: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```toml\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    file = tmp_path / "standfast.toml"
    file.write_text("\n".join([START, before, *blocks]))
    load(file)
