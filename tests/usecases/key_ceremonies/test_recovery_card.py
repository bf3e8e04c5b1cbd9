"""The recovery card of a vault in a bucket; its steps run on a real store."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backup import break_glass
from backup.stores.directory import DirectoryStore
from backup.stores.s3.store import open_s3
from standfast.usecases.key_ceremonies.owner_operations import open_stores
from standfast.usecases.key_ceremonies.recovery_card import recovery_card
from tests.backup.fixtures.make import IDENTITY
from tests.backup.s3_options import options
from tests.backup.site import Site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import Bucket

SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000"

[backup]
keys = "KEYS"

[backup.s3]
bucket = "{bucket}"
endpoint_url = "{url}"
access_key_id = "env:ID"
secret_access_key = "env:SECRET"
"""


@pytest.fixture
def site(s3_bucket: Bucket, tmp_path: Path) -> Site:
    """A vault in a bucket; an intruder's version covers the newest snapshot."""
    site = Site(
        folder=tmp_path / "site",
        vault=open_s3(options(s3_bucket, s3_bucket.admin)),
        keys=DirectoryStore(tmp_path / "KEYS"),
    ).create()
    site.back_up(plain_tree(tmp_path / "source"))
    client = s3_bucket.client(s3_bucket.admin)
    client.put_object(Bucket=s3_bucket.name, Key="w/desk-1/s/0000000001", Body=b"an intruder's")
    return site


def test_card_of_a_bucket_brings_everything_back(
    site: Site, s3_bucket: Bucket, tmp_path: Path
) -> None:
    config = tmp_path / "standfast.toml"
    config.write_text(SETTINGS.format(bucket=s3_bucket.name, url=s3_bucket.server.url))
    key = s3_bucket.key("reader")
    env = {"ID": key.access_key, "SECRET": key.secret_key}
    card = recovery_card(open_stores(config, env))
    shutil.copy(site.folder / IDENTITY, tmp_path / "IDENTITY_FILE")
    shutil.copy(Path(break_glass.__file__), tmp_path)
    download, listing, restore = (step.command for step in card.steps[-3:])
    download = download.replace("ID=…", f"ID={key.access_key}")
    download = download.replace("KEY=…", f"KEY={key.secret_key}")
    for typed in (download, listing, restore.removesuffix(" POINT")):
        script = typed.replace("glass/bin/python", sys.executable)
        done = subprocess.run(
            ["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done
    assert describe(tmp_path / "TARGET/files") == describe(tmp_path / "source")
