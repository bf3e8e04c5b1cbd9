"""S3 store: client, version listing and locks.

The store is a bucket with encrypted backups (a vault).

Reading a bucket as a backup source belongs in `sources.s3`. Most modules of this package load
boto3; this file does not.
"""

from dataclasses import dataclass, field
from pathlib import Path

from backup.stores import ObjectLock


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Options:
    """Address and credentials of a bucket; `endpoint_url` None means AWS."""

    bucket: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    prefix: str = ""  # of every object; empty, or ends with a slash
    region: str = "us-east-1"
    endpoint_url: str | None = None
    ca_file: Path | None = None
    requires_lock: bool = True
    lock_each: ObjectLock | None = None  # lock to request per object, if the bucket's is weaker
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0  # for each wait for data
    attempts: int = 8  # of each call
