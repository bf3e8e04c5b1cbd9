"""S3 bucket target: adds versions of objects; removes the added versions.

    target = BucketTarget(options)
    target.refuse_unsafe("calls/")
    added = target.put("calls/1.wav", file, {"ContentType": "audio/wav"}, newest_version="")
    target.remove("calls/1.wav", added[0])    # the previous version is current again

- The bucket must keep versions. So a put or a delete marker overwrites nothing; it is added as the
  current version. If the added version is removed, the previous version is current again, with its
  metadata, tags and locks.
- A bucket with a default lock or MFA Delete is refused, because an added version could not be
  removed.
- If the answer to a put is lost, the put is repeated, and both added versions are returned. They
  are recognized by their content, among the versions that are newer than the newest version that
  the caller knew.
- A delete marker has no content by which it could be recognized. If the answer to `hide`, which
  adds a marker, is lost and a newer marker exists, another program may have added the marker. So it
  is not returned as added.
- An object of more than 64 MiB is sent in parts. The parts of an interrupted upload are not visible
  as an object. A lifecycle rule of the bucket should remove them.
"""

import base64
import hashlib
import os
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.handlers import validate_ascii_metadata

from backup.errors import BackupError, UnsafePath
from backup.stores.s3 import S3Options
from backup.stores.s3.bucket import open_bucket
from backup.stores.s3.client import Garbled, read_timeout
from backup.stores.s3.version_listing import version_pages
from backup.system.network_shutdown import NETWORK_SHUTDOWN

_PIECE_BYTES = 1024 * 1024
_LONGEST_BODY_SECONDS = 3600.0
_PART_BYTES = 64 * 1024**2
_MOST_PARTS = 10_000  # limit of S3


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionRow:
    """One row of a version listing: a version or a delete marker."""

    key: str
    version_id: str
    size: int  # 0 for a delete marker
    is_current: bool
    is_marker: bool


