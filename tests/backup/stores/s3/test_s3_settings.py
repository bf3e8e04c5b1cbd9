"""Settings of the S3 store, its checks of a bucket, and its errors."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup.errors import StoreUnavailable, UsageError
from backup.stores import ObjectLock
from backup.stores.s3 import S3Options
from backup.stores.s3.store import open_s3
from tests.backup.s3_options import options
from tests.servers import free_port
from tests.servers.seaweedfs import LOCK_DAYS, Bucket, SeaweedFs

ROOT = Path(__file__).parents[4]


class TestLocks:
    def test_default_lock_is_described_by_mode_and_days(self, seaweedfs_server: SeaweedFs) -> None:
        told = {}
        for mode in ("COMPLIANCE", "GOVERNANCE"):
            bucket = seaweedfs_server.bucket(mode=mode)
            traits = open_s3(options(bucket, bucket.key("writer"))).describe()
            assert traits.is_versioned
            assert traits.lock is not None
            assert (traits.lock.mode, traits.lock.days) == (mode, LOCK_DAYS)
            told[mode] = (traits.is_write_only, traits.why)
        assert told["COMPLIANCE"][0]
        assert not told["GOVERNANCE"][0]
        assert "by anybody for 30 days" in told["COMPLIANCE"][1]
        assert "bypass right can still delete" in told["GOVERNANCE"][1]

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"mode": None}, "no default lock"),
            ({"can_lock": False}, "without Object Lock"),
            ({"can_lock": False, "is_versioned": False}, "no versions and no lock"),
        ],
    )
    def test_bucket_without_lock_needs_an_exception(
        self, seaweedfs_server: SeaweedFs, given: dict[str, Any], why: str
    ) -> None:
        bucket = seaweedfs_server.bucket(**given)
        with pytest.raises(UsageError, match=rf"{why}.*Give the bucket a default lock") as refused:
            open_s3(options(bucket, bucket.admin))
        assert refused.value.exit_code == 2
        traits = open_s3(options(bucket, bucket.admin, requires_lock=False)).describe()
        assert why in traits.why
        assert (traits.is_write_only, traits.lock) == (False, None)

    def test_each_object_is_locked_when_configured(self, seaweedfs_server: SeaweedFs) -> None:
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

    @pytest.mark.parametrize(
        ("each", "is_kept"),
        [
            (ObjectLock(mode="COMPLIANCE", days=LOCK_DAYS + 10), True),
            (ObjectLock(mode="COMPLIANCE", days=1), False),
            (ObjectLock(mode="GOVERNANCE", days=LOCK_DAYS + 10), False),
        ],
    )
    def test_lock_per_object_never_weakens_the_default(
        self, each: ObjectLock, is_kept: bool, s3_bucket: Bucket
    ) -> None:
        default = ObjectLock(mode="COMPLIANCE", days=LOCK_DAYS)
        holds = each if is_kept else default
        now = datetime.now(UTC)
        store = open_s3(options(s3_bucket, s3_bucket.admin, lock_each=each), now=lambda: now)
        assert store.describe().lock == holds
        store.put("a", b"x")
        head = s3_bucket.client(s3_bucket.admin).head_object(Bucket=s3_bucket.name, Key="a")
        assert head["ObjectLockMode"] == holds.mode
        days = (head["ObjectLockRetainUntilDate"] - now) / timedelta(days=1)
        assert days == pytest.approx(holds.days, abs=0.01)

    def test_missing_lock_right_is_named(self, seaweedfs_server: SeaweedFs) -> None:
        bucket = seaweedfs_server.bucket(mode=None)
        each = ObjectLock(mode="COMPLIANCE", days=1)
        writer = open_s3(options(bucket, bucket.key("writer"), lock_each=each))
        with pytest.raises(UsageError, match=r"it takes s3:PutObjectRetention\) was refused"):
            writer.put("w/desk-1/s/0000000001", b"x")

    def test_bucket_without_locks_gets_no_lock_request(self, seaweedfs_server: SeaweedFs) -> None:
        bucket = seaweedfs_server.bucket(can_lock=False)
        each = ObjectLock(mode="COMPLIANCE", days=1)
        given = options(bucket, bucket.admin, lock_each=each, requires_lock=False)
        store = open_s3(given)
        assert (store.describe().lock, store.describe().is_write_only) == (None, False)
        store.put("a", b"x")
        assert store.get("a") == b"x"

    def test_without_option_the_default_lock_applies(self, s3_bucket: Bucket) -> None:
        writer = open_s3(options(s3_bucket, s3_bucket.key("writer")))
        writer.put("w/desk-1/s/0000000001", b"x")
        head = s3_bucket.client(s3_bucket.admin).head_object(
            Bucket=s3_bucket.name, Key="w/desk-1/s/0000000001"
        )
        assert head["ObjectLockMode"] == "COMPLIANCE"
        left = head["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert timedelta(days=LOCK_DAYS - 1) < left <= timedelta(days=LOCK_DAYS)


class TestSettings:
    def test_invalid_settings_are_named(self, s3_bucket: Bucket) -> None:
        good = options(s3_bucket, s3_bucket.admin, attempts=1)
        wrong: dict[str, dict[str, Any]] = {
            "there is no bucket": {"bucket": "no-such-bucket"},
            "Correct the name": {"bucket": "not/a/bucket"},
            "does not accept these credentials": {"secret_access_key": "guessed"},
            "Check region and endpoint_url": {"endpoint_url": "nowhere"},
        }
        for message, change in wrong.items():
            given = {name: getattr(good, name) for name in good.__slots__}
            with pytest.raises(UsageError, match=message) as refused:
                open_s3(S3Options(**(given | change)))
            assert good.secret_access_key not in str(refused.value)
            assert "guessed" not in str(refused.value)

    def test_unreachable_endpoint_is_worth_a_retry(self, s3_bucket: Bucket) -> None:
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

    def test_environment_is_ignored(self, s3_bucket: Bucket, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("[profile other]\nregion = eu-west-9\n")
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = other\naws_secret_access_key = other\n"
        )
        script = (
            "import sys; from backup.stores.s3 import S3Options\n"
            "from backup.stores.s3.store import open_s3\n"
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
        from backup.stores.s3.client import Calls

        given = S3Options(bucket="vault", access_key_id="id", secret_access_key="secret")
        events = Calls(given, pause=lambda _: None, jitter=lambda: 1.0).client.meta.events
        for url in ("https://vault.s3.amazonaws.com/a", "https://vault.s3.amazonaws.com/b?c"):
            events.emit("before-send.s3.GetObject", request=SimpleNamespace(url=url))
        for url in ("https://vault.s3.eu-west-1.amazonaws.com/a", "http://vault.s3.amazonaws.com/"):
            with pytest.raises(UsageError, match="another host"):
                events.emit("before-send.s3.GetObject", request=SimpleNamespace(url=url))

    def test_boto3_is_imported_only_for_buckets(self) -> None:
        script = (
            "import sys, standfast.usecases.backups.retention\n"
            "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"
