"""The S3 store on a real S3: the family's contract, and versions."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import AlreadyThere, Damaged, Locked, NotFound, StoreUnavailable
from backup.stores import LockMode, ObjectLock, Retention, Stat, Store, StoreTraits
from backup.stores.keeper import KeeperStore
from backup.stores.s3 import S3Options
from backup.stores.s3.keeper import open_s3_keeper
from backup.stores.s3.store import MAX_OBJECT_BYTES, S3Store, open_s3
from backup.stores.s3.version_listing import first_versions
from tests.backup.little_memory import little_memory
from tests.backup.s3_options import options
from tests.backup.site import new_site
from tests.backup.stores_contract import LockedContract, StoreContract, UnlockedContract
from tests.backup.trees import KIB, describe, noise, plain_tree
from tests.servers import wait_until
from tests.servers.seaweedfs import WRITER, Bucket, SeaweedFs

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


class TestS3Store(StoreContract):
    is_write_only = True

    @pytest.fixture
    def store(self, s3_bucket: Bucket) -> Store:
        return open_s3(options(s3_bucket, s3_bucket.admin))


class TestS3StoreBelowAPrefix(StoreContract):
    """A store in a bucket with other objects around the prefix."""

    is_write_only = True

    @pytest.fixture
    def store(self, s3_bucket: Bucket) -> Store:
        client = s3_bucket.client(s3_bucket.admin)
        for key in ("a", "fast-other/a", "zebra"):
            client.put_object(Bucket=s3_bucket.name, Key=key, Body=b"not ours")
        return open_s3(options(s3_bucket, s3_bucket.admin, prefix="fast/vault/"))


class TestS3KeeperStore(LockedContract):
    is_write_only = True

    @pytest.fixture
    def store(self, s3_bucket: Bucket) -> KeeperStore:
        return open_s3_keeper(options(s3_bucket, s3_bucket.admin))


class ByRole(KeeperStore):
    """One vault, in which each call uses the identity of its role.

    The identities are those of `deploy/s3/`. The writer puts, a reader reads, the verifier looks at
    locks, the keeper extends locks, removes and reads the clock. The tests use no other right.
    """

    def __init__(self, bucket: Bucket, **more: Any) -> None:
        # Names of packs, because a writer can add them and a keeper remove them; each test has
        # its own prefix.
        given = {"prefix": f"w/{WRITER}/p/{uuid.uuid4().hex}/", **more}
        self._writer = open_s3(options(bucket, bucket.key("writer"), **given))
        self._reader = open_s3(options(bucket, bucket.key("reader"), **given))
        self._verifier = open_s3(options(bucket, bucket.key("verifier"), **given))
        self._keeper = open_s3_keeper(options(bucket, bucket.key("keeper"), **given))

    def describe(self) -> StoreTraits:
        return self._writer.describe()

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._writer.put(name, data)

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        if length is None:
            return self._reader.get(name)
        return self._reader.get_range(name, start, length)

    def _stat(self, name: str) -> Stat:
        return self._reader.stat(name)

    def _list(self, prefix: str) -> Iterator[Stat]:
        return self._reader.list(prefix)

    def _lock_of(self, name: str) -> Retention | None:
        return self._verifier.lock_of(name)

    def _clock(self) -> datetime:
        return self._keeper.clock()

    def _extend_lock(self, name: str, until: datetime) -> None:
        self._keeper.extend_lock(name, until)

    def _remove(self, name: str) -> None:
        self._keeper.remove(name)


# One bucket serves many tests: the server needs longer to make identities than to run a test.
@pytest.fixture(scope="module")
def locked_of_all(seaweedfs_server: SeaweedFs) -> Bucket:
    return seaweedfs_server.bucket()


@pytest.fixture(scope="module")
def unlocked_of_all(seaweedfs_server: SeaweedFs) -> Bucket:
    return seaweedfs_server.bucket(mode=None)


class TestS3StoreByRole(LockedContract):
    is_write_only = True

    @pytest.fixture
    def store(self, locked_of_all: Bucket) -> KeeperStore:
        return ByRole(locked_of_all)


@pytest.mark.long
class TestS3StoreWithoutALockByRole(UnlockedContract):
    @pytest.fixture
    def store(self, unlocked_of_all: Bucket) -> KeeperStore:
        return ByRole(unlocked_of_all, requires_lock=False)


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_keeper_removes_objects_after_their_lock(
    seaweedfs_server: SeaweedFs, mode: LockMode
) -> None:
    """The keeper locks the writer's objects for seconds, then removes them.

    A default lock lasts at least one day, in this server as in S3, and cannot be shortened. So the
    bucket has no default lock, and the keeper sets the lock.
    """
    bucket = seaweedfs_server.bucket(mode=None)
    given = {"prefix": f"w/{WRITER}/p/", "requires_lock": False}
    writer = open_s3(options(bucket, bucket.key("writer"), **given))
    reader = open_s3(options(bucket, bucket.key("reader"), **given))
    each = ObjectLock(mode=mode, days=1)
    keeper = open_s3_keeper(options(bucket, bucket.key("keeper"), lock_each=each, **given))
    for name in ("ab/over", "ab/kept"):
        writer.put(name, name.encode())
    keeper.extend_lock("ab/kept", keeper.clock() + timedelta(hours=1))
    keeper.extend_lock("ab/over", keeper.clock() + timedelta(seconds=6))
    lock = keeper.lock_of("ab/over")
    assert lock is not None
    assert lock.mode == mode
    with pytest.raises(Locked, match="ab/over is locked until"):
        keeper.remove("ab/over")
    assert reader.get("ab/over") == b"ab/over"

    wait_until(lambda: keeper.clock() > lock.until, "the lock is over")
    keeper.remove("ab/over")
    with pytest.raises(NotFound):
        reader.get("ab/over")
    client = bucket.client(bucket.admin)
    listed = client.list_object_versions(Bucket=bucket.name)
    assert [row["Key"] for row in listed["Versions"]] == [f"w/{WRITER}/p/ab/kept"]
    assert "DeleteMarkers" not in listed
    with pytest.raises(Locked, match="ab/kept is locked until"):
        keeper.remove("ab/kept")
    assert reader.get("ab/kept") == b"ab/kept"
    writer.put("ab/over", b"sent again")
    assert reader.get("ab/over") == b"sent again"


@pytest.mark.long
class TestS3KeeperStoreInGovernanceMode(LockedContract):
    @pytest.fixture
    def store(self, seaweedfs_server: SeaweedFs) -> KeeperStore:
        bucket = seaweedfs_server.bucket(mode="GOVERNANCE")
        return open_s3_keeper(options(bucket, bucket.admin))


@pytest.mark.long
class TestS3KeeperStoreWithoutALock(UnlockedContract):
    @pytest.fixture
    def store(self, seaweedfs_server: SeaweedFs) -> KeeperStore:
        bucket = seaweedfs_server.bucket(mode=None)
        return open_s3_keeper(options(bucket, bucket.admin, requires_lock=False))


@pytest.mark.long
class TestS3KeeperStoreWithoutVersions(UnlockedContract):
    @pytest.fixture
    def store(self, seaweedfs_server: SeaweedFs) -> KeeperStore:
        bucket = seaweedfs_server.bucket(can_lock=False, is_versioned=False)
        return open_s3_keeper(options(bucket, bucket.admin, requires_lock=False))


class TestS3StoreWithoutVersions(StoreContract):
    @pytest.fixture
    def store(self, seaweedfs_server: SeaweedFs) -> Store:
        bucket = seaweedfs_server.bucket(can_lock=False, is_versioned=False)
        return open_s3(options(bucket, bucket.admin, requires_lock=False))


class TestVersions:
    """Later versions of an object, put with more rights than a writer has."""

    @pytest.fixture
    def store(self, s3_bucket: Bucket) -> Store:
        return open_s3(options(s3_bucket, s3_bucket.admin))

    @pytest.fixture
    def intruder(self, s3_bucket: Bucket) -> Any:
        return s3_bucket.client(s3_bucket.admin)

    def test_a_later_version_is_counted_and_never_read(
        self, s3_bucket: Bucket, store: Store, intruder: Any
    ) -> None:
        store.put("a/b", b"first")
        for content in (b"second", b"third, and longer"):
            intruder.put_object(Bucket=s3_bucket.name, Key="a/b", Body=content)
        assert store.get("a/b") == b"first"
        assert store.get_range("a/b", 1, 3) == b"irs"
        (listed,) = store.list("")
        assert listed == store.stat("a/b")
        assert (listed.size_bytes, listed.later_versions, listed.is_hidden) == (5, 2, False)

    def test_a_delete_marker_hides_nothing(
        self, s3_bucket: Bucket, store: Store, intruder: Any
    ) -> None:
        store.put("a/b", b"first")
        intruder.delete_object(Bucket=s3_bucket.name, Key="a/b")
        assert store.get("a/b") == b"first"
        assert [(stat.name, stat.is_hidden) for stat in store.list("a/")] == [("a/b", True)]

    def test_put_over_a_marker_is_a_later_version(
        self, s3_bucket: Bucket, store: Store, intruder: Any
    ) -> None:
        store.put("a/b", b"first")
        intruder.delete_object(Bucket=s3_bucket.name, Key="a/b")
        intruder.put_object(Bucket=s3_bucket.name, Key="a/b", Body=b"forged")
        assert store.get("a/b") == b"first"
        stat = store.stat("a/b")
        assert (stat.is_hidden, stat.later_versions) == (False, 1)

    def test_a_marker_over_nothing_is_nothing(
        self, s3_bucket: Bucket, store: Store, intruder: Any
    ) -> None:
        intruder.delete_object(Bucket=s3_bucket.name, Key="never")
        assert list(store.list("")) == []
        with pytest.raises(NotFound):
            store.get("never")

    def test_removed_object_is_not_found_after_reading(self, seaweedfs_server: SeaweedFs) -> None:
        bucket = seaweedfs_server.bucket(mode=None)
        store = open_s3(options(bucket, bucket.admin, requires_lock=False))
        store.put("a", b"first")
        assert store.get("a") == b"first"
        client = bucket.client(bucket.admin)
        (row,) = client.list_object_versions(Bucket=bucket.name)["Versions"]
        client.delete_object(Bucket=bucket.name, Key="a", VersionId=row["VersionId"])
        for _ in range(2):
            with pytest.raises(NotFound):
                store.get("a")

    def test_hidden_and_overwritten_snapshots_are_read_and_reported(
        self, s3_bucket: Bucket, store: Store, intruder: Any, tmp_path: Path
    ) -> None:
        site = new_site(tmp_path / "site", store)
        source = plain_tree(tmp_path / "source")
        hidden, over = site.back_up(source), site.back_up(source)
        names = [f"w/{point.replace('/', '/s/')}" for point in (hidden.point, over.point)]
        intruder.delete_object(Bucket=s3_bucket.name, Key=names[0])
        intruder.put_object(Bucket=s3_bucket.name, Key=names[1], Body=store.get(names[0]))

        report = verify(store, keys=site.keys, identity=site.identity, read=True)
        found = {finding.object: finding for finding in report.findings}
        assert report.points == 2
        assert sorted(found) == names
        assert "hidden by a delete marker" in found[names[0]].problem
        assert "1 later versions" in found[names[1]].problem
        assert {finding.severity for finding in report.findings} == {"warning"}
        third = site.back_up(source)
        assert (third.has_foreign_point, third.warnings) == (False, ())
        for number, point in enumerate((hidden.point, over.point, third.point)):
            site.restore(point, tmp_path / f"out{number}")
            assert describe(tmp_path / f"out{number}" / "files") == describe(source)

    def test_oversize_object_is_named_and_not_read(
        self, s3_bucket: Bucket, store: Store, intruder: Any, tmp_path: Path
    ) -> None:
        site = new_site(tmp_path / "site", store)
        source = plain_tree(tmp_path / "source")
        point = site.back_up(source).point
        name = "w/desk-1/s/0000000002"
        body = bytes(MAX_OBJECT_BYTES + 1)
        intruder.put_object(Bucket=s3_bucket.name, Key=name, Body=body)
        with pytest.raises(Damaged, match="more than any stored"):
            store.get(name)
        assert [one.name for one in site.repository().points()] == [point]
        again = site.back_up(source)
        assert (again.sequence, len(again.warnings)) == (3, 1)

    def test_name_across_two_pages_is_one_name(self) -> None:
        def version(key: str, number: int) -> dict[str, Any]:
            return {
                "Key": key, "VersionId": str(number), "Size": number, "ETag": '"e"',
                "LastModified": NOW, "IsLatest": False,
            }  # fmt: skip

        marker = {"Key": "b", "VersionId": "m", "LastModified": NOW, "IsLatest": True}
        pages = [
            {"Versions": [version("a", 1), version("b", 9)], "DeleteMarkers": [marker]},
            {"Versions": [version("b", 8)]},
            {},
            {"Versions": [version("b", 7), version("c", 3)], "DeleteMarkers": []},
        ]
        found = [
            (v.key, v.version_id, v.is_hidden, v.later_versions) for v in first_versions(pages)
        ]
        assert found == [("a", "1", False, 0), ("b", "7", True, 2), ("c", "3", False, 0)]

    @pytest.mark.parametrize(
        "page",
        [
            {"Name": "vault", "IsTruncated": True, "NextKeyMarker": "b"},
            {"Name": "vault", "IsTruncated": False, "Versions": [{"Key": "b"}]},
            {"Name": "vault", "IsTruncated": False, "DeleteMarkers": [{"Key": "b"}]},
            {"Name": "other", "IsTruncated": False},
            {"Name": "vault"},
            {},
        ],
    )
    def test_foreign_page_ends_the_listing(self, store: Store, page: dict[str, Any]) -> None:
        from backup.stores.s3.client import Calls

        given = S3Options(bucket="vault", access_key_id="id", secret_access_key="secret")
        calls = Calls(given, pause=lambda _: None, jitter=lambda: 1.0)
        # The first page belongs to a list that continues; the next page does not match it.
        before = {"Name": "vault", "IsTruncated": True, "NextKeyMarker": "b"}
        pages = iter([before])
        calls.client = SimpleNamespace(list_object_versions=lambda **_: next(pages, page))
        strange = S3Store(given, calls, store.describe(), lambda: NOW)
        with pytest.raises(StoreUnavailable, match=r"listing w/ failed.*not S3's"):
            list(strange.list("w/"))

    def test_listing_of_many_pages_is_complete_in_order(
        self, s3_bucket: Bucket, store: Store, intruder: Any
    ) -> None:
        names = sorted(f"w/desk-1/p/{number % 7:02x}/{number:05}" for number in range(1_100))

        def put(name: str) -> None:
            store.put(name, b"x")
            if name.endswith("0"):
                intruder.put_object(Bucket=s3_bucket.name, Key=name, Body=b"later")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, names))
        listed = list(store.list("w/desk-1/p/"))
        assert [stat.name for stat in listed] == names
        assert sum(stat.later_versions for stat in listed) == 110


def test_put_does_not_copy_its_content(s3_bucket: Bucket) -> None:
    store = open_s3(options(s3_bucket, s3_bucket.admin))
    content = noise(9_000 * KIB)
    store.put("a/first", b"so that all is imported")
    with little_memory(3 * 1024 * KIB):
        store.put("a/b", memoryview(content))
    assert store.get("a/b") == content


def test_range_is_read_into_its_own_memory(s3_bucket: Bucket) -> None:
    store = open_s3(options(s3_bucket, s3_bucket.admin))
    content = noise(9_000 * KIB)
    store.put("a", content)
    into = memoryview(bytearray(8_000 * KIB))
    store.read_into("a", 0, into[:10])
    with little_memory(3 * 1024 * KIB):
        assert store.read_into("a", 1000, into) == len(into)
    assert into == content[1000 : 1000 + len(into)]


def test_one_of_two_racing_stores_wins(s3_bucket: Bucket) -> None:
    given = options(s3_bucket, s3_bucket.key("writer"))
    stores = [open_s3(given, jitter=lambda: 0.1) for _ in range(2)]

    def put(store: Store, number: int, round_: int) -> bool:
        try:
            store.put(f"w/desk-1/s/{round_:010d}", b"%d" % number)
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for round_ in range(4):
            won = list(pool.map(put, stores, (0, 1), (round_, round_)))
            assert won.count(True) == 1
            name = f"w/desk-1/s/{round_:010d}"
            assert stores[0].get(name) == b"%d" % won.index(True)
            assert stores[0].stat(name).later_versions == 0
