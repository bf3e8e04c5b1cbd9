"""The S3 store on a real S3: the family's contract, versions, locks, and what it is told."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup.errors import AlreadyThere, Damaged, NotFound, StoreUnavailable, UsageError
from backup.stores import ObjectLock, Store
from backup.stores.s3 import LARGEST_OBJECT_BYTES, S3Options, open_s3
from backup.stores.s3_versions import first_versions
from backup.verify import verify
from tests.backup.site import new_site
from tests.backup.stores_contract import StoreContract
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import LOCK_DAYS, Bucket, Key, SeaweedFs

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


def options(bucket: Bucket, key: Key, **more: Any) -> S3Options:
    given = {
        "bucket": bucket.name,
        "endpoint_url": bucket.server.url,
        "access_key_id": key.access_key,
        "secret_access_key": key.secret_key,
    }
    return S3Options(**(given | more))


class TestS3Store(StoreContract):
    is_write_only = True

    @pytest.fixture
    def store(self, s3_bucket: Bucket) -> Store:
        return open_s3(options(s3_bucket, s3_bucket.admin))


class TestS3StoreBelowAPrefix(StoreContract):
    """In a bucket that has something of its own beside and around the prefix."""

    is_write_only = True

    @pytest.fixture
    def store(self, s3_bucket: Bucket) -> Store:
        client = s3_bucket.client(s3_bucket.admin)
        for key in ("a", "fast-other/a", "zebra"):
            client.put_object(Bucket=s3_bucket.name, Key=key, Body=b"not ours")
        return open_s3(options(s3_bucket, s3_bucket.admin, prefix="fast/vault/"))


class TestS3StoreWithoutVersions(StoreContract):
    @pytest.fixture
    def store(self, seaweedfs_server: SeaweedFs) -> Store:
        bucket = seaweedfs_server.bucket(can_lock=False, is_versioned=False)
        return open_s3(options(bucket, bucket.admin, requires_lock=False))


class TestVersions:
    """What somebody with more rights than a writer lays over an object."""

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

    def test_what_is_put_over_a_marker_is_a_later_version(
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

    def test_what_was_read_once_and_then_dropped_is_not_found(
        self, seaweedfs_server: SeaweedFs
    ) -> None:
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

    def test_a_hidden_and_an_overwritten_snapshot_are_seen_through_and_reported(
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
        assert "deleted by a marker" in found[names[0]].problem
        assert "1 later versions" in found[names[1]].problem
        assert {finding.severity for finding in report.findings} == {"warning"}
        third = site.back_up(source)
        assert (third.is_fork, third.warnings) == (False, ())
        for number, point in enumerate((hidden.point, over.point, third.point)):
            site.restore(point, tmp_path / f"out{number}")
            assert describe(tmp_path / f"out{number}" / "files") == describe(source)

    def test_an_object_larger_than_any_of_ours_is_named_and_not_read(
        self, s3_bucket: Bucket, store: Store, intruder: Any, tmp_path: Path
    ) -> None:
        site = new_site(tmp_path / "site", store)
        source = plain_tree(tmp_path / "source")
        point = site.back_up(source).point
        name = "w/desk-1/s/0000000002"
        body = bytes(LARGEST_OBJECT_BYTES + 1)
        intruder.put_object(Bucket=s3_bucket.name, Key=name, Body=body)
        with pytest.raises(Damaged, match="more than anything"):
            store.get(name)
        assert [one.name for one in site.repository().points()] == [point]
        again = site.back_up(source)
        assert (again.sequence, len(again.warnings)) == (3, 1)

    def test_a_name_whose_versions_go_on_in_the_next_page_is_one_name(self) -> None:
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

    def test_a_listing_of_many_pages_is_whole_and_in_order(
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


class TestLocks:
    def test_a_default_lock_is_described_with_its_mode_and_days(
        self, seaweedfs_server: SeaweedFs
    ) -> None:
        told = {}
        for mode in ("COMPLIANCE", "GOVERNANCE"):
            bucket = seaweedfs_server.bucket(mode=mode)
            traits = open_s3(options(bucket, bucket.key("writer"))).describe()
            assert traits.is_versioned
            assert traits.trusted_clock
            assert traits.lock is not None
            assert (traits.lock.mode, traits.lock.days) == (mode, LOCK_DAYS)
            told[mode] = (traits.is_write_only, traits.locks, traits.why)
        assert told["COMPLIANCE"][:2] == (True, True)
        assert told["GOVERNANCE"][:2] == (False, False)
        assert "30 days against everyone" in told["COMPLIANCE"][2]
        assert "who may bypass it can still delete" in told["GOVERNANCE"][2]

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"mode": None}, "no default lock"),
            ({"can_lock": False}, "without Object Lock"),
            ({"can_lock": False, "is_versioned": False}, "no versions and no lock"),
        ],
    )
    def test_a_bucket_without_a_lock_is_refused_unless_one_lives_with_it(
        self, seaweedfs_server: SeaweedFs, given: dict[str, Any], why: str
    ) -> None:
        bucket = seaweedfs_server.bucket(**given)
        with pytest.raises(UsageError, match=rf"{why}.*Give the bucket a default lock") as refused:
            open_s3(options(bucket, bucket.admin))
        assert refused.value.exit_code == 2
        traits = open_s3(options(bucket, bucket.admin, requires_lock=False)).describe()
        assert why in traits.why
        assert (traits.is_write_only, traits.locks, traits.lock) == (False, False, None)

    def test_each_object_is_locked_where_the_options_say_so(
        self, seaweedfs_server: SeaweedFs
    ) -> None:
        bucket = seaweedfs_server.bucket(mode=None)
        lock = ObjectLock(mode="COMPLIANCE", days=40)
        now = datetime.now(UTC).replace(microsecond=0)
        store = open_s3(options(bucket, bucket.admin, lock_each=lock), now=lambda: now)
        assert store.describe().lock == lock
        assert store.describe().is_write_only
        store.put("a", b"x")
        client = bucket.client(bucket.admin)
        head = client.head_object(Bucket=bucket.name, Key="a")
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert head["ObjectLockRetainUntilDate"] == now + timedelta(days=40)

    def test_without_that_no_lock_is_asked_for_and_the_default_holds(
        self, s3_bucket: Bucket
    ) -> None:
        writer = open_s3(options(s3_bucket, s3_bucket.key("writer")))
        writer.put("w/desk-1/s/0000000001", b"x")
        head = s3_bucket.client(s3_bucket.admin).head_object(
            Bucket=s3_bucket.name, Key="w/desk-1/s/0000000001"
        )
        assert head["ObjectLockMode"] == "COMPLIANCE"
        left = head["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert timedelta(days=LOCK_DAYS - 1) < left <= timedelta(days=LOCK_DAYS)


class TestSettings:
    def test_what_is_wrong_with_them_is_said_plainly(self, s3_bucket: Bucket) -> None:
        good = options(s3_bucket, s3_bucket.admin, attempts=1)
        wrong: dict[str, dict[str, Any]] = {
            "there is no bucket": {"bucket": "no-such-bucket"},
            "mend the name": {"bucket": "not/a/bucket"},
            "does not take these credentials": {"secret_access_key": "guessed"},
            "check region and endpoint_url": {"endpoint_url": "nowhere"},
        }
        for message, change in wrong.items():
            given = {name: getattr(good, name) for name in good.__slots__}
            with pytest.raises(UsageError, match=message) as refused:
                open_s3(S3Options(**(given | change)))
            assert good.secret_access_key not in str(refused.value)
            assert "guessed" not in str(refused.value)

    def test_nobody_there_is_worth_another_try(self, s3_bucket: Bucket) -> None:
        from tests.servers import free_port

        url = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(StoreUnavailable, match="no answer"):
            open_s3(
                options(s3_bucket, s3_bucket.admin, endpoint_url=url, attempts=2),
                pause=lambda _: None,
            )

    def test_secrets_do_not_show(self) -> None:
        shown = repr(
            S3Options(
                bucket="b", access_key_id="id", secret_access_key="hush", session_token="hush"
            )
        )
        assert "hush" not in shown

    def test_nothing_is_taken_from_the_environment(self, s3_bucket: Bucket, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("[profile other]\nregion = eu-west-9\n")
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = other\naws_secret_access_key = other\n"
        )
        script = (
            "import sys; from backup.stores.s3 import S3Options, open_s3\n"
            "bucket, url, key, secret = sys.argv[1:]\n"
            "def of(**more):\n"
            "    return S3Options(bucket=bucket, endpoint_url=url, attempts=1, **more)\n"
            "store = open_s3(of(access_key_id=key, secret_access_key=secret))\n"
            "store.put('a', b'x'); print(store.get('a'))\n"
        )
        env = {
            "PATH": os.environ["PATH"],
            "AWS_PROFILE": "no-such-profile",
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_ACCESS_KEY_ID": "other",
            "AWS_SECRET_ACCESS_KEY": "other",
            "AWS_SESSION_TOKEN": "other",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
        }
        key = s3_bucket.admin
        done = subprocess.run(
            [
                sys.executable, "-c", script,
                s3_bucket.name, s3_bucket.server.url, key.access_key, key.secret_key,
            ],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == "b'x'\n", done.stderr

    def test_a_request_to_another_host_is_not_sent(self) -> None:
        from backup.stores.s3_calls import Calls

        given = S3Options(bucket="vault", access_key_id="id", secret_access_key="secret")
        events = Calls(given, pause=lambda _: None, jitter=lambda: 1.0).client.meta.events
        for url in ("https://vault.s3.amazonaws.com/a", "https://vault.s3.amazonaws.com/b?c"):
            events.emit("before-send.s3.GetObject", request=SimpleNamespace(url=url))
        for url in ("https://vault.s3.eu-west-1.amazonaws.com/a", "http://vault.s3.amazonaws.com/"):
            with pytest.raises(UsageError, match="another host"):
                events.emit("before-send.s3.GetObject", request=SimpleNamespace(url=url))

    def test_boto3_is_loaded_only_where_it_is_used_and_its_absence_names_the_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = (
            "import sys, standfast.operations.repository, backup.stores.s3\n"
            "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"
        monkeypatch.delitem(sys.modules, "backup.stores.s3_calls", raising=False)
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(UsageError, match=r"pip install 'standfast\[s3\]'"):
            open_s3(S3Options(bucket="b", access_key_id="id", secret_access_key="secret"))


def test_of_two_stores_that_race_for_a_name_one_wins(s3_bucket: Bucket) -> None:
    given = options(s3_bucket, s3_bucket.key("writer"))
    stores = [open_s3(given, jitter=lambda: 0.1) for _ in range(2)]

    def put(store: Store, number: int, round_: int) -> bool:
        try:
            store.put(f"w/desk-1/s/{round_:010d}", b"%d" % number)
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for round_ in range(10):
            won = list(pool.map(put, stores, (0, 1), (round_, round_)))
            assert won.count(True) == 1
            name = f"w/desk-1/s/{round_:010d}"
            assert stores[0].get(name) == b"%d" % won.index(True)
            assert stores[0].stat(name).later_versions == 0
