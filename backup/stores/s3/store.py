"""S3 store: creation and reads of objects, their locks, cached listings.

    store = open_s3(S3Options(bucket="vault", access_key_id="…", secret_access_key="…"))

- An object is created by one PUT with `If-None-Match: *` and its SHA-256. So the store refuses a
  second object of the same name, and bytes that were damaged in transit. Multipart uploads are not
  used, because several of them can succeed under one name.
- If the answer to a PUT was lost, the PUT is repeated. If the name exists then, the content of the
  existing object is compared. The same bytes mean success. Other bytes, or bytes that this identity
  may not read, mean `AlreadyThere`; the caller then checks the listing.
- If a store answers that a name exists, but does not list the name, the PUT is repeated.
- AWS respects the condition `If-None-Match`. Not every store with versions does: Ceph 18 accepts
  the PUTs of two writers under one name. So after each PUT into a store that is not AWS, a listing
  shows which version was first. A pack (a container of backup content) needs no such listing. Its
  name is the hash of its bytes, so another writer can only have put the same bytes.
- An object is the first version of its name, and is read by the id of this version; see
  `version_listing`. If somebody added a delete marker, S3 accepts a further put, which adds a later
  version. A later version is reported and never read.
- Objects are locked by the default lock of the bucket. A lock per object is requested only with the
  option `lock_each`. This option needs a right with which a compromised host could lock useless
  objects for years, at the organisation's cost.
- A version never changes, so small objects that were read completely are cached. After each listing
  that contains a cached object, the object is returned once from the cache, because the listing
  shows that it still exists.
- After two names of a folder were looked up, one page of the folder is listed, because more names
  will probably follow.
- The memory in use is one object per thread, one page of a listing, 10,000 cached listing entries,
  and 4 MiB of cached small objects.
"""

import base64
import hashlib
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from backup.errors import AlreadyThere, Damaged, NotFound, UsageError
from backup.stores import Retention, Stat, Store, StoreTraits
from backup.stores.s3 import S3Options
from backup.stores.s3.bucket import open_bucket
from backup.stores.s3.client import (
    CONDITION_FAILED,
    Calls,
    Garbled,
    Taken,
    http_status,
    read_timeout,
)
from backup.stores.s3.upload_body import UploadBody
from backup.stores.s3.version_listing import FirstVersion, first_versions, version_pages
from backup.system.interruptible_wait import result_of
from backup.system.network_shutdown import NETWORK_SHUTDOWN

MAX_OBJECT_BYTES = 64 * 1024 * 1024  # FORMAT.md limits a snapshot to this; a pack has 16 MiB
LONGEST_BODY_SECONDS = 600.0
_PIECE_BYTES = 256 * 1024
_MOST_CACHED_ENTRIES = 10_000
_SMALL_BYTES = 64 * 1024
MOST_CACHED_BYTES = 4 * 1024 * 1024
_LOOKUPS_BEFORE_LISTING = 2  # names looked up in a folder before one page of it is listed
_LOCK_READ_RIGHT = "s3:GetObjectRetention"
_LOCK_WRITE_RIGHT = "with a lock of its own, for which it takes s3:PutObjectRetention"
# A bucket without Object Lock answers with the second code.
_NO_LOCK = {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"}

T = TypeVar("T")


def open_s3(
    options: S3Options,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], None] = NETWORK_SHUTDOWN.pause,
    jitter: Callable[[], float] = random.random,
) -> "S3Store":
    """Open a bucket and return its store.

    Raise `UsageError` if the bucket does not exist, refuses the credentials, or does not lock
    objects although `requires_lock` is true. Raise `StoreUnavailable` if it does not answer.
    """
    calls, traits = open_bucket(options, pause=pause, jitter=jitter)
    return S3Store(options, calls, traits, now)


