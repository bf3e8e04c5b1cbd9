"""Access to a bucket of the SeaweedFS server of the tests."""

from typing import Any

import pytest

from backup.stores.s3 import S3Options
from backup.stores.s3 import client as s3_calls
from tests.servers.seaweedfs import Bucket, Key


def options(bucket: Bucket, key: Key, **more: Any) -> S3Options:
    """Return the options of a bucket for one identity; `more` replaces some."""
    given = {
        "bucket": bucket.name,
        "endpoint_url": bucket.server.url,
        "access_key_id": key.access_key,
        "secret_access_key": key.secret_key,
    }
    return S3Options(**(given | more))


def ignore_the_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make PUTs ignore `If-None-Match`, as some servers do.

    Ceph 18 does this in buckets with versions.
    """
    client_of = s3_calls._client

    def leave_out(params: dict[str, Any], **_: object) -> None:
        del params["headers"]["If-None-Match"]

    def client(given: S3Options) -> Any:
        made = client_of(given)
        made.meta.events.register("before-call.s3.PutObject", leave_out)
        return made

    monkeypatch.setattr(s3_calls, "_client", client)