class BucketTarget:
    """A bucket with versions; safe to use from several threads."""

    def __init__(
        self,
        options: S3Options,
        *,
        part_bytes: int = _PART_BYTES,
        pause: Callable[[float], None] = NETWORK_SHUTDOWN.pause,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Open the bucket; `options` must not require a lock."""
        self._bucket = options.bucket
        self._part_bytes = part_bytes
        self._calls, self._traits = open_bucket(options, pause=pause, jitter=jitter)
        self._client = self._calls.client
        # boto3 refuses metadata that is not ASCII, although stores accept it.
        for call in ("PutObject", "CreateMultipartUpload"):
            event = f"before-parameter-build.s3.{call}"
            self._client.meta.events.unregister(event, validate_ascii_metadata)

    def refuse_unsafe(self, prefix: str) -> None:
        """Raise an error if an added version could not be removed.

        The right to remove versions is tested on a key that does not exist.
        """
        if not self._traits.is_versioned:
            raise UnsafePath(
                f"bucket {self._bucket}: it keeps no versions, so present objects would be lost."
                " Enable versioning"
            )
        if self._traits.lock is not None:
            raise UnsafePath(
                f"bucket {self._bucket}: its default lock would prevent an undo. Name a bucket"
                " without a default lock"
            )
        versioning = self._calls(
            f"looking at the versions of bucket {self._bucket}",
            lambda: self._client.get_bucket_versioning(Bucket=self._bucket),
        )
        if versioning.get("MFADelete") == "Enabled":
            raise UnsafePath(
                f"bucket {self._bucket}: MFA Delete would prevent an undo. Disable it, or name"
                " another bucket"
            )
        self.remove(f"{prefix}{uuid.uuid4()}", "null")

    def rows(self, prefix: str) -> Iterator[VersionRow]:
        """Yield all versions and markers below a prefix.

        The versions of one key are in order, newest first, and so are its markers.
        """
        for rows in self._pages(prefix):
            yield from rows

    def put(
        self, key: str, file: Path, headers: Mapping[str, Any], *, newest_version: str
    ) -> list[str]:
        """Add a version with the content of a file; return the added versions.

        `newest_version` is the newest version before the put, or "".
        """
        attempts = 0

        def put() -> str:
            nonlocal attempts
            attempts += 1
            with _opened(file) as body:
                size = os.fstat(body.fileno()).st_size
                send = self._put_parts if size > self._part_bytes else self._put_whole
                return _added(send(key, body, size, headers))

        version = self._calls("storing an object", put)
        if attempts == 1:
            return [version]
        return list({version: None} | dict.fromkeys(self.own_versions(key, file, newest_version)))

    def own_versions(self, key: str, file: Path, newest_version: str) -> list[str]:
        """Return the versions that are newer than a known one and equal a file."""
        size = file.stat(follow_symlinks=False).st_size
        return [
            row.version_id
            for row in self._newer(key, newest_version, is_marker=False)
            if row.size == size and self._has_content(row, file)
        ]

    def hide(self, key: str, *, newest_marker: str) -> list[str]:
        """Add a delete marker; return it in a list.

        The list is empty if an answer was lost and a marker of unknown origin exists.
        """
        attempts = 0

        def hide() -> list[str]:
            nonlocal attempts
            attempts += 1
            if attempts > 1 and self.newer_markers(key, newest_marker):
                return []
            answer: dict[str, Any] = self._client.delete_object(Bucket=self._bucket, Key=key)
            if answer.get("DeleteMarker") is not True:
                raise Garbled
            return [_added(answer)]

        return self._calls("hiding an object", hide)

    def newer_markers(self, key: str, newest_marker: str) -> list[str]:
        """Return the delete markers that are newer than a known marker."""
        return [row.version_id for row in self._newer(key, newest_marker, is_marker=True)]

    def remove(self, key: str, version_id: str) -> None:
        """Remove one added version or marker; the call may be repeated."""
        self._calls(
            "removing an added version",
            lambda: self._client.delete_object(Bucket=self._bucket, Key=key, VersionId=version_id),
        )

    def _pages(self, prefix: str) -> Iterator[list[VersionRow]]:
        action = f"listing bucket {self._bucket}"
        for page in version_pages(self._calls, self._bucket, prefix, action):
            yield [
                VersionRow(
                    key=row["Key"],
                    version_id=row["VersionId"],
                    size=row.get("Size", 0),
                    is_current=row["IsLatest"],
                    is_marker=kind == "DeleteMarkers",
                )
                for kind in ("Versions", "DeleteMarkers")
                for row in page.get(kind, ())
            ]

    def _newer(self, key: str, known: str, *, is_marker: bool) -> Iterator[VersionRow]:
        for rows in self._pages(key):
            for row in rows:
                if row.key != key or row.is_marker is not is_marker:
                    continue
                if row.version_id == known:
                    return
                yield row
            if any(row.key != key for row in rows):
                return  # the key itself is listed before all other keys with this prefix

    def _has_content(self, row: VersionRow, file: Path) -> bool:
        def compare() -> bool:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=row.key, VersionId=row.version_id
            )
            with closing(answer["Body"]) as body, _opened(file) as wanted:
                if answer.get("ContentLength") != row.size:
                    raise Garbled
                with read_timeout(_LONGEST_BODY_SECONDS, body, "reading an object"):
                    for piece in body.iter_chunks(_PIECE_BYTES):
                        if wanted.read(len(piece)) != piece:
                            return False
                return not wanted.read(1)

        return self._calls("reading an object", compare)

    def _put_whole(
        self, key: str, body: BufferedReader, size: int, headers: Mapping[str, Any]
    ) -> dict[str, Any]:
        digest = hashlib.file_digest(body, "sha256").digest()
        body.seek(0)
        answer: dict[str, Any] = self._client.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ContentLength=size,
            ChecksumSHA256=base64.b64encode(digest).decode(),
            **headers,
        )
        return answer

    def _put_parts(
        self, key: str, body: BufferedReader, size: int, headers: Mapping[str, Any]
    ) -> dict[str, Any]:
        upload = {"Bucket": self._bucket, "Key": key}
        begun = self._client.create_multipart_upload(
            **upload, ChecksumAlgorithm="SHA256", **headers
        )
        upload["UploadId"] = begun["UploadId"]
        part_bytes = max(self._part_bytes, -(-size // _MOST_PARTS))
        try:
            parts: list[dict[str, Any]] = []
            while piece := body.read(part_bytes):
                parts.append(self._put_part(upload, len(parts) + 1, piece))
            answer: dict[str, Any] = self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            with suppress(BackupError, ClientError):
                self._client.abort_multipart_upload(**upload)
            raise
        return answer

    def _put_part(self, upload: Mapping[str, str], number: int, piece: bytes) -> dict[str, Any]:
        checksum = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        answer = self._calls(
            "storing a part of an object",
            lambda: self._client.upload_part(
                **upload, PartNumber=number, Body=piece, ChecksumSHA256=checksum
            ),
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}


def _opened(file: Path) -> BufferedReader:
    """Open a restored file, which must not be a link."""
    return open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")  # noqa: PTH123


def _added(answer: Mapping[str, Any]) -> str:
    version: str = answer.get("VersionId", "")
    if not version:
        raise Garbled
    if version == "null":  # a bucket without versions: the put has replaced the object
        raise UnsafePath("the bucket no longer keeps versions. Enable versioning, then retry")
    return version
