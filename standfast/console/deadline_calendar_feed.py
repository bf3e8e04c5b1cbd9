"""Calendar feed of due dates: `GET /calendar/ADDRESS.ics`.

The due dates are the legal time limits of notifications about live incidents.

Rules
- The ADDRESS is a random token. Everybody that knows an address can read the calendar. An address
  that was revoked, mistyped or guessed returns 404.
- A calendar that the subscriber already has is not sent again (ETag).
- The log contains no address. Too frequent reads are refused with Retry-After.
- Only a few unknown addresses are looked up each minute, so that guesses do not slow down the
  ledger (the database) while triggers open incidents.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from standfast.console.http.problem_details import Problem, wait_and_try_again
from standfast.console.http.rate_limits import Allowance
from standfast.console.http.work_queue import WorkQueue
from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.calendar_feed import due_feed
from standfast.usecases.deadlines.calendar_subscriptions import is_address, subscriber_of

log = logging.getLogger("standfast.serve")

T = TypeVar("T")

_COME_AGAIN_SECONDS = 60.0
_END = ".ics"


@dataclass(kw_only=True)
class DeadlineCalendarFeed:
    """The calendar of due dates.

    `standfast deadline feed` creates its addresses.
    """

    installation: Installation
    queue: WorkQueue
    _known_allowance: Allowance = field(default_factory=lambda: Allowance(per_minute=12, burst=12))
    _unknown_allowance: Allowance = field(
        default_factory=lambda: Allowance(per_minute=30, burst=30)
    )
    _known: set[str] = field(default_factory=set)  # addresses that were valid at their last read

    async def show(self, request: Request) -> Response:
        """Return the calendar, or 304 if it has not changed."""
        name = str(request.path_params["name"])
        token = name.removesuffix(_END)
        if token == name or not is_address(token):
            raise Problem(HTTPStatus.NOT_FOUND)
        often = (
            self._known_allowance.take(token)
            if token in self._known
            else self._unknown_allowance.take()
        )
        if often:
            raise wait_and_try_again(
                often, HTTPStatus.TOO_MANY_REQUESTS, "the calendar is read too often"
            )
        subscriber = await self._run_in_queue(partial(subscriber_of, self.installation, token))
        if not subscriber:
            self._known.discard(token)
            raise Problem(HTTPStatus.NOT_FOUND)
        self._known.add(token)
        content = (await self._run_in_queue(partial(self._write_calendar, subscriber))).encode()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {
            # The subscriber may store the calendar, but must revalidate it.
            "cache-control": "private, no-cache",
            "etag": tag,
            "x-content-type-options": "nosniff",
        }
        if tag in _tags(request):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, media_type="text/calendar", headers=headers)

    def _write_calendar(self, subscriber: str) -> str:
        return due_feed(self.installation, subscriber)

    async def _run_in_queue(self, work: Callable[[], T]) -> T:
        try:
            return await self.queue.do(work)
        except StandfastError as error:
            log.warning("calendar: %s", error)
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable; try again later"
            ) from None


def _tags(request: Request) -> list[str]:
    """Return the ETags of If-None-Match, weak or not (RFC 9110, 13.1.2)."""
    given = ",".join(request.headers.getlist("if-none-match")).split(",")
    return [tag.strip().removeprefix("W/") for tag in given]
