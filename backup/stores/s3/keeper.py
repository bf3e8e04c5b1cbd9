"""The keeper's side of a store in an S3 bucket.

- The clock is the `Date` of the store's own answers.
- A lock lies on a version: the first one, which the name belongs to.  It keeps its mode; a version
  without one gets the mode of the bucket's default.
- What is removed is that version by its id, never the name: no marker is laid.  A refusal is told
  apart by asking for the lock.
- S3 says nothing when it has locked or removed something, and so does many a stranger in its place:
  what was done is looked at before it is believed.
- It takes the keeper's identity: deploy/s3/keeper-policy.json.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from backup.errors import Locked, NotFound, UsageError
from backup.stores.keeper import KeeperStore
from backup.stores.s3.store import S3Options, S3Store, open_bucket
from backup.stores.s3.version_listing import FirstVersion
from backup.system.network_shutdown import NETWORK_SHUTDOWN


def open_s3_keeper(
    options: S3Options,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], None] = NETWORK_SHUTDOWN.pause,
    jitter: Callable[[], float] = random.random,
) -> "S3KeeperStore":
    """Look at the bucket and give its store for the keeper; errors as those of `open_s3`."""
    calls, traits = open_bucket(options, pause=pause, jitter=jitter)
    return S3KeeperStore(options, calls, traits, now)


class S3KeeperStore(S3Store, KeeperStore):
    """First versions below a prefix of a bucket, their locks, and the way to be rid of them."""

    def _clock(self) -> datetime:
        from backup.stores.s3.client import Garbled

        def ask() -> datetime:
            answer = self._client.get_bucket_versioning(Bucket=self._bucket)
            if self._traits.is_versioned and answer.get("Status") != "Enabled":
                raise Garbled
            date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
            if date is None:
                raise Garbled
            return parsedate_to_datetime(date).astimezone(UTC)

        return self._calls("asking the store for the time", ask)

    def _extend_lock(self, name: str, until: datetime) -> None:
        from backup.stores.s3.client import Garbled

        first = self._locate(name)
        if self._traits.lock is None:
            raise UsageError(
                f"bucket {self._bucket} has no default lock, so that of {name} is not extended"
            )
        lock = self._lock_of_version(name, first)
        if lock is not None and lock.until >= until:
            return
        mode = self._traits.lock.mode if lock is None else lock.mode
        # S3 keeps whole seconds, and a lock ends no earlier than was asked.
        until = until.astimezone(UTC).replace(microsecond=0) + timedelta(
            seconds=bool(until.microsecond)
        )
        retention = {"Mode": mode, "RetainUntilDate": until}

        def extend() -> None:
            self._client.put_object_retention(
                Bucket=self._bucket,
                Key=first.key,
                VersionId=first.version_id,
                Retention=retention,
            )
            found = self._retention(first)
            if found is None or found.until < until:
                raise Garbled

        self._calls(f"extending the lock of {name}", extend)

    def _remove(self, name: str) -> None:
        from backup.stores.s3.client import Garbled

        first = self._locate(name)

        def remove() -> None:
            self._client.delete_object(
                Bucket=self._bucket, Key=first.key, VersionId=first.version_id
            )
            try:
                is_there = self._look_up(name).version_id == first.version_id
            except NotFound:
                return
            # Without versions they are all called null, and what is there may be new.
            if is_there and self._traits.is_versioned:
                raise Garbled

        try:
            self._calls(f"removing {name}", remove)
        except UsageError as error:
            until = self._still_locked(name, first)
            if until is None:
                raise
            raise Locked(
                f"{name} is locked until {until:%Y-%m-%d %H:%M}Z; run again after that"
            ) from error
        finally:
            with self._guard:
                self._first.pop(name, None)

    def _still_locked(self, name: str, first: FirstVersion) -> datetime | None:
        lock = self._lock_of_version(name, first)
        return lock.until if lock is not None and lock.until > self._clock() else None
