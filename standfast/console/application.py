"""Web application: paths, answers to triggers, `/health`, admission.

    GET  /health            whether this process works and its ledger answers
    POST /triggers/NAME     a signed message, or a message of Alertmanager
    POST /events/sendgrid   delivery events, if a sender has an `event_key`
    GET  /calendar/ADDRESS  due dates, for subscribers with an address
    GET  /metrics           metrics for Prometheus, if they are configured
    GET  /report            the form for staff, if it is configured
    POST /report
    GET  /console           the console for approvers, if it is configured

A trigger is a configured way to open an incident from outside, such as a webhook.

Rules
- Every unauthenticated sender gets the same response, 401, whatever the cause and whether or not
  the trigger exists. For an unknown trigger, the body is read and rejected as for a webhook, so
  that a sender cannot find out which triggers exist.
- Checks that need neither the body nor the ledger (the database) are made first. Then the body is
  read, and the ledger last.
- The response to a trigger message contains the incident's id, and is sent after the incident is
  committed. All other work follows the response.
- Only unexpected errors return 500, without a reason.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from secrets import token_bytes
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from standfast.console.approval_pages import ApprovalPages
from standfast.console.deadline_calendar_feed import DeadlineCalendarFeed
from standfast.console.delivery_events import DeliveryEvents
from standfast.console.http.bearer_token import has_bearer, is_same, unauthorised
from standfast.console.http.client_address import is_among, peer_of
from standfast.console.http.problem_details import Problem, as_response, wait_and_try_again
from standfast.console.http.rate_limits import Allowance
from standfast.console.http.request_body import read_body
from standfast.console.http.work_queue import WorkQueue
from standfast.console.metrics_page import MetricsPage
from standfast.console.report_form import ReportForm
from standfast.console.review_pages import ReviewPages
from standfast.console.sign_in.passkey_pages import PasskeyPages
from standfast.console.sign_in.sign_in_pages import SignInPages
from standfast.console.webhook_secrets import Keys
from standfast.errors import StandfastError, UsageError
from standfast.plurals import counted
from standfast.records import Json, Mode
from standfast.triggers.alertmanager import read_group
from standfast.triggers.json_payload import LARGEST_BYTES, read_object
from standfast.triggers.standard_webhooks import NotGenuine, read_headers, verify
from standfast.triggers.suricata import Network
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import Opened
from standfast.usecases.triggers.message_intake import (
    AlertTrigger,
    FormTrigger,
    PlaybookNotFound,
    SignedTrigger,
    Trigger,
    obstacles,
    receive,
    record_resolved_alert,
)

log = logging.getLogger("standfast.serve")

HEALTH_SECONDS = 1.0  # maximum age of a cached health result, so that frequent polls cost nothing
_FAILURE_SHOWN_SECONDS = 60.0  # how long `/health` reports a message that could not be stored
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(kw_only=True)
class App:
    """The state that all paths share; `asgi` returns the application."""

    installation: Installation
    triggers: Mapping[str, Trigger]
    trusted: tuple[Network, ...] = ()  # proxies whose headers about the client are trusted
    queue: WorkQueue = field(default_factory=WorkQueue)  # queue for triggers and health
    public_queue: WorkQueue = field(
        default_factory=lambda: WorkQueue(workers=2)
    )  # queue for form, events, feeds
    console_queue: WorkQueue = field(default_factory=WorkQueue)
    review_queue: WorkQueue = field(
        default_factory=lambda: WorkQueue(workers=1, most_waiting=2, patience_seconds=55.0)
    )
    metrics_queue: WorkQueue = field(default_factory=lambda: WorkQueue(workers=1, most_waiting=8))
    begin_work: Callable[[str], None] = lambda incident: None  # called with each opened incident
    _keys: Keys = field(init=False)
    _allowed: dict[str, Allowance] = field(default_factory=dict)
    _unknown_secret: bytes = field(default_factory=partial(token_bytes, 32), repr=False)
    _log_allowance: Allowance = field(default_factory=lambda: Allowance(per_minute=6, burst=6))
    _health: tuple[float, bool] = (float("-inf"), False)
    _store_failed_at: float = float("-inf")  # when the ledger last failed to store a message

    def __post_init__(self) -> None:
        self._keys = Keys(resolver=self.installation.resolver)
        for name, trigger in self.triggers.items():
            self._allowed[name] = Allowance(
                per_minute=trigger.per_minute, burst=max(1, trigger.per_minute)
            )

    def warm(self) -> None:
        """Load the triggers' playbooks before the first message needs them."""
        for trigger in self.triggers.values():
            obstacles(self.installation.config, trigger)

    def close(self) -> None:
        """Accept no more work; running work ends by itself."""
        for queue in (
            self.queue,
            self.public_queue,
            self.console_queue,
            self.review_queue,
            self.metrics_queue,
        ):
            queue.close()

    def asgi(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/health", _guard(self.health), methods=["GET"]),
            Route("/triggers/{name}", _guard(self.trigger), methods=["POST"]),
        ]
        form = next(
            (trigger for trigger in self.triggers.values() if isinstance(trigger, FormTrigger)),
            None,
        )
        if form is not None:
            page = ReportForm(
                installation=self.installation,
                trigger=form,
                trusted=self.trusted,
                queue=self.public_queue,
                note=self._note_store_result,
            )
            routes.append(Route("/report", _guard(page.show), methods=["GET"]))
            routes.append(Route("/report", _guard(page.take), methods=["POST"]))
        if any(
            getattr(sender, "event_key", None)
            for sender in self.installation.config.senders.values()
        ):
            events = DeliveryEvents(
                installation=self.installation,
                keys=self._keys,
                queue=self.public_queue,
                note=self._note_store_result,
            )
            routes.append(Route("/events/sendgrid", _guard(events.take), methods=["POST"]))
        feed = DeadlineCalendarFeed(installation=self.installation, queue=self.public_queue)
        routes.append(Route("/calendar/{name}", _guard(feed.show), methods=["GET"]))
        if self.installation.config.serve.metrics_tokens:
            metrics = MetricsPage(
                installation=self.installation, keys=self._keys, queue=self.metrics_queue
            )
            routes.append(Route("/metrics", _guard(metrics.show), methods=["GET"]))
        if self.installation.config.serve.console is not None:
            sign_in_pages = SignInPages(
                installation=self.installation, queue=self.console_queue, trusted=self.trusted
            )
            routes += sign_in_pages.routes(_guard)
            routes += PasskeyPages(
                installation=self.installation, sign_in_pages=sign_in_pages
            ).routes(_guard)
            pages = ApprovalPages(
                installation=self.installation,
                sign_in_pages=sign_in_pages,
                begin_work=self.begin_work,
            )
            routes += pages.routes(_guard)
            review = ReviewPages(pages=pages, queue=self.review_queue)
            routes += review.routes(_guard)
        app = Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: _http_error_response,
                Problem: _problem_response,
                Exception: _unexpected_error_response,
            },
        )
        app.router.redirect_slashes = False  # a path with a further `/` at its end is unknown
        return app

    async def health(self, request: Request) -> Response:
        """Return whether the ledger answers and stored the last message."""
        looked_at, is_well = self._health
        if time.monotonic() - looked_at > HEALTH_SECONDS:
            try:
                await self.queue.do(self.installation.ledger.newest_event)
                is_well = True
            except (StandfastError, Problem):
                is_well = False
            self._health = (time.monotonic(), is_well)
        if not is_well:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the ledger does not respond")
        if time.monotonic() - self._store_failed_at < _FAILURE_SHOWN_SECONDS:
            # On a full disk the ledger can still be read, so the read above succeeds.
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "the ledger cannot store data; see the log"
            )
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def trigger(self, request: Request) -> Response:
        """Accept one trigger message."""
        known = self.triggers.get(str(request.path_params["name"]))
        if isinstance(known, AlertTrigger) and self._is_known(known, request):
            self._refuse_too_often(known)
            body = await read_body(request, LARGEST_BYTES)
            return await self._respond(known, partial(self._receive_alerts, known, body))
        try:
            headers = read_headers(request.headers.items(), self.installation.clock())
            body = await read_body(request, LARGEST_BYTES)
            secrets = self._keys.webhook(known) if isinstance(known, SignedTrigger) else []
            verify(headers, body, secrets or [self._unknown_secret])
        except NotGenuine as error:
            raise self._rejection(known, str(error)) from None
        if not isinstance(known, SignedTrigger):
            raise self._rejection(known, "this trigger accepts no signed messages")
        self._refuse_too_often(known)
        return await self._respond(known, partial(self._receive, known, body, headers.id))

    def _receive(self, trigger: Trigger, body: bytes, message_id: str) -> Opened | None:
        return receive(self.installation, trigger, read_object(body), message_id=message_id)

    def _receive_alerts(self, trigger: Trigger, body: bytes) -> Opened | None:
        group = read_group(read_object(body))
        if group.left_out:
            log.warning(
                "trigger %s: Alertmanager omitted %d alerts of a group; these open no incident. "
                "Set max_alerts of its receiver to 0",
                trigger.name,
                group.left_out,
            )
        if group.is_firing:
            return receive(
                self.installation,
                trigger,
                group.payload,
                message_id=group.message_id,
                key=group.key,
            )
        incident = record_resolved_alert(
            self.installation, trigger, message_id=group.message_id, key=group.key
        )
        return Opened(incident=incident, has_joined=True) if incident else None

    async def _respond(self, trigger: Trigger, work: Callable[[], Opened | None]) -> Response:
        try:
            opened = await self.queue.do(work)
        except (UsageError, ValueError) as error:
            # The sender is authenticated, and the text names locations and inputs but no values.
            log.warning("trigger %s: invalid message: %s", trigger.name, error)
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except StandfastError as error:
            self._note_store_result(error)
            log.warning("trigger %s: %s", trigger.name, error)
            raise wait_and_try_again(
                30,
                HTTPStatus.SERVICE_UNAVAILABLE,
                "no incident can be opened now; send the message again",
            ) from None
        self._note_store_result()
        if opened is None:
            return JSONResponse({"incident": None}, headers=_NO_STORE)
        if not opened.has_joined:
            self.begin_work(opened.incident)
        log.info("trigger %s: %s", trigger.name, opened.incident)
        body: dict[str, Json] = {
            "incident": opened.incident,
            "has_joined": opened.has_joined,
            "mode": trigger.mode.value,
        }
        if opened.is_stopped and trigger.mode is Mode.LIVE:
            log.warning(
                "trigger %s: %s is stopped, so nothing is done about this message; "
                "`standfast incident resume %s` resumes it",
                trigger.name,
                opened.incident,
                opened.incident,
            )
            body["is_stopped"] = True
        if opened.lacking:
            log.warning(
                "trigger %s: %s a value that triggers.%s.inputs reads, and no step acts on such "
                "items; examine them at their source",
                trigger.name,
                counted(
                    opened.lacking,
                    f"item of a message to {opened.incident} lacks",
                    f"items of a message to {opened.incident} lack",
                ),
                trigger.name,
            )
            body["lacking"] = opened.lacking
        return JSONResponse(body, status_code=HTTPStatus.ACCEPTED, headers=_NO_STORE)

    def _note_store_result(self, error: StandfastError | None = None) -> None:
        """Record for `/health` whether the ledger stored the last message."""
        if error is None:
            self._store_failed_at = float("-inf")
        elif not isinstance(error, (PlaybookNotFound, UsageError)):
            self._store_failed_at = time.monotonic()

    def _is_known(self, trigger: AlertTrigger, request: Request) -> bool:
        """Return whether the request has a valid token or client certificate.

        The certificate must have been verified by a trusted proxy.
        """
        if trigger.client_header and is_among(peer_of(request), self.trusted):
            values = request.headers.getlist(trigger.client_header)
            if len(values) == 1 and is_same(values[0], trigger.client):
                return True
        return has_bearer(request, self._keys.bearer(f"trigger {trigger.name}", trigger.tokens))

    def _refuse_too_often(self, trigger: Trigger) -> None:
        seconds = self._allowed[trigger.name].take()
        if seconds:
            raise wait_and_try_again(
                seconds, HTTPStatus.TOO_MANY_REQUESTS, "too many messages in a minute"
            )

    def _rejection(self, trigger: Trigger | None, why: str) -> Problem:
        if isinstance(trigger, AlertTrigger):
            why = "its token is not valid for this trigger"
        # Nobody can fill the log: the rate is limited, and unknown names are not logged.
        if trigger is not None and not self._log_allowance.take(trigger.name):
            log.warning("trigger %s: a message was rejected: %s", trigger.name, why)
        return unauthorised()


def _guard(answer: Answer) -> Answer:
    """Convert every error to a response, so that uvicorn does not log it."""

    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except Problem as problem:
            return as_response(problem)
        except HTTPException:
            raise
        except Exception as error:
            return _unexpected_error_response(request, error)

    return guarded


def _problem_response(request: Request, error: Exception) -> Response:
    return as_response(cast("Problem", error))


def _http_error_response(request: Request, error: Exception) -> Response:
    found = cast("HTTPException", error)
    return as_response(Problem(HTTPStatus(found.status_code), headers=found.headers))


def _unexpected_error_response(request: Request, error: Exception) -> Response:
    # Log only the class: the text of the error may contain input.
    log.warning("unexpected %s in an answer", type(error).__name__)
    return as_response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR))
