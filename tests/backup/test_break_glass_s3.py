"""The break-glass reader on a real bucket: first versions only."""

from pathlib import Path

import pytest

from backup import break_glass
from backup.stores.directory import DirectoryStore
from backup.stores.s3.store import open_s3
from tests.backup.fixtures.make import IDENTITY
from tests.backup.s3_options import options
from tests.backup.site import Site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import Bucket

DONE, REFUSED = 0, 2


@pytest.fixture
def laid_over(s3_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a vault with a later version or delete marker of each object."""
    monkeypatch.chdir(tmp_path)
    site = Site(
        folder=tmp_path / "site",
        vault=open_s3(options(s3_bucket, s3_bucket.admin)),
        keys=DirectoryStore(tmp_path / "KEYS"),
    ).create()
    site.back_up(plain_tree(tmp_path / "source"))
    intruder = s3_bucket.client(s3_bucket.admin)
    for stat in [*site.vault.list("")]:
        intruder.put_object(Bucket=s3_bucket.name, Key=stat.name, Body=b"of an intruder")
    intruder.delete_object(Bucket=s3_bucket.name, Key="pub/root/0000000000")
    intruder.put_object(Bucket=s3_bucket.name, Key="w/desk-1/s/0000000001/x", Body=b"junk")
    reader = s3_bucket.key("reader")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", reader.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_bucket.server.url)
    return site


def restore(site: Site, vault: str, to: str) -> int:
    return break_glass.main([vault, "KEYS", str(site.folder / IDENTITY), to])


def test_first_versions_are_downloaded_and_restore(
    laid_over: Site, s3_bucket: Bucket, tmp_path: Path
) -> None:
    arguments = ["download", f"s3://{s3_bucket.name}", "VAULT"]
    assert break_glass.main(arguments) == DONE
    assert restore(laid_over, "VAULT", "out") == DONE
    assert describe(tmp_path / "out/files") == describe(tmp_path / "source")
    # The download continues at the byte where it was cut off.
    root = tmp_path / "VAULT/pub/root/0000000000"
    first = root.read_bytes()
    root.unlink()
    assert break_glass.main(arguments) == DONE
    assert root.read_bytes() == first


def test_newest_versions_restore_nothing(
    laid_over: Site, s3_bucket: Bucket, tmp_path: Path
) -> None:
    client = s3_bucket.client(s3_bucket.admin)
    for row in client.list_objects_v2(Bucket=s3_bucket.name)["Contents"]:
        if not row["Key"].endswith("/x"):
            target = tmp_path / "synced" / row["Key"]
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(s3_bucket.name, row["Key"], str(target))
    assert restore(laid_over, "synced", "out") != DONE
    assert not (tmp_path / "out").exists()
    # Files of another tool do not count as first versions.
    arguments = ["download", f"s3://{s3_bucket.name}", "synced"]
    assert break_glass.main(arguments) == REFUSED
