"""A second put of a name is detected on a server that accepts it.

Ceph 18 accepts such a put in buckets with versions.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import AlreadyThere, StoreUnavailable
from backup.format.object_names import snapshot_name
from backup.stores import StoreTraits
from backup.stores.s3 import S3Options
from backup.stores.s3.client import Calls
from backup.stores.s3.store import S3Store, open_s3
from tests.backup.s3_options import ignore_the_condition, options
from tests.backup.s3_proxy import Fault, running_proxy
from tests.backup.site import WRITER, Site, new_site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import Bucket, Key

PACK = f"w/{WRITER}/p/ab/{'ab' * 32}"


@pytest.fixture(autouse=True)
def _condition(monkeypatch: pytest.MonkeyPatch) -> None:
    ignore_the_condition(monkeypatch)


def store_of(bucket: Bucket, key: Key, url: str | None = None) -> S3Store:
    given = options(bucket, key, endpoint_url=url or bucket.server.url)
    return open_s3(given, pause=lambda _: None)


def test_name_is_taken_once_without_conditional_puts(s3_bucket: Bucket) -> None:
    store = store_of(s3_bucket, s3_bucket.admin)
    store.put("a", b"first")
    for content in (b"second", b"first"):
        with pytest.raises(AlreadyThere, match="a already exists"):
            store.put("a", content)
    assert store.get("a") == b"first"
    assert store.stat("a").later_versions == 2


def test_own_bytes_after_a_lost_answer_are_success(s3_bucket: Bucket) -> None:
    with running_proxy(s3_bucket.server.url) as proxy:
        store = store_of(s3_bucket, s3_bucket.key("writer"), proxy.url)
        for name in (snapshot_name(WRITER, 1), PACK):
            proxy.will(Fault.LOST_ANSWER, "PUT", name)
        store.put(snapshot_name(WRITER, 1), b"what a writer may read")
        with pytest.raises(AlreadyThere):
            store.put(PACK, b"a pack")
        assert len(proxy.happened) == 2
    reader = store_of(s3_bucket, s3_bucket.key("reader"))
    assert {stat.name: reader.get(stat.name) for stat in reader.list("")} == {
        snapshot_name(WRITER, 1): b"what a writer may read",
        PACK: b"a pack",
    }


def test_identity_without_listing_can_store(s3_bucket: Bucket) -> None:
    with running_proxy(s3_bucket.server.url) as proxy:
        store = store_of(s3_bucket, s3_bucket.admin, proxy.url)
        proxy.will(Fault.FORBIDDEN, "GET", "versions")
        store.put("a", b"x")
        assert proxy.happened == [Fault.FORBIDDEN]
        assert store.get("a") == b"x"


class FakeClient:
    """A client of a bucket that accepts every put and lists nothing."""

    def __init__(self) -> None:
        self.puts: list[dict[str, Any]] = []

    def put_object(self, **request: Any) -> dict[str, str]:
        self.puts.append(request)
        return {"ETag": '"e"', "VersionId": "1"}

    def list_object_versions(self, **_: str) -> dict[str, Any]:
        return {"Name": "vault", "IsTruncated": False}


def fake_store(endpoint_url: str | None) -> tuple[S3Store, FakeClient]:
    given = S3Options(
        bucket="vault", access_key_id="id", secret_access_key="secret", endpoint_url=endpoint_url
    )
    calls = Calls(given, pause=lambda _: None, jitter=lambda: 1.0)
    calls.client = client = FakeClient()
    traits = StoreTraits(is_write_only=True, why="a lock", is_versioned=True)
    return S3Store(given, calls, traits, lambda: datetime.now(UTC)), client


def test_put_that_is_not_listed_is_an_error() -> None:
    store, _ = fake_store("http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match="does not list"):
        store.put("a", b"x")


def test_aws_put_needs_no_second_request() -> None:
    store, client = fake_store(None)
    store.put("a", b"x")
    assert [(one["Key"], one["IfNoneMatch"]) for one in client.puts] == [("a", "*")]


def test_slower_clone_is_reported_in_the_same_run(
    s3_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(tmp_path / "site", store_of(s3_bucket, s3_bucket.admin))
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    shutil.copytree(site.folder, tmp_path / "clone")
    clone = Site(folder=tmp_path / "clone", vault=site.vault, keys=site.keys, clock=site.clock)
    slower = store_of(s3_bucket, s3_bucket.admin)
    put = slower.put

    def overtaken(name: str, data: bytes | bytearray | memoryview) -> None:
        if name == snapshot_name(WRITER, 2):
            clone.back_up(source)
        put(name, data)

    monkeypatch.setattr(slower, "put", overtaken)
    site.vault = slower
    (source / "note.txt").write_text("seen by the slower one")
    result = site.back_up(source)
    assert (result.has_foreign_point, result.sequence) == (True, 3)
    report = verify(slower, keys=site.keys, identity=site.identity, read=True)
    assert [(one.severity, one.object) for one in report.findings] == [
        ("warning", snapshot_name(WRITER, 2))
    ], "what was laid over it is named, and nothing else is wrong"
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
