"""What lies below a prefix of an S3 bucket: each object as one file, its key as the path.

- An object is unchanged when its ETag, size and time are; then it is listed and not fetched.
- Only current versions are taken.  What is deleted between listing and reading vanished; what is
  replaced meanwhile is taken as it is then, since a read is never of two objects: a body that
  breaks off goes on where it stopped only while the object is still the same one.
- Content type, user metadata, ETag and version are kept as extended attributes `user.s3.*`, and the
  key where the path had to differ from it; see `s3_listing`.
- An object that may not be read, or lies in an archive, is named and the others go on; a bucket
  that stops answering fails the source, and so does a listing that goes round in circles.
- An answer without an object's marks is not S3's: it is neither listed nor taken for content.
"""

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backup.errors import BackupError, NotFound, SourceFailed, StoreUnavailable, UsageError
from backup.format.canonical_json import to_path_text
from backup.records import Unread
from backup.sources import Content, Found, Obstacle, OpenSource, Source
from backup.sources.chunk_sizes import chunk_bytes_for
from backup.sources.s3.bucket_listing import Listed, Listing, new_listing
from backup.sources.synthetic_paths import made_up
from backup.stores.s3.store import S3Options
from backup.system.network_shutdown import NETWORK_SHUTDOWN

if TYPE_CHECKING:
    from backup.stores.s3.client import Calls

T = TypeVar("T")

_ADVICE = "docs/sources.md has the policy that this takes"
_ATTRIBUTES = {
    "CacheControl": b"cache-control",
    "ContentDisposition": b"content-disposition",
    "ContentEncoding": b"content-encoding",
    "ContentLanguage": b"content-language",
    "ContentType": b"content-type",
    "ETag": b"etag",
    "VersionId": b"version-id",
}
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_PIECE_BYTES = 1024 * 1024
_LONGEST_PIECE_SECONDS = 600.0
_OF_AN_OBJECT = {"Key", "Size", "ETag", "LastModified"}
_OF_AN_ANSWER = {"Body", "ContentLength", "ETag"}
_MOST_IDLE_PAGES = 100  # a store may give a page or two of nothing, where much was deleted


class S3Source(Source):
    """The objects whose keys begin with `prefix`."""

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
        """`options` says how the bucket is reached; it is called when the source is opened."""
        super().__init__(name)
        self.bucket = bucket
        self.prefix = prefix
        self._options = options
        self._pause = pause
        self._jitter = jitter

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        consistent_at = now()
        bucket = self._reached()
        with new_listing(scratch, self.prefix) as listing:
            try:
                lost = bucket.list_into(listing, self.prefix)
            except sqlite3.Error as error:
                raise SourceFailed(
                    f"source {self.name}: its listing cannot be sorted ({error}); see that the"
                    " send-log's disk has room, then run again"
                ) from error
            yield _OpenS3(self.name, consistent_at, bucket, listing, lost)

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        del scratch
        try:
            bucket = self._reached()
            for item in bucket.page({"Prefix": self.prefix, "MaxKeys": 1}).get("Contents", ()):
                bucket.get(item["Key"])["Body"].close()
        except NotFound:
            return []  # it was deleted just now
        except BackupError as error:
            return [Obstacle(problem=str(error))]
        return []

    def _reached(self) -> "_Bucket":
        from backup.stores.s3.client import Calls

        try:
            calls = Calls(self._options(), pause=self._pause, jitter=self._jitter)
        except UsageError as error:
            raise SourceFailed(f"source {self.name}: {error}") from error
        return _Bucket(self.name, self.bucket, calls)


class _Bucket:
    """Calls to a bucket; SourceFailed where nothing more can be had of it."""

    def __init__(self, source: str, name: str, calls: "Calls") -> None:
        self._source = source
        self._name = name
        self._calls = calls

    def list_into(self, listing: Listing, prefix: str) -> list[str]:
        """List the objects; gives the keys whose path another one has."""
        lost = []
        request = {"Prefix": prefix}
        idle_pages = 0
        while True:
            page = self.page(request)
            known = listing.count
            for item in page.get("Contents", ()):
                one = Listed(
                    key=item["Key"],
                    size=item["Size"],
                    etag=item["ETag"],
                    # S3 tells milliseconds at most.
                    modified_ns=round(item["LastModified"].timestamp() * 1000) * 1_000_000,
                    storage=item.get("StorageClass", "STANDARD"),
                )
                if not listing.add(one):
                    lost.append(one.key)
            if not page["IsTruncated"]:
                return lost + listing.settle()
            # Not every store lists in order, so that names cannot tell whether it moves on.
            idle_pages = idle_pages + 1 if listing.count == known else 0
            if idle_pages > _MOST_IDLE_PAGES:
                raise SourceFailed(
                    f"source {self._source}: the listing of bucket {self._name} goes on and on with"
                    f" nothing new in {_MOST_IDLE_PAGES} pages; see what answers at its endpoint"
                )
            request["ContinuationToken"] = page["NextContinuationToken"]

    def page(self, request: dict[str, Any]) -> dict[str, Any]:
        """One page of the listing."""
        from backup.stores.s3.client import Garbled

        def ask() -> dict[str, Any]:
            page: dict[str, Any] = self._calls.client.list_objects_v2(Bucket=self._name, **request)
            # A stranger's page in place of the answer must not look like an empty bucket.
            rows = page.get("Contents", ())
            is_whole = page.get("Name") == self._name and "IsTruncated" in page
            if not is_whole or not all(row.keys() >= _OF_AN_OBJECT for row in rows):
                raise Garbled
            if page["IsTruncated"]:
                before, after = request.get("ContinuationToken"), page.get("NextContinuationToken")
                if not after or after == before:
                    raise Garbled
            return page

        return self._made(f"listing bucket {self._name}", ask)

    def get(self, key: str) -> dict[str, Any]:
        """An object's answer with its body still to be read."""
        return self.again(lambda: self.ask(key))

    def ask(self, key: str, **more: str) -> dict[str, Any]:
        """One request for an object, with the errors of boto3."""
        from backup.stores.s3.client import Garbled

        answer: dict[str, Any] = self._calls.client.get_object(Bucket=self._name, Key=key, **more)
        if answer.keys() >= _OF_AN_ANSWER:
            return answer
        if "Body" in answer:
            answer["Body"].close()
        raise Garbled

    def again(self, call: Callable[[], T], *, is_conditional: bool = False) -> T:
        """Make a call for an object, again where that may help."""
        return self._made("reading an object", call, is_conditional=is_conditional)

    def _made(self, doing: str, call: Callable[[], T], *, is_conditional: bool = False) -> T:
        try:
            return self._calls(doing, call, is_conditional=is_conditional)
        except StoreUnavailable as error:
            raise SourceFailed(f"source {self._source}: {error}") from error
        except NotFound:
            raise
        except UsageError as error:
            # What comes after the first sentence is advice about a vault.
            what = str(error).partition(". ")[0]
            raise _MayNot(f"source {self._source}: {what}; {_ADVICE}") from error


