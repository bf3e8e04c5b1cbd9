"""Objects of a real bucket as evidence, through a proxy with faults."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.s3 import S3Evidence
from standfast.config.sections.evidence_sources import S3EvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.manifest import Item
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    SealedContract,
    order,
    sealed_folder,
    sealed_manifest,
)
from tests.adapters.settings import settings_of
from tests.backup.s3_proxy import Fault, running_proxy
from tests.servers.seaweedfs import Bucket, SeaweedFs, seaweedfs_server

__all__ = ["seaweedfs_server"]
PREFIX = "AWSLogs/123456789012/CloudTrail/"
TRAIL = gzip.compress(json.dumps({"Records": [{"eventName": "ConsoleLogin"}]}).encode())
BIG = bytes(range(256)) * 4096 * 3
HOSTILE = f"{PREFIX}us-east-1/caf\u00e9 =cmd()/" + "x" * 260  # longer than a file's name may be
CONTENT = {
    f"{PREFIX}eu-west-2/2026/12/01/first.json.gz": TRAIL,
    f"{PREFIX}eu-west-2/2026/12/01/second.json.gz": BIG,
    HOSTILE: b"hostile key",
    "elsewhere/secret": b"of another prefix",
}


@pytest.fixture(scope="module")
def bucket(seaweedfs_server: SeaweedFs) -> Bucket:
    bucket = seaweedfs_server.bucket(can_lock=False)
    client = bucket.client(bucket.admin)
    for key, body in CONTENT.items():
        client.put_object(Bucket=bucket.name, Key=key, Body=body)
    return bucket


def source_of(bucket: Bucket, *, hours_ahead: int = 0, **settings: object) -> S3Evidence:
    values = {
        "bucket": bucket.name,
        "prefix": PREFIX,
        "endpoint_url": bucket.server.url,
        "access_key_id": bucket.admin.access_key,
        "secret_access_key": bucket.admin.secret_key,
    }
    now = datetime.now(UTC) + timedelta(hours=hours_ahead)  # the server's clock dates the objects
    context = replace(CONTEXT, clock=lambda: now, sleep=lambda _: None)
    return S3Evidence("logs", settings_of(S3EvidenceConfig, **{**values, **settings}), context)


def objects(custody: Custody) -> Path:
    return sealed_folder(custody) / "files/objects"


def items_of(custody: Custody) -> dict[str, Item]:
    return {item.path: item for item in sealed_manifest(custody).items}


class TestS3Evidence(SealedContract):
    @pytest.fixture
    def source(self, bucket: Bucket) -> S3Evidence:
        return source_of(bucket)


def test_objects_of_the_prefix_are_unchanged(bucket: Bucket, custody: Custody) -> None:
    source_of(bucket).collect(order(), custody)
    assert (objects(custody) / "eu-west-2/2026/12/01/first.json.gz").read_bytes() == TRAIL
    assert (objects(custody) / "eu-west-2/2026/12/01/second.json.gz").read_bytes() == BIG
    assert not any(b"secret" in bytes(path) for path in objects(custody).rglob("*"))
    listing = (sealed_folder(custody) / "files/objects.jsonl").read_text().splitlines()
    keys = {json.loads(line)["attributes"].get("user.s3.key", "") for line in listing}
    assert len(listing) == 3
    assert HOSTILE in keys
    assert all(json.loads(line)["attributes"]["user.s3.etag"] for line in listing)


def test_older_objects_are_counted_only(bucket: Bucket, custody: Custody) -> None:
    result = source_of(bucket, hours_ahead=3, hours=2).collect(order(), custody)
    assert (result.state, result.facts["excluded"], result.facts["files"]) == (
        EffectState.DONE,
        3,
        1,
    )


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.RESET, Fault.CUT_ANSWER])
def test_interrupted_reads_are_continued(bucket: Bucket, custody: Custody, fault: Fault) -> None:
    with running_proxy(bucket.server.url) as proxy:
        proxy.will(fault, "GET", containing="second.json.gz", times=2)
        result = source_of(bucket, endpoint_url=proxy.url).collect(order(), custody)
    assert (result.facts["unread"], result.facts["incomplete"]) == (0, 0)
    assert (objects(custody) / "eu-west-2/2026/12/01/second.json.gz").read_bytes() == BIG


def test_bucket_that_stops_is_sealed_as_partial(bucket: Bucket, custody: Custody) -> None:
    with running_proxy(bucket.server.url) as proxy:
        proxy.will(Fault.BROKEN, "GET", containing="second.json.gz", times=100)
        result = source_of(bucket, endpoint_url=proxy.url).collect(order(), custody)
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
    assert items_of(custody)["/objects"].reason
    assert (objects(custody) / "eu-west-2/2026/12/01/first.json.gz").read_bytes() == TRAIL


def test_bucket_that_never_answers_is_tried_again(bucket: Bucket, custody: Custody) -> None:
    with running_proxy(bucket.server.url) as proxy:
        proxy.will(Fault.BROKEN, "GET", times=100)
        result = source_of(bucket, endpoint_url=proxy.url).collect(order(), custody)
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds


def test_refused_key_is_named_before(bucket: Bucket) -> None:
    with pytest.raises(Unavailable):
        source_of(bucket, secret_access_key="wrong").describe()
