"""Delivery events of mail providers: `POST /events/sendgrid`.

A delivery event reports whether a mail was delivered, for example that it bounced.

Rules
- Every request without a valid signature gets the same response, 401, whatever the cause, and its
  content is not parsed.
- The response is sent after the commit: SendGrid repeats a message that gets no 2xx.
- A message that cannot be parsed is accepted and logged: a repeat would not help.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from standfast.adapters.senders.sendgrid.delivery_events import (
    LARGEST_BYTES,
    NotGenuine,
    Signed,
    read_events,
    read_headers,
    verify,
)
from standfast.config.sections.senders import SendgridSenderConfig
from standfast.config.value_types import SecretReference
from standfast.console.http.problem_details import Problem, wait_and_try_again
from standfast.console.http.rate_limits import Allowance
from standfast.console.http.request_body import read_body
from standfast.console.http.work_queue import WorkQueue
from standfast.console.webhook_secrets import Keys
from standfast.errors import StandfastError
from standfast.ledger.messages.delivery_reports import DeliveryChanges
from standfast.records import DeliveryEvent
from standfast.usecases.core.installation import Installation

log = logging.getLogger("standfast.serve")

_COME_AGAIN_SECONDS = 30.0


def event_keys(installation: Installation) -> dict[str, SecretReference]:
    """Return the reference of each key that signs events, by sender."""
    return {
        name: settings.event_key
        for name, settings in installation.config.senders.items()
        if isinstance(settings, SendgridSenderConfig) and settings.event_key is not None
    }


@dataclass(kw_only=True)
class DeliveryEvents:
    """The receiver of SendGrid's Event Webhook."""

    installation: Installation
    keys: Keys
    queue: WorkQueue
    # Called with the error of the database, or with None after events were stored.
    note: Callable[[StandfastError | None], None]
    _log_allowance: Allowance = field(default_factory=lambda: Allowance(per_minute=6, burst=6))

    async def take(self, request: Request) -> Response:
        """Accept one message with its events."""
        try:
            signed = read_headers(request.headers, self.installation.clock())
            body = await read_body(request, LARGEST_BYTES)
            self._verify(signed, body)
        except NotGenuine as error:
            raise self._rejection(str(error)) from None
        try:
            batch = read_events(body)
        except (ValueError, RecursionError):
            log.warning("events of SendGrid: a signed message is not a list of events")
            return Response(status_code=HTTPStatus.NO_CONTENT)
        if batch.unread:
            log.warning("events of SendGrid: %d cannot be read", batch.unread)
        if batch.events:
            await self._store(batch.events)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _verify(self, signed: Signed, body: bytes) -> None:
        keys = [
            text
            for name, reference in event_keys(self.installation).items()
            if (text := self.keys.of_sender(name, reference))
        ]
        try:
            verify(signed, body, keys)
        except StandfastError as error:
            log.warning("events of SendGrid: %s", error)
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable; send it again"
            ) from None

    async def _store(self, events: tuple[DeliveryEvent, ...]) -> None:
        def store() -> DeliveryChanges:
            deliveries = self.installation.ledger.deliveries
            return deliveries.store_reports(events, "events:sendgrid", self.installation.clock())

        try:
            changes = await self.queue.do(store)
        except StandfastError as error:
            self.note(error)
            log.warning("events of SendGrid: %s", error)
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable; send it again"
            ) from None
        if changes.changed or changes.settled:
            # Only a write shows that the database can store data again.
            self.note(None)
        if changes.foreign:
            log.info(
                "events of SendGrid: %d are about messages that this installation did not send",
                changes.foreign,
            )

    def _rejection(self, why: str) -> Problem:
        if not self._log_allowance.take("sendgrid"):  # the rate is limited: nobody can fill the log
            log.warning("events of SendGrid: a message was rejected: %s", why)
        return Problem(HTTPStatus.UNAUTHORIZED, headers={"connection": "close"})
