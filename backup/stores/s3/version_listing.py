"""Version listing: the first version of each name, computed without I/O.

- A name belongs to its first version. Later versions and delete markers are counted, and never
  read: a client can omit `If-None-Match`, and a marker hides a version without deleting it.
- S3 lists names in order, and the versions of a name from the newest to the oldest. So the last
  listed version of a name was put first. The versions of a name may continue on the next page.
- A name with markers only does not exist.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_MARKER_FIELDS = {"Key", "IsLatest"}
_VERSION_FIELDS = {"Key", "VersionId", "Size", "ETag", "LastModified"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstVersion:
    """The version to which a name belongs, and what was put over it."""

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
    """Yield each name once, in order, keeping at most one page in memory.

    `pages` are boto3's answers.
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
    """Return whether every row of a page has the fields needed here."""
    return all(row.keys() >= _VERSION_FIELDS for row in page.get("Versions", ())) and all(
        row.keys() >= _MARKER_FIELDS for row in page.get("DeleteMarkers", ())
    )


def _rows(page: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any], bool]]:
    rows = [(str(row["Key"]), row, False) for row in page.get("Versions", ())]
    rows += [(str(row["Key"]), row, True) for row in page.get("DeleteMarkers", ())]
    # boto3 returns the two kinds separately; the sort is stable, so each kind keeps its order.
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
