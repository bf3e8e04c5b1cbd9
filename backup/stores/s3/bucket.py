"""Opening of a bucket: its versions, default lock and protection.

The default lock is the S3 Object Lock that the bucket applies to each new object. It prevents
deletion until a date.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from backup.errors import UsageError
from backup.stores import ObjectLock, StoreTraits
from backup.stores.s3 import S3Options
from backup.stores.s3.client import Calls
from backup.system.interruptible_wait import result_of

_OPENING_ATTEMPTS = 3
_SETUP = "deploy/s3/README.md says how"


def open_bucket(
    options: S3Options, *, pause: Callable[[float], None], jitter: Callable[[], float]
) -> tuple[Calls, StoreTraits]:
    """Open a bucket; return its client and its protection.

    Raise `UsageError` if a lock is required and the bucket has no default lock.
    """
    calls = Calls(options, pause=pause, jitter=jitter)
    traits = _traits(options, *_protection(calls, options))
    if options.requires_lock and traits.lock is None:
        raise UsageError(
            f"{traits.why}. Give the bucket a default lock ({_SETUP}), or set requires_lock to"
            " false and accept the risk"
        )
    return calls, traits


def _protection(calls: Calls, options: S3Options) -> tuple[bool, bool, ObjectLock | None]:
    """Return whether a bucket has versions and can lock, and its default lock."""
    bucket = options.bucket

    def read_lock_configuration() -> dict[str, Any]:
        try:
            answer = calls.client.get_object_lock_configuration(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ObjectLockConfigurationNotFoundError":
                return {}
            raise
        found: dict[str, Any] = answer.get("ObjectLockConfiguration", {})
        return found

    with ThreadPoolExecutor(1) as pool:
        action = f"looking at the lock of bucket {bucket}"
        lock_future = pool.submit(
            calls, action, read_lock_configuration, max_attempts=_OPENING_ATTEMPTS
        )
        versioning = calls(
            f"looking at the versions of bucket {bucket}",
            lambda: calls.client.get_bucket_versioning(Bucket=bucket),
            max_attempts=_OPENING_ATTEMPTS,
        )
        lock = result_of(lock_future)
    default = lock.get("Rule", {}).get("DefaultRetention", {})
    days = default.get("Days", 0) or 365 * default.get("Years", 0)
    mode = default.get("Mode")
    return (
        versioning.get("Status") == "Enabled",
        lock.get("ObjectLockEnabled") == "Enabled",
        ObjectLock(mode=mode, days=days) if mode in ("COMPLIANCE", "GOVERNANCE") and days else None,
    )


def _traits(
    options: S3Options, is_versioned: bool, can_lock: bool, default: ObjectLock | None
) -> StoreTraits:
    # Without versions, a bucket cannot lock objects.
    lock = _stronger_lock(default, options.lock_each) if is_versioned and can_lock else None
    return StoreTraits(
        is_write_only=lock is not None and lock.mode == "COMPLIANCE",
        why=_protection_text(options.bucket, is_versioned, can_lock, lock),
        is_versioned=is_versioned,
        lock=lock,
    )


def _stronger_lock(default: ObjectLock | None, each: ObjectLock | None) -> ObjectLock | None:
    """Return the stronger of the default lock and the lock per object.

    A lock per object replaces the bucket's default, even if the default is stronger. So it is
    requested only if this function returns it.
    """
    if default is None or each is None:
        return default or each
    is_weaker = default.mode == "COMPLIANCE" != each.mode
    return default if is_weaker or each.days <= default.days else each


def _protection_text(
    bucket: str, is_versioned: bool, can_lock: bool, lock: ObjectLock | None
) -> str:
    if lock is not None and lock.mode == "COMPLIANCE":
        return (
            f"bucket {bucket} protects every object from deletion by anybody for {lock.days} "
            "days (Object Lock, COMPLIANCE)"
        )
    if lock is not None:
        return (
            f"bucket {bucket} locks every object for {lock.days} days in GOVERNANCE mode: "
            "somebody with the bypass right can still delete it"
        )
    if is_versioned and can_lock:
        return f"bucket {bucket} has no default lock: deleting versions deletes backups"
    if is_versioned:
        return f"bucket {bucket} keeps versions without Object Lock: they can be deleted"
    return f"bucket {bucket} has no versions and no lock: a writer can replace and delete"
