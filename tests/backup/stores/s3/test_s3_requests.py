"""Number of requests of the S3 store: each one costs time and money."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backup.errors import NotFound
from backup.format.object_names import pack_name, snapshot_name
from backup.stores.s3.store import S3Store, open_s3
from tests.backup.s3_options import options
from tests.backup.s3_proxy import Proxy, running_proxy
from tests.backup.trees import noise
from tests.servers.seaweedfs import WRITER, Bucket, SeaweedFs


@pytest.fixture
def proxy(s3_bucket: Bucket) -> Iterator[Proxy]:
    with running_proxy(s3_bucket.server.url) as proxy:
        yield proxy


@pytest.fixture
def store(s3_bucket: Bucket, proxy: Proxy) -> S3Store:
    return opened(s3_bucket, proxy)


def opened(bucket: Bucket, proxy: Proxy, **more: Any) -> S3Store:
    store = open_s3(options(bucket, bucket.admin, endpoint_url=proxy.url, **more))
    proxy.requests.clear()
    return store


def asked(proxy: Proxy) -> list[str]:
    """Return the requests since the last call."""
    kinds = [
        f"{method} versions" if "versions" in path else method for method, path in proxy.requests
    ]
    proxy.requests.clear()
    return kinds


def put_packs(store: S3Store, count: int) -> list[str]:
    names = []
    for number in range(count):
        content = noise(100_000, number)
        names.append(pack_name(WRITER, hashlib.sha256(content).hexdigest()))
        store.put(names[-1], content)
    return names


def test_pack_needs_one_call_contested_names_a_listing(store: S3Store, proxy: Proxy) -> None:
    put_packs(store, 1)
    assert asked(proxy) == ["PUT"]
    store.put(snapshot_name(WRITER, 1), b"a snapshot")
    assert asked(proxy) == ["PUT", "GET versions"]
    store.put(pack_name(WRITER, "ab" * 32), b"what is not its name")
    assert asked(proxy) == ["PUT", "GET versions"]


def test_small_relisted_object_is_not_read_again(store: S3Store, proxy: Proxy) -> None:
    for name, size in (("small", 60_000), ("large", 70_000)):
        content = noise(size)
        store.put(name, content)
        asked(proxy)
        assert store.get_range(name, 0, size + 1) == content
        assert asked(proxy) == ["GET versions", "GET"]
        for _ in range(2):
            assert [stat.name for stat in store.list(name)] == [name]
            assert store.get_range(name, 0, size + 1) == content
            assert asked(proxy) == ["GET versions", *(["GET"] if name == "large" else [])]
        assert [stat.name for stat in store.list(name)] == [name]
        assert store.get_range(name, 100, 50) == content[100:150]
        asked(proxy)


def test_removed_object_is_not_returned_from_cache(
    seaweedfs_server: SeaweedFs, proxy: Proxy
) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    store = opened(bucket, proxy, requires_lock=False)
    store.put("a", b"content")
    for _ in range(2):
        assert [stat.name for stat in store.list("a")] == ["a"]
        assert store.get("a") == b"content"
    (row,) = bucket.client(bucket.admin).list_object_versions(Bucket=bucket.name)["Versions"]
    bucket.client(bucket.admin).delete_object(
        Bucket=bucket.name, Key="a", VersionId=row["VersionId"]
    )
    with pytest.raises(NotFound):
        store.get("a")


def test_small_objects_are_remembered_up_to_a_bound(
    store: S3Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.stores.s3.store.MOST_CACHED_BYTES", 100)
    for name in ("a", "b", "c"):
        store.put(name, name.encode() * 40)
        store.get(name)
    asked(proxy)
    assert [stat.name for stat in store.list("")] == ["a", "b", "c"]
    assert [store.get(name) for name in ("c", "b", "a")] == [b"c" * 40, b"b" * 40, b"a" * 40]
    assert asked(proxy) == ["GET versions", "GET"], "the oldest was forgotten"
    # An entry that was forgotten and is listed again is read as usual.
    for _ in range(2):
        assert [stat.name for stat in store.list("")] == ["a", "b", "c"]
        assert [store.get(name) for name in ("a", "b", "c")] == [b"a" * 40, b"b" * 40, b"c" * 40]


def test_a_bucket_without_versions_is_asked_each_time(
    seaweedfs_server: SeaweedFs, proxy: Proxy
) -> None:
    bucket = seaweedfs_server.bucket(can_lock=False, is_versioned=False)
    store = opened(bucket, proxy, requires_lock=False)
    store.put("a", b"first")
    assert store.get("a") == b"first"
    client = bucket.client(bucket.admin)
    client.put_object(Bucket=bucket.name, Key="a", Body=b"other")
    assert [stat.size_bytes for stat in store.list("a")] == [5]
    assert store.get("a") == b"other"


def test_packs_looked_up_singly_are_listed_together(
    s3_bucket: Bucket, store: S3Store, proxy: Proxy
) -> None:
    names = put_packs(store, 6)
    reader = opened(s3_bucket, proxy)
    for number, name in enumerate(names):
        assert reader.get_range(name, 10, 20) == noise(100_000, number)[10:30]
    assert sorted(asked(proxy)) == ["GET"] * 6 + ["GET versions"] * 2


def test_packs_looked_up_at_once_are_listed_together(
    s3_bucket: Bucket, store: S3Store, proxy: Proxy
) -> None:
    names = put_packs(store, 8)
    reader = opened(s3_bucket, proxy)
    with ThreadPoolExecutor(8) as threads:
        ranges = [*threads.map(lambda name: reader.get_range(name, 10, 20), names)]
    assert ranges == [noise(100_000, number)[10:30] for number in range(8)]
    assert sorted(asked(proxy)) == ["GET"] * 8 + ["GET versions"] * 2


def test_page_ending_within_a_name_is_not_final(
    s3_bucket: Bucket, store: S3Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest version of a name comes first; the oldest may be on page two."""
    names = ["w/desk-1/p/0a/0a", "w/desk-1/p/0b/0b", "w/desk-1/p/0c/0c"]
    client = s3_bucket.client(s3_bucket.admin)
    for name in names:
        store.put(name, b"first")
    client.put_object(Bucket=s3_bucket.name, Key=names[1], Body=b"later")
    reader = opened(s3_bucket, proxy)
    listing = reader._client.list_object_versions
    monkeypatch.setattr(
        reader._client, "list_object_versions", lambda **request: listing(MaxKeys=2, **request)
    )
    assert reader.get(names[2]) == b"first"
    assert reader.get(names[0]) == b"first"
    assert reader.get(names[1]) == b"first"
