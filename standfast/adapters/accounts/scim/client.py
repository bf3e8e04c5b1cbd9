"""Requests to a SCIM directory: find, read and change, alone or in bulk.

`connector` decides what the outcome of a change means.

Rules
- An account is accepted only if the answer contains exactly the requested name or id.
- Many accounts are searched with one filter that joins their names with `or`; an account that is
  not found is searched alone. A directory that refuses such a filter receives a request for each
  name. If a directory ignores filters, the names in its answer are compared, page by page.
- `/Bulk` is used only within the limits of ServiceProviderConfig (RFC 7644 3.7.4).
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
from standfast.http_client import Answer, HttpClient
from standfast.time_limit import Deadline

LONGEST_FILTER = 1500  # characters; percent-encoded in a URL still far below 8 KB


class ScimClient:
    """Client of one directory; `base_url` is the part before /Users."""

    def __init__(self, http: HttpClient, base_url: str, token: str) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/scim+json, application/json",
        }

    def find(self, name: str, deadline: Deadline) -> ScimAccount | None:
        """Return the account of exactly this name; None if there is none."""
        alike: list[ScimAccount] = []
        for account in self._list(name_filter(name), deadline):
            if account.name == name:
                return account
            # RFC 7643 4.1.1: userName is not case-sensitive.
            if account.name.lower() == name.lower():
                alike.append(account)
        if len(alike) > 1:
            raise Unavailable(
                "the names of several accounts differ from this name only in upper and lower "
                "case. Write the name in its exact case."
            )
        return alike[0] if alike else None

    def read(self, account_id: str, deadline: Deadline) -> ScimAccount | None:
        """Return the account of this id; None if there is none."""
        answer = self._get(account_path(account_id), deadline)
        if answer.status == 404:
            return None
        account = read_account(answer.body)
        if account.id != account_id:
            raise Unavailable("the directory answered for another account")
        return account

    def find_many(self, names: Sequence[str], deadline: Deadline) -> dict[str, ScimAccount]:
        """Return the accounts that a common search finds by their exact names.

        An account that the result lacks may exist nevertheless.
        """
        wanted = frozenset(names)
        return {
            account.name: account
            for account in self._search_together("userName", names, deadline)
            if account.name in wanted
        }

    def read_many(self, ids: Sequence[str], deadline: Deadline) -> dict[str, ScimAccount]:
        """Return the accounts that a common search finds by their ids.

        An account that the result lacks may exist nevertheless.
        """
        wanted = frozenset(ids)
        return {
            account.id: account
            for account in self._search_together("id", ids, deadline)
            if account.id in wanted
        }

    def patch(self, account_id: str, is_active: bool, deadline: Deadline) -> Answer:
        """Request the change of one account."""
        return self._send("PATCH", account_path(account_id), set_active(is_active), deadline)

    def bulk_offer(self, deadline: Deadline) -> BulkOffer | None:
        """Return the limits of /Bulk; None if the directory does not offer it."""
        answer = self._get("/ServiceProviderConfig", deadline)
        return None if answer.status == 404 else read_bulk_offer(answer.body)

    def bulk(self, wanted: Mapping[str, bool], deadline: Deadline) -> Answer:
        """Request the change of many accounts, by id, in one request."""
        return self._send("POST", "/Bulk", bulk_request(wanted), deadline)

    def _search_together(
        self, attribute: str, values: Sequence[str], deadline: Deadline
    ) -> Iterator[ScimAccount]:
        for some in _filters(attribute, sorted(set(values))):
            try:
                yield from self._list(some, deadline)
            except Unavailable as error:
                if error.retry_after_seconds is not None:
                    raise  # the directory is busy: single requests would not help
                return

    def _list(self, filter_text: str, deadline: Deadline) -> Iterator[ScimAccount]:
        params = {"filter": filter_text}
        seen = 0
        while True:
            answer = self._get("/Users", deadline, params)
            if answer.status == 404:
                raise Unavailable("the directory has no /Users at this address. Check the address.")
            page = read_page(answer.body)
            yield from page.accounts
            seen += len(page.accounts)
            if not page.accounts or seen >= page.total:
                return
            params = {**params, "startIndex": str(seen + 1)}

    def _get(
        self, path: str, deadline: Deadline, params: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a GET; return a success or 404, raise `Unavailable` otherwise."""
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
    """Yield filters for the values, each short enough for a URL."""
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
