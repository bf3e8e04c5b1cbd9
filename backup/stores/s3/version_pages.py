"""Pages of a version listing, each checked before it is used."""

from collections.abc import Iterator
from typing import Any

from backup.stores.s3.client import Calls, Garbled
from backup.stores.s3.version_listing import is_complete_page


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
