"""What mail providers tell of the messages they took on: `POST /events/sendgrid`.

Rules
- Who has not signed it gets one answer, 401, whatever was wrong, and nothing of it is read.
- The answer comes after the commit: SendGrid sends again what was not answered with 2xx.
- A message that we cannot read is taken all the same, and said in the log: again, it would be no
  better.
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
from standfast.console.http.work_queue import Desk
from standfast.console.webhook_secrets import Keys
from standfast.errors import StandfastError
from standfast.ledger.messages.delivery_reports import DeliveryChanges
from standfast.records import DeliveryEvent
from standfast.usecases.core.installation import Installation

log = logging.getLogger("standfast.serve")

_COME_AGAIN_SECONDS = 30.0


def event_keys(installation: Installation) -> dict[str, SecretReference]:
    """Give, by sender, the reference of each key that events are signed with."""
    return {
        name: settings.event_key
        for name, settings in installation.config.senders.items()
        if isinstance(settings, SendgridSenderConfig) and settings.event_key is not None
    }


@dataclass(kw_only=True)
class DeliveryEvents:
    """The end of SendGrid's Event Webhook."""

    installation: Installation
    keys: Keys
    desk: Desk
    note: Callable[[StandfastError | None], None]  # told what the ledger took, or why it did not
    _to_be_said: Allowance = field(default_factory=lambda: Allowance(per_minute=6, burst=6))

    async def take(self, request: Request) -> Response:
        """Take one message with its events."""
        try:
            signed = read_headers(request.headers, self.installation.clock())
            body = await read_body(request, LARGEST_BYTES)
            self._verify(signed, body)
        except NotGenuine as error:
            raise self._turned_away(str(error)) from None
        try:
            told = read_events(body)
        except (ValueError, RecursionError):
            log.warning("events of SendGrid: a signed message is no list of events")
            return Response(status_code=HTTPStatus.NO_CONTENT)
        if told.unread:
            log.warning("events of SendGrid: %d could not be read", told.unread)
        if told.events:
            await self._hear(told.events)
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
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "not now; send it again"
            ) from None

    async def _hear(self, events: tuple[DeliveryEvent, ...]) -> None:
        def hear() -> DeliveryChanges:
            deliveries = self.installation.ledger.deliveries
            return deliveries.hear(events, "events:sendgrid", self.installation.clock())

        try:
            heard = await self.desk.do(hear)
        except StandfastError as error:
            self.note(error)
            log.warning("events of SendGrid: %s", error)
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "not now; send it again"
            ) from None
        if heard.changed or heard.settled:  # else nothing was written, and a full disk can be read
            self.note(None)
        if heard.foreign:
            log.info("events of SendGrid: %d are about mails of others", heard.foreign)

    def _turned_away(self, why: str) -> Problem:
        if not self._to_be_said.take("sendgrid"):  # nobody fills the log from outside
            log.warning("events of SendGrid: a message was turned away: %s", why)
        return Problem(HTTPStatus.UNAUTHORIZED, headers={"connection": "close"})
