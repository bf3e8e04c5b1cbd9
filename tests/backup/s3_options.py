"""Access to a bucket of the SeaweedFS server of the tests."""

from typing import Any

import pytest
from boto3.session import Session

from backup.stores.s3 import S3Options
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
    new_client = Session.client

    def leave_out(params: dict[str, Any], **_: object) -> None:
        params["headers"].pop("If-None-Match", None)

    def client(session: Session, *given: Any, **named: Any) -> Any:
        made = new_client(session, *given, **named)
        made.meta.events.register("before-call.s3.PutObject", leave_out)
        return made

    monkeypatch.setattr(Session, "client", client)
