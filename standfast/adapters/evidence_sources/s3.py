"""Objects below a prefix of a bucket as evidence: CloudTrail, other logs.

    FOLDER/SOURCE/TOKEN/files/objects/…        each object, under its key below the prefix's folder
                             /objects.jsonl    for each: its path, and its metadata in S3

Rules
- The backup source for buckets lists and reads the objects: it repeats interrupted reads, never
  mixes two states of an object, and makes each key a valid path.
- Objects are selected by the time window of their last change. The listing is made once, at the
  start.
- An object that cannot be read is an item of the manifest (the signed list of collected items) with
  its reason. If the bucket stops answering, one item with the reason represents all remaining
  objects.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup.errors import BackupError
from backup.records import Unread
from backup.sources import Found, OpenSource
from backup.sources.s3.bucket_source import S3Source
from backup.stores.s3 import S3Options
from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.sealed_source import (
    Collected,
    SealedSource,
    SourceContext,
)
from standfast.config.sections.evidence_sources import S3EvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.collected_file import CollectedFile, unread
from standfast.evidence.item_file import ItemFolder
from standfast.evidence.manifest import Item
from standfast.records import JsonObject, canonical, timestamp
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import Deadline

_READ_BYTES = 1024 * 1024
_OBJECTS = "/objects"


class S3Evidence(SealedSource):
    """Evidence source for the objects below one prefix."""

    def __init__(self, name: str, settings: S3EvidenceConfig, context: SourceContext) -> None:
        super().__init__(name, context)
        self._settings = settings
        token = settings.session_token
        options = S3Options(
            bucket=settings.bucket,
            access_key_id=context.reveal(settings.access_key_id),
            secret_access_key=context.reveal(settings.secret_access_key),
            session_token=None if token is None else context.reveal(token),
            region=settings.region,
            endpoint_url=settings.endpoint_url,
            ca_file=settings.ca_file,
        )
        self._source = S3Source(
            "objects", settings.bucket, settings.prefix, lambda: options, pause=context.sleep
        )

    def _scope(self) -> str:
        for obstacle in self._source.obstacles(Path()):
            raise Unavailable(obstacle.problem)
        return f"read and seal {self._address} of the last {self._settings.hours} hours"

    @property
    def _address(self) -> str:
        return f"s3://{self._settings.bucket}/{self._settings.prefix}"

    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        since = self._clock() - timedelta(hours=self._settings.hours)
        walk = _ObjectWalk(
            files=files, since=since, deadline=Deadline(self._settings.timeout_seconds)
        )
        items: list[Item] = []
        with (
            tempfile.TemporaryDirectory(dir=files.path.parent) as scratch,
            CollectedFile(files, f"{_OBJECTS}.jsonl") as listing,
        ):
            try:
                with self._source.opened(Path(scratch), self._clock) as opened:
                    items += walk.read(opened, listing)
            except BackupError as error:
                raise Unavailable(str(error), retry_after_seconds=RETRY_SECONDS) from None
            items.insert(0, listing.item())
        return Collected(items=tuple(items), paths=(self._address,), excluded=walk.excluded)


@dataclass(kw_only=True)
class _ObjectWalk:
    """One pass over the objects; `excluded` counts those before the window."""

    files: ItemFolder
    since: datetime
    deadline: Deadline
    excluded: int = 0

    def read(self, opened: OpenSource, listing: CollectedFile) -> Iterator[Item]:
        """Write the objects of the window, and list them; yield their items."""
        has_any = False
        try:
            for found in opened.scan():
                if isinstance(found, Unread):
                    yield unread(f"{_OBJECTS}/{found.path}", found.reason)
                elif found.kind != "file":
                    continue
                elif _modified(found) < self.since:
                    self.excluded += 1
                elif self.deadline.left_seconds() == 0.0:
                    yield unread(_OBJECTS, "the time limit is over; later objects are missing")
                    return
                else:
                    yield self._object(opened, found, listing)
                    has_any = True
        except BackupError as error:
            if not has_any:
                raise
            yield unread(_OBJECTS, f"later objects are missing: {error}")

    def _object(self, opened: OpenSource, found: Found, listing: CollectedFile) -> Item:
        path = f"{_OBJECTS}/{found.path.decode()}"
        missing = ""
        try:
            with CollectedFile(self.files, path) as file:
                try:
                    with opened.read(found) as content:
                        buffer = memoryview(bytearray(_READ_BYTES))
                        while size := content.readinto(buffer):
                            file.write(bytes(buffer[:size]))
                except OSError as error:
                    missing = error.strerror or str(error)
                item = file.item(missing)
        except OSError as error:  # the path is too long for the disk
            return unread(path, error.strerror or type(error).__name__)
        attributes = {name.decode(): value.decode() for name, value in opened.xattrs(found)}
        line: JsonObject = {
            "path": path,
            "modified": timestamp(_modified(found)),
            "attributes": attributes,
        }
        listing.write(canonical(line) + b"\n")
        return item


def _modified(found: Found) -> datetime:
    return datetime.fromtimestamp(found.modified_ns / 1e9, UTC)
