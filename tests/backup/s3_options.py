"""How the tests reach a bucket of the SeaweedFS that they run."""

from typing import Any

from backup.stores.s3 import S3Options
from tests.servers.seaweedfs import Bucket, Key


def options(bucket: Bucket, key: Key, **more: Any) -> S3Options:
    """Name a bucket as one of its identities; `more` replaces any other option."""
    given = {
        "bucket": bucket.name,
        "endpoint_url": bucket.server.url,
        "access_key_id": key.access_key,
        "secret_access_key": key.secret_key,
    }
    return S3Options(**(given | more))
