"""Version listing: checked pages, and the first version of each name.

- The first version of a name is the object; this program puts it with the condition
  `If-None-Match`. A client that omits the condition can add a later version. It can also add a
  delete marker, which hides versions without deleting them. Later versions and delete markers are
  reported, and later versions are never read.
- S3 lists names in order, and the versions of a name from the newest to the oldest. So the last
  listed version of a name was put first. The versions of a name may continue on the next page.
- A name that has only delete markers does not exist.
- Each page of a listing is checked before it is used.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backup.stores.s3.client import Calls, Garbled

_MARKER_FIELDS = {"Key", "IsLatest"}
_VERSION_FIELDS = {"Key", "VersionId", "Size", "ETag", "LastModified"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstVersion:
    """The first version of a name, and what was added to the name later."""

    key: str
    version_id: str
    size_bytes: int
    etag: str
    modified: datetime
    is_hidden: bool
    later_versions: int


@dataclass(kw_only=True, slots=True)
class _Name:
    key: str
    first: Mapping[str, Any] | None = None
    versions: int = 0
    is_hidden: bool = False


def first_versions(pages: Iterable[Mapping[str, Any]]) -> Iterator[FirstVersion]:
    """Yield the first version of each name, in order.

    `pages` are answers of boto3; at most one of them is in memory.
    """
    name: _Name | None = None
    for page in pages:
        for key, row, is_marker in _rows(page):
            if name is None or name.key != key:
                if name is not None:
                    yield from _to_first_version(name)
                name = _Name(key=key)
            if is_marker:
                name.is_hidden |= bool(row["IsLatest"])
            else:
                name.first = row
                name.versions += 1
    if name is not None:
        yield from _to_first_version(name)


def is_complete_page(page: Mapping[str, Any]) -> bool:
    """Return whether every row of a page has the fields that this module uses."""
    return all(row.keys() >= _VERSION_FIELDS for row in page.get("Versions", ())) and all(
        row.keys() >= _MARKER_FIELDS for row in page.get("DeleteMarkers", ())
    )


def _rows(page: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any], bool]]:
    rows = [(str(row["Key"]), row, False) for row in page.get("Versions", ())]
    rows += [(str(row["Key"]), row, True) for row in page.get("DeleteMarkers", ())]
    # boto3 returns versions and markers in two lists. The sort is stable, so the rows of each list
    # keep their order.
    return sorted(rows, key=lambda row: row[0])


def _to_first_version(name: _Name) -> Iterator[FirstVersion]:
    row = name.first
    if row is None:
        return
    yield FirstVersion(
        key=name.key,
        version_id=str(row["VersionId"]),
        size_bytes=int(row["Size"]),
        etag=str(row["ETag"]),
        modified=row["LastModified"].astimezone(UTC),
        is_hidden=name.is_hidden,
        later_versions=name.versions - 1,
    )


def version_pages(calls: Calls, bucket: str, prefix: str, action: str) -> Iterator[dict[str, Any]]:
    """Yield the pages of all versions below a prefix, as boto3 returns them."""
    request = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = calls(action, lambda: _page(calls, request))
        yield page
        if not page["IsTruncated"]:
            return
        request["KeyMarker"] = page["NextKeyMarker"]
        request["VersionIdMarker"] = page["NextVersionIdMarker"]


def _page(calls: Calls, request: dict[str, str]) -> dict[str, Any]:
    page: dict[str, Any] = calls.client.list_object_versions(**request)
    # An answer that is not from S3 must not look like an empty bucket.
    if (
        page.get("Name") != request["Bucket"]
        or "IsTruncated" not in page
        or not is_complete_page(page)
    ):
        raise Garbled
    if page["IsTruncated"]:
        before = (request.get("KeyMarker", ""), request.get("VersionIdMarker"))
        after = (page.get("NextKeyMarker", ""), page.setdefault("NextVersionIdMarker", ""))
        if after[0] < before[0] or after == before:
            raise Garbled
    return page
