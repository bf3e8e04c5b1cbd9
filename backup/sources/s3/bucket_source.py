"""S3 bucket source: objects as files; changed or interrupted reads.

- An object is unchanged if its ETag, size and time are unchanged. Its content is not read again.
- Only current versions are stored. An object that is deleted between listing and reading is only
  counted. An object that is replaced between listing and reading is stored in its new form. A read
  never mixes two objects: an interrupted read continues only if the object is still the same.
- Content type, user metadata, ETag and version are stored as extended attributes `user.s3.*`. The
  key is stored too if the path differs from it; see `bucket_listing`.
- An object that this identity may not read, or that is archived, is reported, and the source
  continues. If the bucket stops answering, or 100 pages of its listing contain no new object, the
  source fails.
- An answer without the properties of an object is not from S3, and is not used.
"""

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from backup.errors import BackupError, NotFound, SourceFailed, StoreUnavailable, UsageError
from backup.format.canonical_json import to_path_text
from backup.records import Unread
from backup.sources import Content, Found, Obstacle, OpenSource, Source
from backup.sources.chunk_sizes import choose_chunk_bytes
from backup.sources.s3.bucket_listing import BucketListing, ListedObject, new_listing
from backup.sources.s3.object_attributes import KEY, attributes_of
from backup.sources.synthetic_paths import synthetic_path
from backup.stores.s3 import S3Options
from backup.stores.s3.client import Calls, Garbled, Taken, read_timeout
from backup.system.network_shutdown import NETWORK_SHUTDOWN

T = TypeVar("T")

_ADVICE = "docs/sources.md has the policy that this takes"
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_PIECE_BYTES = 1024 * 1024
LONGEST_PIECE_SECONDS = 600.0
_OBJECT_FIELDS = {"Key", "Size", "ETag", "LastModified"}
_ANSWER_FIELDS = {"Body", "ContentLength", "ETag"}
_MOST_IDLE_PAGES = 100  # a store may return empty pages after many deletions