class S3Store(Store):
    """Objects below a prefix of a bucket: the first version of each name."""

    calls_at_once = 16

    def __init__(
        self, options: S3Options, calls: Calls, traits: StoreTraits, now: Callable[[], datetime]
    ) -> None:
        self._bucket = options.bucket
        self._prefix = options.prefix
        self._lock_each = options.lock_each if traits.lock == options.lock_each else None
        self._calls = calls
        self._client = calls.client
        self._traits = traits
        self._may_ignore_condition = traits.is_versioned and options.endpoint_url is not None
        self._now = now
        self._first: OrderedDict[str, FirstVersion] = OrderedDict()
        self._small: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # by key and version
        self._small_bytes = 0
        # Cached objects that were listed since they were last returned.
        self._listed_again: set[tuple[str, str]] = set()
        self._looked_up: Counter[str] = Counter()  # number of names looked up in each folder
        self._listed: dict[str, Future[None]] = {}  # by folder; done after its page was listed
        self._guard = Lock()

    @property
    def where(self) -> str:
        return f"bucket {self._bucket}" + (f" below {self._prefix}" if self._prefix else "")

    def describe(self) -> StoreTraits:
        return self._traits

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        digest = hashlib.sha256(data)
        request: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": self._prefix + name,
            "IfNoneMatch": "*",
            "ChecksumSHA256": base64.b64encode(digest.digest()).decode(),
        }
        may_be_second = self._may_ignore_condition and not name.endswith(f"/{digest.hexdigest()}")
        action = f"storing {name}"
        if self._lock_each is not None:
            action = f"{action} ({_LOCK_WRITE_RIGHT})"
            request["ObjectLockMode"] = self._lock_each.mode
            until = self._now() + timedelta(days=self._lock_each.days)
            request["ObjectLockRetainUntilDate"] = until
        attempts = 0

        def put() -> None:
            nonlocal attempts
            attempts += 1
            try:
                body = UploadBody(data) if isinstance(data, memoryview) else data
                answer = self._client.put_object(**request, Body=body)
            except ClientError as error:
                if http_status(error) == CONDITION_FAILED and not self._may_exist(name):
                    raise Garbled("it reports a name as taken but does not list it") from error
                raise
            if "ETag" not in answer:
                raise Garbled
            if may_be_second and not self._is_first(name, answer.get("VersionId")):
                raise Taken

        try:
            self._calls(action, put, is_conditional=True)
        except Taken:
            # At the first attempt, somebody else has put the existing object. At a later attempt,
            # it may be from this call, because the answer to an earlier attempt was lost.
            if attempts == 1 or not self._has_content(name, data):
                raise AlreadyThere(f"{name} already exists; nothing was changed") from None

    def _is_first(self, name: str, version_id: str | None) -> bool:
        try:
            return self._find(name).version_id == version_id
        except NotFound:
            raise Garbled("it does not list the stored object") from None
        except UsageError:
            return True  # this identity may not list

    def _may_exist(self, name: str) -> bool:
        try:
            self._look_up(name)
        except NotFound:
            return False
        except UsageError:
            pass  # this identity may not list
        return True

    def _has_content(self, name: str, data: bytes | bytearray | memoryview) -> bool:
        try:
            return self._get_range(name, 0, None) == data
        except (UsageError, Damaged):
            return False

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        first = self._locate(name)
        if length is None:
            if first.size_bytes > MAX_OBJECT_BYTES:
                raise Damaged(
                    f"{name}: {first.size_bytes:,} bytes, more than any stored object; it is not"
                    " read. Find out who put it there"
                )
            length = first.size_bytes
        length = min(length, first.size_bytes - start)
        if length <= 0:
            return b""
        version = first.key, first.version_id
        with self._guard:
            if version in self._listed_again:
                self._listed_again.remove(version)
                return self._small[version][start : start + length]
        data = self._read_range(name, first, start, length, b"".join)
        if length == first.size_bytes <= _SMALL_BYTES and self._traits.is_versioned:
            self._cache_small(version, data)
        return data

    def _read_into(self, name: str, start: int, into: memoryview) -> int:
        first = self._locate(name)
        length = min(len(into), first.size_bytes - start)
        if length <= 0:
            return 0

        def fill(pieces: Iterator[bytes]) -> None:
            at = 0
            for piece in pieces:
                into[at : at + len(piece)] = piece
                at += len(piece)

        self._read_range(name, first, start, length, fill)
        return length

    def _read_range(
        self,
        name: str,
        first: FirstVersion,
        start: int,
        length: int,
        consume: Callable[[Iterator[bytes]], T],
    ) -> T:
        """Read a range and pass its pieces to `consume`.

        After a retry, `consume` is called again, with all pieces from the start.
        """
        try:
            return self._calls(f"reading {name}", lambda: self._read(first, start, length, consume))
        except NotFound:
            with self._guard:
                self._first.pop(name, None)
            raise

    def _read(
        self, first: FirstVersion, start: int, length: int, consume: Callable[[Iterator[bytes]], T]
    ) -> T:
        request = {"Bucket": self._bucket, "Key": first.key, "VersionId": first.version_id}
        if length < first.size_bytes:
            request["Range"] = f"bytes={start}-{start + length - 1}"
        answer = self._client.get_object(**request)
        with closing(answer["Body"]) as body:
            if answer.get("ETag") != first.etag or answer.get("ContentLength") != length:
                raise Garbled
            with read_timeout(LONGEST_BODY_SECONDS, body, f"reading {first.key}"):
                return consume(body.iter_chunks(_PIECE_BYTES))

    def _stat(self, name: str) -> Stat:
        return self._to_stat(self._look_up(name))

    def _list(self, prefix: str) -> Iterator[Stat]:
        for first in first_versions(self._pages(prefix)):
            name = first.key.removeprefix(self._prefix)
            self._cache_first(name, first)
            yield self._to_stat(first)

    def _lock_of(self, name: str) -> Retention | None:
        return self._lock_of_version(name, self._locate(name))

    def _lock_of_version(self, name: str, first: FirstVersion) -> Retention | None:
        if not self._traits.is_versioned:
            return None
        try:
            return self._calls(
                f"looking at the lock of {name} ({_LOCK_READ_RIGHT})",
                lambda: self._retention(first),
            )
        except NotFound:
            with self._guard:
                self._first.pop(name, None)
            raise

    def _retention(self, first: FirstVersion) -> Retention | None:
        # Do not use HEAD: its answer omits the lock if the identity has no right to read it.
        try:
            answer = self._client.get_object_retention(
                Bucket=self._bucket, Key=first.key, VersionId=first.version_id
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_LOCK:
                return None
            raise
        found = answer.get("Retention", {})
        # S3 reports a missing lock as an error. So an answer without a lock is not from S3, and
        # must not be taken for a missing lock.
        if found.get("Mode") not in ("COMPLIANCE", "GOVERNANCE") or "RetainUntilDate" not in found:
            raise Garbled
        return Retention(mode=found["Mode"], until=found["RetainUntilDate"].astimezone(UTC))

    def _locate(self, name: str) -> FirstVersion:
        with self._guard:
            known = self._first.get(name)
            if known is not None:
                return known
            # Drop two components of the name: packs are in subfolders that are named by the start
            # of the pack's hash.
            folder = "/".join(name.split("/")[:-2])
            self._looked_up[folder] += 1
            lists_folder = self._looked_up[folder] == _LOOKUPS_BEFORE_LISTING and bool(folder)
            if lists_folder:
                self._listed[folder] = Future()
            listed = self._listed.get(folder)
        if listed is None:
            return self._look_up(name)
        if lists_folder:
            try:
                self._cache_page(f"{folder}/")
            finally:
                listed.set_result(None)
        # Wait for the listing of another thread, because its page probably contains the name.
        result_of(listed)
        with self._guard:
            known = self._first.get(name)
        return known or self._look_up(name)

    def _cache_page(self, prefix: str) -> None:
        """List one page of a folder and cache its entries."""
        page = next(self._pages(prefix))
        found = [*first_versions([page])]
        # The last name of a truncated page may have earlier versions on the next page.
        for first in found[:-1] if page["IsTruncated"] else found:
            self._cache_first(first.key.removeprefix(self._prefix), first)

    def _look_up(self, name: str) -> FirstVersion:
        first = self._find(name)
        self._cache_first(name, first)
        return first

    def _find(self, name: str) -> FirstVersion:
        # A name is listed before all longer names that start with it.
        first = next(first_versions(self._pages(name)), None)
        if first is None or first.key != self._prefix + name:
            raise NotFound(f"{name} is not in bucket {self._bucket}")
        return first

    def _cache_small(self, version: tuple[str, str], data: bytes) -> None:
        with self._guard:
            if version not in self._small:
                self._small[version] = data
                self._small_bytes += len(data)
            while self._small_bytes > MOST_CACHED_BYTES:
                oldest, dropped = self._small.popitem(last=False)
                self._small_bytes -= len(dropped)
                self._listed_again.discard(oldest)

    def _cache_first(self, name: str, first: FirstVersion) -> None:
        with self._guard:
            version = first.key, first.version_id
            if version in self._small:
                self._listed_again.add(version)
            self._first[name] = first
            self._first.move_to_end(name)
            while len(self._first) > _MOST_CACHED_ENTRIES:
                self._first.popitem(last=False)

    def _pages(self, prefix: str) -> Iterator[dict[str, Any]]:
        action = f"listing {prefix or 'the vault'}"
        return version_pages(self._calls, self._bucket, self._prefix + prefix, action)

    def _to_stat(self, first: FirstVersion) -> Stat:
        return Stat(
            name=first.key.removeprefix(self._prefix),
            size_bytes=first.size_bytes,
            modified=first.modified,
            is_hidden=first.is_hidden,
            later_versions=first.later_versions,
        )
