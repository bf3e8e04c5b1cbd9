"""S3 store for the keeper: its clock, longer locks, removal of versions.

- The keeper is the machine that may expire backups.
- The clock is the `Date` header of the store's answers.
- A lock belongs to a version. The keeper locks the first version of a name, which is the object. An
  extended lock keeps its mode. A version without a lock gets the mode of the bucket's default.
- A removal names the first version by its id, so no delete marker is created. If the removal is
  refused, the lock of the version is read to find the reason.
- S3's answers to locking and removing are empty, and a proxy may send empty answers too. So the
  lock, or the absence of the version, is read back.
- The store needs the keeper's identity, with the policy deploy/s3/keeper-policy.json.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from backup.errors import Locked, NotFound, UsageError
from backup.stores.keeper import KeeperStore
from backup.stores.s3 import S3Options
from backup.stores.s3.bucket import open_bucket
from backup.stores.s3.client import Garbled
from backup.stores.s3.store import S3Store
from backup.stores.s3.version_listing import FirstVersion
from backup.system.network_shutdown import NETWORK_SHUTDOWN


def open_s3_keeper(
    options: S3Options,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], None] = NETWORK_SHUTDOWN.pause,
    jitter: Callable[[], float] = random.random,
) -> "S3KeeperStore":
    """Open a bucket for the keeper; raise the errors of `open_s3`."""
    calls, traits = open_bucket(options, pause=pause, jitter=jitter)
    return S3KeeperStore(options, calls, traits, now)


class S3KeeperStore(S3Store, KeeperStore):
    """The objects of a bucket, with extension of locks and removal."""

    def _clock(self) -> datetime:
        def request_date() -> datetime:
            answer = self._client.get_bucket_versioning(Bucket=self._bucket)
            if self._traits.is_versioned and answer.get("Status") != "Enabled":
                raise Garbled
            date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
            if date is None:
                raise Garbled
            return parsedate_to_datetime(date).astimezone(UTC)

        return self._calls("asking the store for the time", request_date)

    def _extend_lock(self, name: str, until: datetime) -> None:
        first = self._locate(name)
        if self._traits.lock is None:
            raise UsageError(f"lock of {name}: bucket {self._bucket} has no default lock. Set one")
        lock = self._lock_of_version(name, first)
        if lock is not None and lock.until >= until:
            return
        mode = self._traits.lock.mode if lock is None else lock.mode
        # S3 stores whole seconds, and a lock must not end earlier than requested.
        until = until.astimezone(UTC).replace(microsecond=0) + timedelta(
            seconds=bool(until.microsecond)
        )
        retention = {"Mode": mode, "RetainUntilDate": until}

        def extend() -> None:
            self._client.put_object_retention(
                Bucket=self._bucket, Key=first.key, VersionId=first.version_id, Retention=retention
            )
            found = self._retention(first)
            if found is None or found.until < until:
                raise Garbled

        self._calls(f"extending the lock of {name}", extend)

    def _remove(self, name: str) -> None:
        first = self._locate(name)

        def remove() -> None:
            self._client.delete_object(
                Bucket=self._bucket, Key=first.key, VersionId=first.version_id
            )
            try:
                still_exists = self._look_up(name).version_id == first.version_id
            except NotFound:
                return
            # In a bucket without versions, every version id is null. So an object that still exists
            # may have been put after the removal.
            if still_exists and self._traits.is_versioned:
                raise Garbled

        try:
            self._calls(f"removing {name}", remove)
        except UsageError as error:
            until = self._lock_end(name, first)
            if until is None:
                raise
            raise Locked(
                f"{name} is locked until {until:%Y-%m-%d %H:%M}Z. Run again after that"
            ) from error
        finally:
            with self._guard:
                self._first.pop(name, None)

    def _lock_end(self, name: str, first: FirstVersion) -> datetime | None:
        lock = self._lock_of_version(name, first)
        return lock.until if lock is not None and lock.until > self._clock() else None