class S3Source(Source):
    """Objects with keys that start with `prefix`."""

    kind = "s3"

    def __init__(
        self,
        name: str,
        bucket: str,
        prefix: str,
        options: Callable[[], S3Options],
        *,
        pause: Callable[[float], None] = NETWORK_SHUTDOWN.pause,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Create the source; `options` is called when the source is opened."""
        super().__init__(name)
        self.bucket = bucket
        self.prefix = prefix
        self._options = options
        self._pause = pause
        self._jitter = jitter

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        consistent_at = now()
        bucket = self._connect()
        with new_listing(scratch, self.prefix) as listing:
            try:
                dropped = bucket.list_into(listing, self.prefix)
            except sqlite3.Error as error:
                raise SourceFailed(
                    f"source {self.name}: its listing cannot be sorted ({error}). Check that the"
                    " disk of the upload cache has space, then run again."
                ) from error
            yield _OpenS3(self.name, consistent_at, bucket, listing, dropped)

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        del scratch
        try:
            bucket = self._connect()
            for item in bucket.page({"Prefix": self.prefix, "MaxKeys": 1}).get("Contents", ()):
                bucket.get(item["Key"])["Body"].close()
        except NotFound:
            return []  # the object was deleted after the listing
        except BackupError as error:
            return [Obstacle(problem=str(error))]
        return []

    def _connect(self) -> "_Bucket":
        try:
            calls = Calls(self._options(), pause=self._pause, jitter=self._jitter)
        except UsageError as error:
            raise SourceFailed(f"source {self.name}: {error}") from error
        return _Bucket(self.name, self.bucket, calls)


class _Bucket:
    """Calls to a bucket; they raise `SourceFailed` if it does not answer."""

    def __init__(self, source: str, name: str, calls: Calls) -> None:
        self._source = source
        self._name = name
        self._calls = calls

    def list_into(self, listing: BucketListing, prefix: str) -> list[str]:
        """Add all objects to a listing; return the keys that were dropped."""
        dropped = []
        request = {"Prefix": prefix}
        idle_pages = 0
        while True:
            page = self.page(request)
            known = listing.count
            for item in page.get("Contents", ()):
                listed = ListedObject(
                    key=item["Key"],
                    size=item["Size"],
                    etag=item["ETag"],
                    # S3 reports at most milliseconds.
                    modified_ns=round(item["LastModified"].timestamp() * 1000) * 1_000_000,
                    storage=item.get("StorageClass", "STANDARD"),
                )
                if not listing.add(listed):
                    dropped.append(listed.key)
            if not page["IsTruncated"]:
                return dropped + listing.separate_folders()
            # Not every store lists in order, so names do not show whether the listing advances.
            idle_pages = idle_pages + 1 if listing.count == known else 0
            if idle_pages > _MOST_IDLE_PAGES:
                raise SourceFailed(
                    f"source {self._source}: {_MOST_IDLE_PAGES} pages of the listing of bucket"
                    f" {self._name} had nothing new. Check what answers at its endpoint."
                )
            request["ContinuationToken"] = page["NextContinuationToken"]

    def page(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return one page of the listing."""

        def request_page() -> dict[str, Any]:
            page: dict[str, Any] = self._calls.client.list_objects_v2(Bucket=self._name, **request)
            # An answer that is not from S3 must not look like an empty bucket.
            rows = page.get("Contents", ())
            is_whole = page.get("Name") == self._name and "IsTruncated" in page
            if not is_whole or not all(row.keys() >= _OBJECT_FIELDS for row in rows):
                raise Garbled
            if page["IsTruncated"]:
                before, after = request.get("ContinuationToken"), page.get("NextContinuationToken")
                if not after or after == before:
                    raise Garbled
            return page

        return self._call(f"listing bucket {self._name}", request_page)

    def get(self, key: str) -> dict[str, Any]:
        """Return the answer for an object, with its body unread."""
        return self.retry(lambda: self.request_object(key))

    def request_object(self, key: str, **more: str) -> dict[str, Any]:
        """Request an object once; raise the errors of boto3."""
        answer: dict[str, Any] = self._calls.client.get_object(Bucket=self._name, Key=key, **more)
        if answer.keys() >= _ANSWER_FIELDS:
            return answer
        if "Body" in answer:
            answer["Body"].close()
        raise Garbled

    def retry(self, call: Callable[[], T], *, is_conditional: bool = False) -> T:
        """Call a function that reads an object, with retries."""
        return self._call("reading an object", call, is_conditional=is_conditional)

    def _call(self, action: str, call: Callable[[], T], *, is_conditional: bool = False) -> T:
        try:
            return self._calls(action, call, is_conditional=is_conditional)
        except StoreUnavailable as error:
            raise SourceFailed(f"source {self._source}: {error}") from error
        except NotFound:
            raise
        except UsageError as error:
            # Drop the text after the first sentence: it is advice about buckets that store backups.
            problem = str(error).partition(". ")[0]
            raise _AccessDenied(f"source {self._source}: {problem}. {_ADVICE}.") from error


class _AccessDenied(SourceFailed):
    """The bucket refused access to the listing or to one object."""


class _OpenS3(OpenSource):
    def __init__(
        self,
        name: str,
        consistent_at: datetime,
        bucket: _Bucket,
        listing: BucketListing,
        dropped: list[str],
    ) -> None:
        super().__init__(name, consistent_at)
        self._bucket = bucket
        self._listing = listing
        self._lost = dropped
        self._object: ListedObject | None = None  # the object that `scan` yielded last
        self._answer: dict[str, Any] = {}  # the answer to its request

    def _scan(self) -> Iterator[Found | Unread]:
        yield _folder(b"")
        for key in self._lost:
            text = to_path_text(self.name.encode() + b"/" + key.encode())
            yield Unread(path=text, reason="another object's key gives the same path")
        for path, listed in self._listing.paths():
            self._object = listed
            yield _folder(path) if listed is None else _file(path, listed)

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        listed = self._object
        assert listed is not None  # noqa: S101 - a file was given last
        try:
            self._answer = self._bucket.get(listed.key)
        except NotFound:
            raise FileNotFoundError(0, "vanished") from None
        except _AccessDenied as error:
            if listed.storage in _ARCHIVED:
                raise OSError(f"is in {listed.storage}: restore it in S3 first") from error
            raise OSError(str(error)) from error
        body = _Body(self._bucket, listed.key, self._answer)
        try:
            yield body
        finally:
            body.close()

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        if found.kind != "file" or self._object is None:
            return ()
        kept = attributes_of(self._answer)
        if not self._listing.is_unchanged_key(found.path, self._object.key):
            kept[KEY] = self._object.key.encode()
        return tuple(sorted(kept.items()))

    def chunk_bytes(self, found: Found) -> int:
        return choose_chunk_bytes(found.path)


class _Body:
    """Content of an object; continues after a broken connection."""

    holes: tuple[tuple[int, int], ...] = ()

    def __init__(self, bucket: _Bucket, key: str, answer: dict[str, Any]) -> None:
        self._bucket = bucket
        self._key = key
        self._etag: str = answer["ETag"]
        self._body = answer["Body"]
        self._position = 0
        self.size: int = answer["ContentLength"]

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, except at the end; return the number of bytes."""
        filled = 0
        while filled < len(buffer) and self._position < self.size:
            size = len(buffer) - filled
            try:
                piece = self._bucket.retry(partial(self._piece, size), is_conditional=True)
            except (Taken, NotFound, _AccessDenied) as error:
                raise OSError("was replaced or deleted while it was read") from error
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._position += len(piece)
        return filled

    def _piece(self, size: int) -> bytes:
        size = min(size, _PIECE_BYTES, self.size - self._position)
        try:
            if self._body is None:
                self._body = self._rest()
            with read_timeout(LONGEST_PIECE_SECONDS, self._body, "reading a piece of an object"):
                piece: bytes = self._body.read(size)
        except BaseException:
            self.close()
            raise
        if not piece:
            self.close()
            raise Garbled
        return piece

    def _rest(self) -> Any:
        answer = self._bucket.request_object(
            self._key, Range=f"bytes={self._position}-", IfMatch=self._etag
        )
        # Accept only the rest of the same object, so that no other bytes are mixed into it.
        if (answer["ETag"], answer["ContentLength"]) != (self._etag, self.size - self._position):
            answer["Body"].close()
            raise Garbled
        return answer["Body"]

    def changed(self) -> None:
        """Return None, because all bytes are of one version of the object."""

    def close(self) -> None:
        """Close the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None


def _folder(path: bytes) -> Found:
    # No store records the time of a folder. With a constant time, the pages of the backup that list
    # folders do not change from run to run.
    return synthetic_path(path, kind="directory", modified_ns=0, vector=(0,))


def _file(path: bytes, listed: ListedObject) -> Found:
    mark = int.from_bytes(hashlib.sha256(listed.etag.encode()).digest()[:7])
    return synthetic_path(
        path,
        kind="file",
        modified_ns=listed.modified_ns,
        size=listed.size,
        vector=(listed.size, listed.modified_ns, mark),
    )
