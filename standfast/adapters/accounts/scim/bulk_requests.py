"""Changing many SCIM accounts by one request (RFC 7644 3.7), as far as the directory offers it.

It owns splitting by what ServiceProviderConfig allows, and the answer of each operation. What an
answer means for its account is the connector's business (`scim.py`).

Rules
- The offer is read once and kept; a directory that does not offer Bulk, or takes none after all
  (400, 404, 405, 413, 501), gets the accounts one by one, and is not asked for Bulk again.
- An operation that the answer does not mention may have happened: it counts as a broken answer,
  which only reading back settles.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping

from standfast.adapters.accounts.scim.client import ScimClient
from standfast.adapters.accounts.scim.messages import BulkOffer, bulk_request, read_bulk
from standfast.errors import Unavailable
from standfast.http_client import Answer, Deadline, NoAnswer, NotSent

_TAKES_NONE = (400, 404, 405, 413, 501)
_NOT_MENTIONED = 500


class ScimBulk:
    """The /Bulk of one directory; safe for many threads."""

    def __init__(self, client: ScimClient) -> None:
        self._client = client
        self._guard = threading.Lock()
        self._offer: BulkOffer | None = None
        self._is_asked = False

    def is_offered(self, deadline: Deadline) -> bool:
        """Tell whether the directory offers Bulk; one that does not say now is asked again."""
        with self._guard:
            if not self._is_asked:
                try:
                    self._offer = self._client.bulk_offer(deadline)
                except Unavailable:
                    return False
                self._is_asked = True
            return self._offer is not None

    def change(
        self, wanted: Mapping[str, bool], deadline: Deadline
    ) -> dict[str, Answer | NotSent | NoAnswer]:
        """Ask for all the changes, id to flag, and give what became of each.

        Who is missing in the answer was not asked for: ask for those one by one.
        """
        became: dict[str, Answer | NotSent | NoAnswer] = {}
        for part in self._parts(wanted):
            try:
                answer = self._client.bulk(part, deadline)
            except (NotSent, NoAnswer) as error:
                became.update(dict.fromkeys(part, error))
                continue
            if answer.status in _TAKES_NONE:
                with self._guard:
                    self._offer = None
                break
            became.update(_each(part, answer))
        return became

    def _parts(self, wanted: Mapping[str, bool]) -> Iterator[Mapping[str, bool]]:
        with self._guard:
            offer = self._offer
        if offer is None:
            return
        part: dict[str, bool] = {}
        for account_id, is_active in wanted.items():
            longer = {**part, account_id: is_active}
            if part and (
                len(longer) > offer.operations or len(bulk_request(longer)) > offer.payload_bytes
            ):
                yield part
                part = {}
            part[account_id] = is_active
        if part:
            yield part


def _each(part: Mapping[str, bool], answer: Answer) -> dict[str, Answer]:
    """Give each account the answer to its own operation."""
    statuses: Mapping[str, int] = {}
    if answer.is_success:
        with contextlib.suppress(Unavailable):  # garbled: as if it mentioned nobody
            statuses = read_bulk(answer.body, part)
    missing = _NOT_MENTIONED if answer.is_success else answer.status
    return {
        account_id: Answer(
            status=statuses.get(account_id, missing),
            retry_after_seconds=answer.retry_after_seconds,
        )
        for account_id in part
    }
