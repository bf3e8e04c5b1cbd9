"""S3 store behind a proxy that injects faults."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backup.checker.verification import verify
from backup.errors import AlreadyThere, StoreUnavailable, UsageError
from backup.format.object_names import pack_name
from backup.stores import ObjectLock
from backup.stores.s3.keeper import S3KeeperStore, open_s3_keeper
from backup.stores.s3.store import S3Store, open_s3
from tests.backup.s3_options import options
from tests.backup.s3_proxy import Fault, Proxy, running_proxy
from tests.backup.site import Site, new_site
from tests.backup.trees import KIB, describe, noise, plain_tree
from tests.servers.seaweedfs import WRITER, Bucket, SeaweedFs

OTHERS = (
    Fault.REDIRECT,
    Fault.CUT_ANSWER,
    Fault.DAMAGED_REQUEST,
    Fault.TRICKLE,
    Fault.FORBIDDEN,
)
PASSING = [fault for fault in Fault if fault not in OTHERS]
ATTEMPTS = 4
PATIENCE_SECONDS = 30


@pytest.fixture
def proxy(s3_bucket: Bucket) -> Iterator[Proxy]:
    with running_proxy(s3_bucket.server.url) as proxy:
        yield proxy


def opened(
    bucket: Bucket,
    proxy: Proxy,
    pause: Callable[[float], None] = lambda _: None,
    attempts: int = ATTEMPTS,
    seconds: float = 1.0,
) -> S3Store:
    return open_s3(
        options(
            bucket,
            bucket.admin,
            endpoint_url=proxy.url,
            read_timeout_seconds=seconds,
            attempts=attempts,
        ),
        pause=pause,
        jitter=lambda: 1.0,
    )


@pytest.fixture
def store(s3_bucket: Bucket, proxy: Proxy) -> S3Store:
    return opened(s3_bucket, proxy)


@pytest.mark.sampled
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
@pytest.mark.parametrize("memory", [bytes, memoryview])
def test_put_is_retried_and_stores_once(
    s3_bucket: Bucket,
    store: S3Store,
    proxy: Proxy,
    memory: Callable[[bytes], bytes | memoryview],
    fault: Fault,
) -> None:
    proxy.will(fault, "PUT", "a/b")
    store.put("a/b", memory(b"content"))
    assert proxy.happened == [fault]
    listed = s3_bucket.client(s3_bucket.admin).list_object_versions(Bucket=s3_bucket.name)
    assert [row["Key"] for row in listed["Versions"]] == ["a/b"]
    assert store.get("a/b") == b"content"


@pytest.mark.parametrize("fault", [Fault.STRANGERS_PAGE, Fault.TORN_XML], ids=lambda one: one.name)
def test_pack_with_a_foreign_acknowledgement_is_sent_again(
    store: S3Store, proxy: Proxy, fault: Fault
) -> None:
    """The name of a pack is its hash, so no other content can have this name."""
    content = noise(10 * KIB)
    name = pack_name(WRITER, hashlib.sha256(content).hexdigest())
    proxy.will(fault, "PUT")
    store.put(name, content)
    assert proxy.happened == [fault]
    assert store.get(name) == content


@pytest.mark.sampled
@pytest.mark.parametrize("fault", [*PASSING, Fault.CUT_ANSWER], ids=lambda fault: fault.name)
@pytest.mark.parametrize("what", ["versions", "versionId="])
def test_read_is_retried_after_a_fault(
    store: S3Store, proxy: Proxy, fault: Fault, what: str
) -> None:
    content = noise(300 * KIB)
    store.put("a/b", content)
    proxy.will(fault, "GET", what)
    assert store.get_range("a/b", 1000, 200_000) == content[1000:201_000]
    assert proxy.happened == [fault]
    proxy.will(fault, "GET", "versions")
    assert [stat.name for stat in store.list("")] == ["a/b"]


def test_full_answer_to_a_range_is_requested_again(
    store: S3Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache without support for ranges returns the whole object."""
    content = noise(300 * KIB)
    store.put("a/b", content)
    real, times = store._client.get_object, 2

    def without_a_range(**request: Any) -> Any:
        nonlocal times
        if times:
            times -= 1
            del request["Range"]
        return real(**request)

    monkeypatch.setattr(store._client, "get_object", without_a_range)
    assert store.get_range("a/b", 1000, 200_000) == content[1000:201_000]
    times = 2
    memory = bytearray(200_000)
    assert store.read_into("a/b", 1000, memoryview(memory)) == len(memory)
    assert memory == content[1000:201_000]