class _MayNot(SourceFailed):
    """The bucket refused; for one object that is that object's trouble."""


class _OpenS3(OpenSource):
    def __init__(
        self,
        name: str,
        consistent_at: datetime,
        bucket: _Bucket,
        listing: Listing,
        lost: list[str],
    ) -> None:
        super().__init__(name, consistent_at)
        self._bucket = bucket
        self._listing = listing
        self._lost = lost
        self._object: Listed | None = None  # what `scan` gave last
        self._answer: dict[str, Any] = {}  # to the request for it

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
        except _MayNot as error:
            if listed.storage in _ARCHIVED:
                raise OSError(f"lies in {listed.storage}: have S3 restore it first") from error
            raise OSError(str(error)) from error
        body = _Body(self._bucket, listed.key, self._answer)
        try:
            yield body
        finally:
            body.close()

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        if found.kind != "file" or self._object is None:
            return ()
        answer = self._answer
        kept = {
            b"user.s3." + name: str(answer[header]).encode()
            for header, name in _ATTRIBUTES.items()
            if answer.get(header) not in (None, "", "null")
        }
        for name, value in answer.get("Metadata", {}).items():
            kept[b"user.s3.meta." + name.encode()] = value.encode()
        if not self._listing.is_plain(found.path, self._object.key):
            kept[b"user.s3.key"] = self._object.key.encode()
        return tuple(sorted(kept.items()))

    def chunk_bytes(self, found: Found) -> int:
        return chunk_bytes_for(found.path)


class _Body:
    """An object's content; goes on where it stopped when the connection breaks."""

    holes: tuple[tuple[int, int], ...] = ()

    def __init__(self, bucket: _Bucket, key: str, answer: dict[str, Any]) -> None:
        self._bucket = bucket
        self._key = key
        self._etag: str = answer["ETag"]
        self._body = answer["Body"]
        self._given = 0
        self.size: int = answer["ContentLength"]

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; fewer only at the end."""
        from backup.stores.s3.client import Taken

        filled = 0
        while filled < len(buffer) and self._given < self.size:
            most = len(buffer) - filled
            try:
                piece = self._bucket.again(partial(self._piece, most), is_conditional=True)
            except (Taken, NotFound, _MayNot) as error:
                raise OSError("was replaced or deleted while it was read") from error
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._given += len(piece)
        return filled

    def _piece(self, most: int) -> bytes:
        from backup.stores.s3.client import Garbled, within

        most = min(most, _PIECE_BYTES, self.size - self._given)
        try:
            if self._body is None:
                self._body = self._rest()
            with within(_LONGEST_PIECE_SECONDS, self._body, "reading a piece of an object"):
                piece: bytes = self._body.read(most)
        except BaseException:
            self.close()
            raise
        if not piece:
            self.close()
            raise Garbled
        return piece

    def _rest(self) -> Any:
        from backup.stores.s3.client import Garbled

        answer = self._bucket.ask(self._key, Range=f"bytes={self._given}-", IfMatch=self._etag)
        # What is not the rest of this object would be mixed into what was read of it.
        if (answer["ETag"], answer["ContentLength"]) != (self._etag, self.size - self._given):
            answer["Body"].close()
            raise Garbled
        return answer["Body"]

    def changed(self) -> None:
        """Nothing: it was one object from its first byte to its last."""

    def close(self) -> None:
        """Let the connection go."""
        if self._body is not None:
            self._body.close()
            self._body = None


def _folder(path: bytes) -> Found:
    # No store knows when a folder came to be; constant, so that an unchanged page stays unchanged.
    return made_up(path, kind="directory", modified_ns=0, vector=(0,))


def _file(path: bytes, listed: Listed) -> Found:
    mark = int.from_bytes(hashlib.sha256(listed.etag.encode()).digest()[:7])
    return made_up(
        path,
        kind="file",
        modified_ns=listed.modified_ns,
        size=listed.size,
        vector=(listed.size, listed.modified_ns, mark),
    )
