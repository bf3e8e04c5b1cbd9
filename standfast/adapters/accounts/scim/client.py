"""The requests that one SCIM directory is asked: look up, read, change, one or many at once.

It owns sending and the reading of answers. What a change's outcome means is the connector's
business (`scim.py`).

Rules
- An account is believed only when the answer carries the very name or id that was asked for.
- Many are looked up by one filter with `or`; whoever is not found by it is looked up alone, and a
  directory that refuses such a filter is asked one by one. So is one that ignores filters: the
  names in its answer are compared, page by page.
- `/Bulk` is asked only within what ServiceProviderConfig offers (RFC 7644 3.7.4).
"""

from collections.abc import Iterator, Mapping, Sequence

from standfast.adapters.accounts.scim.messages import (
    BulkOffer,
    ScimAccount,
    account_path,
    any_filter,
    bulk_request,
    name_filter,
    read_account,
    read_bulk_offer,
    read_page,
    set_active,
)
from standfast.adapters.clients.http_status import status_error
from standfast.errors import Unavailable
from standfast.http_client import Answer, Deadline, HttpClient

LONGEST_FILTER = 1500  # characters; percent-encoded and in an address, still far from 8 KB


class ScimClient:
    """The requests to one directory; `base_url` is what stands before /Users."""

    def __init__(self, http: HttpClient, base_url: str, token: str) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/scim+json, application/json",
        }

    def find(self, name: str, deadline: Deadline) -> ScimAccount | None:
        """Find the account of exactly this name; None when there is none."""
        alike: list[ScimAccount] = []
        for account in self._list(name_filter(name), deadline):
            if account.name == name:
                return account
            # RFC 7643 4.1.1: userName is not case-sensitive.
            if account.name.lower() == name.lower():
                alike.append(account)
        if len(alike) > 1:
            raise Unavailable("several accounts answer to this name; write it exactly")
        return alike[0] if alike else None

    def read(self, account_id: str, deadline: Deadline) -> ScimAccount | None:
        """Read the account of this id; None when there is none."""
        answer = self._get(account_path(account_id), deadline)
        if answer.status == 404:
            return None
        account = read_account(answer.body)
        if account.id != account_id:
            raise Unavailable("the directory answered for another account than asked")
        return account

    def find_many(self, names: Sequence[str], deadline: Deadline) -> dict[str, ScimAccount]:
        """Find what can be found together, by exact name; who is missing may still be there."""
        wanted = frozenset(names)
        return {
            account.name: account
            for account in self._together("userName", names, deadline)
            if account.name in wanted
        }

    def read_many(self, ids: Sequence[str], deadline: Deadline) -> dict[str, ScimAccount]:
        """Read what can be read together, by id; who is missing may still be there."""
        wanted = frozenset(ids)
        return {
            account.id: account
            for account in self._together("id", ids, deadline)
            if account.id in wanted
        }

    def patch(self, account_id: str, is_active: bool, deadline: Deadline) -> Answer:
        """Ask for the change of one account."""
        return self._send("PATCH", account_path(account_id), set_active(is_active), deadline)

    def bulk_offer(self, deadline: Deadline) -> BulkOffer | None:
        """Read what /Bulk may carry; None when the directory does not offer it."""
        answer = self._get("/ServiceProviderConfig", deadline)
        return None if answer.status == 404 else read_bulk_offer(answer.body)

    def bulk(self, wanted: Mapping[str, bool], deadline: Deadline) -> Answer:
        """Ask for the change of many accounts, by id, in one request."""
        return self._send("POST", "/Bulk", bulk_request(wanted), deadline)

    def _together(
        self, attribute: str, values: Sequence[str], deadline: Deadline
    ) -> Iterator[ScimAccount]:
        for some in _filters(attribute, sorted(set(values))):
            try:
                yield from self._list(some, deadline)
            except Unavailable as error:
                if error.retry_after_seconds is not None:
                    raise  # busy or away: asking each alone would only make it worse
                return

    def _list(self, filter_text: str, deadline: Deadline) -> Iterator[ScimAccount]:
        params = {"filter": filter_text}
        seen = 0
        while True:
            answer = self._get("/Users", deadline, params)
            if answer.status == 404:
                raise Unavailable("the directory has no /Users at this address; check it")
            page = read_page(answer.body)
            yield from page.accounts
            seen += len(page.accounts)
            if not page.accounts or seen >= page.total:
                return
            params = {**params, "startIndex": str(seen + 1)}

    def _get(
        self, path: str, deadline: Deadline, params: Mapping[str, str] | None = None
    ) -> Answer:
        """Read; the answer is a success or 404, everything else raises `Unavailable`."""
        answer = self._http.exchange(
            "GET", self._base_url + path, deadline, headers=self._headers, params=params
        )
        if not answer.is_success and answer.status != 404:
            raise status_error(answer)
        return answer

    def _send(self, method: str, path: str, content: bytes, deadline: Deadline) -> Answer:
        return self._http.exchange(
            method,
            self._base_url + path,
            deadline,
            headers={**self._headers, "Content-Type": "application/scim+json"},
            content=content,
        )


def _filters(attribute: str, values: Sequence[str]) -> Iterator[str]:
    """Write filters for any of the values, none of them too long for an address."""
    some: list[str] = []
    length = 0
    for value in values:
        size = len(any_filter(attribute, [value]).encode()) + len(" or ")
        if some and length + size > LONGEST_FILTER:
            yield any_filter(attribute, some)
            some, length = [], 0
        some.append(value)
        length += size
    if some:
        yield any_filter(attribute, some)