@pytest.mark.parametrize(
    "said",
    [
        *[(status, "SomeTrouble") for status in (408, 409, 412, 429, 500, 502, 503, 504, 529)],
        (400, "BadDigest"),
        (400, "RequestTimeout"),
        (400, "XAmzContentSHA256Mismatch"),
        ValueError("no number"),
    ],
    ids=str,
)
def test_transient_refusal_is_retried(store: S3Store, said: tuple[int, str] | ValueError) -> None:
    asked = 0

    def ask() -> str:
        nonlocal asked
        asked += 1
        if asked == ATTEMPTS:
            return "an answer"
        raise said if isinstance(said, ValueError) else refusal(*said)

    assert store._calls("asking", ask) == "an answer"


@pytest.mark.parametrize("said", [(400, "InvalidRequest"), (403, "AccessDenied"), (501, "NotHere")])
def test_permanent_refusal_is_reported_at_once(store: S3Store, said: tuple[int, str]) -> None:
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        raise refusal(*said)

    with pytest.raises(UsageError, match=said[1]):
        store._calls("asking", ask)
    assert asked == 1


def refusal(status: int, code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


@pytest.mark.sampled
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_permanent_fault_is_one_clear_error(s3_bucket: Bucket, proxy: Proxy, fault: Fault) -> None:
    given = options(s3_bucket, s3_bucket.admin, endpoint_url=proxy.url, attempts=2)
    store = open_s3(replace(given, read_timeout_seconds=0.5), pause=lambda _: None)
    proxy.requests.clear()
    proxy.will(fault, "GET", times=99)
    for call in (lambda: store.stat("a"), lambda: list(store.list("")), lambda: store.get("b")):
        with pytest.raises(StoreUnavailable, match=r"failed: .*[Rr]un again"):
            call()
    assert proxy.count("GET") == 3 * 2


@pytest.mark.parametrize("memory", [bytes, memoryview])
def test_large_put_cut_in_the_middle_is_repeated(
    s3_bucket: Bucket, proxy: Proxy, memory: Callable[[bytes], bytes | memoryview]
) -> None:
    store = opened(s3_bucket, proxy, seconds=60.0)  # a slow answer is no reason to repeat
    content = noise(3_000 * KIB)
    proxy.will(Fault.CUT_REQUEST, "PUT", times=2)
    store.put("a/b", memory(content))
    assert proxy.count("PUT") == 3
    assert store.get("a/b") == content


def test_trickling_answer_is_abandoned(
    s3_bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is within the time-out of a read; all together take 100 s."""
    given = options(s3_bucket, s3_bucket.admin, endpoint_url=proxy.url, read_timeout_seconds=20.0)
    store = open_s3(given, pause=lambda _: None)
    content = noise(40 * KIB)
    store.put("a", content)
    monkeypatch.setattr("backup.stores.s3.store.LONGEST_BODY_SECONDS", 1.0)
    proxy.will(Fault.TRICKLE, "GET", "versionId=")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="1 s"):
        store.get("a")
    assert 1 <= time.monotonic() - begun < PATIENCE_SECONDS
    assert proxy.happened == [Fault.TRICKLE]
    monkeypatch.undo()
    assert store.get("a") == content


class TestKeeperSide:
    @pytest.fixture
    def keeper(self, seaweedfs_server: SeaweedFs) -> Iterator[tuple[S3KeeperStore, Proxy]]:
        bucket = seaweedfs_server.bucket(mode=None)
        with running_proxy(seaweedfs_server.url) as proxy:
            given = options(
                bucket, bucket.admin, endpoint_url=proxy.url, requires_lock=False,
                lock_each=ObjectLock(mode="GOVERNANCE", days=1),
                read_timeout_seconds=1.0, attempts=ATTEMPTS,
            )  # fmt: skip
            yield open_s3_keeper(given, pause=lambda _: None, jitter=lambda: 1.0), proxy

    @pytest.mark.sampled
    @pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
    def test_removal_and_extension_continue_after_a_fault(
        self, keeper: tuple[S3KeeperStore, Proxy], fault: Fault, s3_bucket: Bucket
    ) -> None:
        store, proxy = keeper
        admin = open_s3(
            options(
                Bucket(server=s3_bucket.server, name=store._bucket),
                s3_bucket.admin,
                requires_lock=False,
            )
        )
        for name in ("gone", "kept"):
            admin.put(name, name.encode())
        until = (store.clock() + timedelta(days=3)).replace(microsecond=0)
        proxy.will(fault, "PUT", "retention")
        store.extend_lock("kept", until)
        proxy.will(fault, "GET", "retention")
        assert store.lock_until("kept") == until
        # A lock exists from now on, so only its changed end shows that the next request arrived.
        until += timedelta(days=2)
        proxy.will(fault, "PUT", "retention")
        store.extend_lock("kept", until)
        assert store.lock_until("kept") == until
        proxy.will(fault, "GET", "versioning")
        assert abs(store.clock() - until) < timedelta(days=5, minutes=5)
        proxy.will(fault, "DELETE")
        store.remove("gone")
        assert [stat.name for stat in store.list("")] == ["kept"]
        assert proxy.happened == [fault] * 5


def test_unanswered_put_is_reported(store: S3Store, proxy: Proxy) -> None:
    proxy.will(Fault.RESET, "PUT", times=99)
    with pytest.raises(StoreUnavailable, match="storing a/b failed"):
        store.put("a/b", b"x")
    assert proxy.count("PUT") == ATTEMPTS
    proxy.heal()
    assert list(store.list("")) == []


def test_pauses_double_up_to_a_limit(s3_bucket: Bucket, proxy: Proxy) -> None:
    pauses: list[float] = []
    store = open_s3(
        options(s3_bucket, s3_bucket.admin, endpoint_url=proxy.url, attempts=9),
        pause=pauses.append,
        jitter=lambda: 0.5,
    )
    proxy.will(Fault.UNAVAILABLE, times=99)
    with pytest.raises(StoreUnavailable, match="503 SlowDown"):
        store.stat("a")
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_name_taken_between_retries_is_taken(s3_bucket: Bucket, proxy: Proxy) -> None:
    rival = open_s3(options(s3_bucket, s3_bucket.admin))
    store = opened(s3_bucket, proxy, pause=lambda _: rival.put("a", b"theirs"))
    proxy.will(Fault.RESET, "PUT")
    with pytest.raises(AlreadyThere):
        store.put("a", b"ours")
    assert store.get("a") == b"theirs"


def test_unreadable_stored_object_is_reported_as_present(s3_bucket: Bucket, proxy: Proxy) -> None:
    store = open_s3(
        options(s3_bucket, s3_bucket.key("writer"), endpoint_url=proxy.url), pause=lambda _: None
    )
    name = "w/desk-1/p/ab/" + "ab" * 32
    proxy.will(Fault.LOST_ANSWER, "PUT")
    with pytest.raises(AlreadyThere):
        store.put(name, b"a pack")
    assert store.stat(name).size_bytes == len(b"a pack")
    snapshot = "w/desk-1/s/0000000001"
    proxy.will(Fault.LOST_ANSWER, "PUT")
    store.put(snapshot, b"what a writer may read")
    assert store.get(snapshot) == b"what a writer may read"


def test_status_412_for_existing_name_is_believed(store: S3Store, proxy: Proxy) -> None:
    store.put("a", b"theirs")
    proxy.requests.clear()
    with pytest.raises(AlreadyThere):
        store.put("a", b"ours")
    assert proxy.count("PUT") == 1
    assert store.get("a") == b"theirs"


def test_status_412_for_missing_name_is_no_answer(store: S3Store, proxy: Proxy) -> None:
    proxy.will(Fault.TAKEN, "PUT", times=99)
    with pytest.raises(StoreUnavailable, match="does not list"):
        store.put("a", b"x")
    assert proxy.count("PUT") == ATTEMPTS
    proxy.heal()
    assert list(store.list("")) == []
    store.put("a", b"x")
    assert store.get("a") == b"x"


def test_a_redirect_is_not_followed(s3_bucket: Bucket, store: S3Store, proxy: Proxy) -> None:
    with running_proxy(s3_bucket.server.url) as other:
        proxy.elsewhere = other.url
        for call in (lambda: store.put("a", b"x"), lambda: store.get("a")):
            # boto3 repeats the request at the same host for another region, and then stops.
            proxy.will(Fault.REDIRECT, times=2)
            with pytest.raises(UsageError, match="redirect"):
                call()
        assert other.requests == []


def test_damaged_upload_is_refused_and_repeated(store: S3Store, proxy: Proxy) -> None:
    proxy.will(Fault.DAMAGED_REQUEST, "PUT")
    store.put("a/b", b"content")
    assert proxy.happened == [Fault.DAMAGED_REQUEST]
    assert proxy.count("PUT") == 2
    assert store.get("a/b") == b"content"


def test_put_sends_checksum_and_create_only_condition(store: S3Store, proxy: Proxy) -> None:
    """The store checks the checksum; AWS demands the condition."""
    proxy.headers.clear()
    store.put("a/b", b"content")
    sent, _ = proxy.headers  # the other request asks which version is the first
    digest = hashlib.sha256(b"content").digest()
    assert base64.b64decode(sent["x-amz-checksum-sha256"]) == digest
    assert sent["if-none-match"] == "*"


class TestWholeRun:
    @pytest.fixture
    def site(self, s3_bucket: Bucket, proxy: Proxy, tmp_path: Path) -> Site:
        # One of two parallel calls may meet the faults of both.
        store = opened(s3_bucket, proxy, attempts=3 * ATTEMPTS)
        return new_site(tmp_path / "site", store)

    def test_every_fault_in_turn_does_not_stop_it(
        self, site: Site, proxy: Proxy, tmp_path: Path
    ) -> None:
        source = plain_tree(tmp_path / "source")
        site.back_up(source)
        (source / "more.wav").write_bytes(noise(500 * KIB, 9))
        proxy.requests.clear()
        faults = (*(fault for fault in PASSING if fault is not Fault.TAKEN), Fault.CUT_ANSWER)
        for place, fault in enumerate(faults):
            proxy.will(fault, "GET" if place % 4 else "PUT", after=place // 4)
        # This fault has a meaning for a PUT and none for a read.
        proxy.will(Fault.TAKEN, "PUT")
        proxy.will(Fault.TAKEN, "GET", after=5)
        assert site.back_up(source).complete
        assert verify(site.vault, keys=site.keys, identity=site.identity, read=True).findings == ()
        assert site.restore("latest", tmp_path / "out").problems == ()
        assert describe(tmp_path / "out" / "files") == describe(source)
        assert len(proxy.happened) == len(faults) + 2

    @pytest.mark.sampled
    @pytest.mark.parametrize(
        "fault", [Fault.UNAVAILABLE, Fault.TAKEN], ids=lambda fault: fault.name
    )
    def test_run_with_a_failing_put_completes_next_time(
        self, site: Site, proxy: Proxy, tmp_path: Path, fault: Fault
    ) -> None:
        source = plain_tree(tmp_path / "source")
        first = site.back_up(source)
        before = describe(source)
        failures = []
        for after in range(99):
            (source / "more.wav").write_bytes(noise(300 * KIB, after))
            proxy.will(fault, "PUT", after=after, times=999)
            try:
                result = site.back_up(source)
            except StoreUnavailable as error:
                failures.append(str(error))
            else:
                break
            finally:
                proxy.heal()
        assert len(failures) >= 2
        assert all(text.startswith("storing w/desk-1/") for text in failures)
        assert (result.complete, result.warnings) == (True, ())
        report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
        assert {finding.severity for finding in report.findings} <= {"note"}
        site.restore(first.point, tmp_path / "first")
        site.restore("latest", tmp_path / "out")
        restored = describe(tmp_path / "first" / "files")
        assert restored == before
        assert describe(tmp_path / "out" / "files") == describe(source)
