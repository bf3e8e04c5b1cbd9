"""List of all users of a SCIM directory, page by page (RFC 7644 3.4.2.4).

Rules
- A list that is shorter than its reported total is refused, because users would be missing
  unnoticed.
"""

import json
from collections.abc import Mapping
from typing import cast

from standfast.errors import Unavailable
from standfast.http_client import HttpClient, NoAnswer, NotSent
from standfast.time_limit import Deadline

_PAGE = 200
_MOST_PEOPLE = 200_000
_LIST_SECONDS = 300.0


def list_users(name: str, url: str, token: str, http: HttpClient) -> list[Mapping[str, object]]:
    """Return the users as the directory returns them, each once by id.

    `name` is the directory's name in the configuration, `url` the part before `/Users`. Unavailable
    if the directory does not return all users.
    """
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/scim+json, application/json",
    }
    deadline = Deadline(_LIST_SECONDS)
    found: dict[str, Mapping[str, object]] = {}
    start = 1
    while True:
        try:
            answer = http.exchange(
                "GET",
                f"{url}/Users",
                deadline,
                headers=headers,
                params={"startIndex": str(start), "count": str(_PAGE)},
            )
        except (NotSent, NoAnswer) as error:
            raise Unavailable(
                f"directory {name!r}: cannot be read, {error}. Check [accounts.{name}], the server "
                "and the network.",
                retry_after_seconds=error.retry_after_seconds,
            ) from None
        if not answer.is_success:
            raise Unavailable(
                f"directory {name!r}: answered the request for a list with status {answer.status}"
            )
        resources, total = _page(name, answer.body)
        for resource in resources:
            key = resource.get("id")
            if not isinstance(key, str) or not key:
                raise Unavailable(f"directory {name!r}: the list has a user without an id")
            found[key] = resource
        start += len(resources)
        if start > total or not resources:
            break
    if len(found) < total:
        raise Unavailable(f"directory {name!r}: listed {len(found)} of {total} users. Try again.")
    return list(found.values())


def _page(name: str, body: bytes) -> tuple[list[Mapping[str, object]], int]:
    try:
        page = json.loads(body)
        resources, total = page.get("Resources", []), page["totalResults"]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise _not_a_list(name) from None
    is_list = isinstance(resources, list) and all(isinstance(user, dict) for user in resources)
    if not is_list or not isinstance(total, int) or not 0 <= total <= _MOST_PEOPLE:
        raise _not_a_list(name)
    return cast("list[Mapping[str, object]]", resources), total


def _not_a_list(name: str) -> Unavailable:
    return Unavailable(f"directory {name!r}: its answer is not a SCIM list. Check its address.")
