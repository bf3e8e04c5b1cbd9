"""Bulk changes of SCIM accounts: split by limits, an answer for each.

This module splits the changes by the limits of ServiceProviderConfig, and returns the answer of
each operation. `connector` decides what an answer means for its account.

Rules
- Whether the directory offers Bulk is read once and stored. If it does not offer Bulk, or refuses
  it (400, 404, 405, 413, 501), the accounts are changed one by one, without a further Bulk request.
- An operation that the response does not contain may have happened. It is recorded as a server
  error (500), so that the connector reads the account back to determine the outcome.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping

from standfast.adapters.accounts.scim.client import ScimClient
from standfast.adapters.accounts.scim.messages import BulkOffer, bulk_request, read_bulk
from standfast.errors import Unavailable
from standfast.http_client import Answer, NoAnswer, NotSent
from standfast.time_limit import Deadline

_NOT_SUPPORTED = (400, 404, 405, 413, 501)
_NOT_IN_ANSWER = 500


class ScimBulk:
    """The /Bulk end point of one directory; safe for many threads."""

    def __init__(self, client: ScimClient) -> None:
        self._client = client
        self._guard = threading.Lock()
        self._offer: BulkOffer | None = None
        self._is_asked = False

    def is_offered(self, deadline: Deadline) -> bool:
        """Return whether the directory offers Bulk.

        If the offer cannot be read now, the next call asks again.
        """
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
        """Request the changes, by id; return the answer to each operation.

        An account that the result omits was not changed by a Bulk request; the caller changes it
        individually.
        """
        answers: dict[str, Answer | NotSent | NoAnswer] = {}
        for part in self._parts(wanted):
            try:
                answer = self._client.bulk(part, deadline)
            except (NotSent, NoAnswer) as error:
                answers.update(dict.fromkeys(part, error))
                continue
            if answer.status in _NOT_SUPPORTED:
                with self._guard:
                    self._offer = None
                break
            answers.update(_each(part, answer))
        return answers

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
    """Return the answer to the operation of each account."""
    statuses: Mapping[str, int] = {}
    if answer.is_success:
        # Treat an invalid answer as an answer without operations.
        with contextlib.suppress(Unavailable):
            statuses = read_bulk(answer.body, part)
    missing = _NOT_IN_ANSWER if answer.is_success else answer.status
    return {
        account_id: Answer(
            status=statuses.get(account_id, missing), retry_after_seconds=answer.retry_after_seconds
        )
        for account_id in part
    }
