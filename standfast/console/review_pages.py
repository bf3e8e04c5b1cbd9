"""Pages of the console for the review of an incident's sealed logs.

A review searches the logs that were collected and signed as evidence.

    GET  /console/INCIDENT/review             the filters; nothing is read
    POST /console/INCIDENT/review             one page of the selected records, masked
    POST /console/INCIDENT/review/in-clear    the same page unmasked, after a reason and a sign-in

Rules
- Only a person with a role may review. Each page of records that is shown is recorded in the ledger
  (the database) with the name of its reader, as `standfast evidence review --as` does.
- A review has limits of size and time, and its own queue, so that it does not delay other pages for
  long. It needs as much memory as the command.
- Only the command reads encrypted evidence: the private key that opens it is never sent to a
  server.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from standfast.console.approval_pages import ApprovalPages, incident_of
from standfast.console.http.problem_details import Problem
from standfast.console.http.work_queue import WorkQueue
from standfast.console.sign_in.sessions import Session
from standfast.console.sign_in.sign_in_pages import (
    PATH,
    SIGNED_OUT,
    Answer,
    Fields,
    SignInPages,
    page,
)
from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.reports.html_page import MOST_ROWS
from standfast.reports.log_review_page import ConsoleReviewReport, console_review_page
from standfast.reports.report_records import Heading
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.item_opening import person_with_role
from standfast.usecases.evidence.log_review import InClear, ReviewRequest, review_logs
from standfast.usecases.evidence.log_review_limits import ReviewLimits
from standfast.usecases.evidence.log_review_report import review_report
from standfast.usecases.evidence.log_review_selection import read_selection

log = logging.getLogger("standfast.serve")

MOST_MIB = 64
LIMITS = ReviewLimits(size_bytes=MOST_MIB * 1024 * 1024, seconds=45.0)
_FILTERS = ("account", "address", "since", "until", "contains")
_IS_BUSY = "Another review is running. Try again in a minute."


@dataclass(kw_only=True)
class ReviewPages:
    """The pages of reviews; `pages` hides quiet incidents from other readers."""

    pages: ApprovalPages
    queue: WorkQueue

    @property
    def installation(self) -> Installation:
        return self.pages.installation

    @property
    def sign_in_pages(self) -> SignInPages:
        return self.pages.sign_in_pages

    def routes(self, guarded: Callable[[Answer], Answer]) -> list[Route]:
        """Return the routes, each wrapped by `guarded`."""
        path = f"{PATH}/{{incident}}/review"
        masked, in_clear = (partial(self.review, is_in_clear=each) for each in (False, True))
        return [
            Route(path, guarded(self.filters), methods=["GET"]),
            Route(path, guarded(masked), methods=["POST"]),
            Route(f"{path}/in-clear", guarded(in_clear), methods=["POST"]),
        ]

    async def filters(self, request: Request) -> Response:
        """Show the filters, and read nothing."""
        session = await self.sign_in_pages.session(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_path_of(request))
        incident = incident_of(request)
        return page(await self.sign_in_pages.ask(partial(self._empty_page, session, incident, {})))

    async def review(self, request: Request, *, is_in_clear: bool) -> Response:
        """Show one page of the selected records."""
        session, given = await self.sign_in_pages.form(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_path_of(request), SIGNED_OUT)
        incident, problem = incident_of(request), _IS_BUSY
        try:
            work = partial(self._run_review, session, incident, given, is_in_clear=is_in_clear)
            return page(await self.queue.do(work))
        except Problem as refused:
            if refused.status is not HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        except (UsageError, ApprovalRefused) as error:
            problem = str(error)
        except StandfastError as error:
            log.warning("console: %s: %s", incident, error)
            problem = str(error)
        html = await self.sign_in_pages.ask(
            partial(self._empty_page, session, incident, given, problem)
        )
        return page(html, HTTPStatus.CONFLICT)

    def _run_review(
        self, session: Session, incident: str, given: Fields, *, is_in_clear: bool
    ) -> str:
        self.pages.refuse_hidden(session, incident)
        person_with_role(self.installation, session.person)
        reason, number = given.get("reason", "").strip(), _page_number(given)
        if is_in_clear:
            if not reason:
                raise UsageError("review: values in clear need a reason. Write the reason")
            self.pages.sign_in_again(session, given, _purpose(incident))
        request = ReviewRequest(
            selection=read_selection(
                accounts=filter(None, [given.get("account", "").strip()]),
                addresses=filter(None, [given.get("address", "").strip()]),
                since=given.get("since", ""),
                until=given.get("until", ""),
                contains=given.get("contains", ""),
            ),
            limit=MOST_ROWS,
            skip=(number - 1) * MOST_ROWS,
            viewer=session.person,
            limits=LIMITS,
            in_clear=InClear(person=session.person, reason=reason) if is_in_clear else None,
        )
        found = review_logs(self.installation, incident, request)
        pages = {}
        if number > 1:
            pages["Previous page"] = number - 1
        if found.selected > number * MOST_ROWS:
            pages["Next page"] = number + 1
        report = ConsoleReviewReport(
            heading=self._heading(),
            incident=incident,
            filters=_filters(given),
            most_mib=MOST_MIB,
            found=review_report(self.installation, incident, found, skipped=request.skip),
            page=number,
            pages=pages,
            reason=reason if is_in_clear else "",
            challenge=self.sign_in_pages.challenge(_purpose(incident)),
        )
        return console_review_page(report, self.sign_in_pages.reader(session), problem="")

    def _empty_page(self, session: Session, incident: str, given: Fields, problem: str = "") -> str:
        self.pages.refuse_hidden(session, incident)
        obstacle = ""
        try:
            person_with_role(self.installation, session.person)
        except ApprovalRefused as error:
            obstacle = str(error)
        report = ConsoleReviewReport(
            heading=self._heading(),
            incident=incident,
            filters=_filters(given),
            most_mib=MOST_MIB,
            obstacle=obstacle,
        )
        return console_review_page(
            report, self.sign_in_pages.reader(session), problem="" if obstacle else problem
        )

    def _heading(self) -> Heading:
        return Heading(
            organisation=self.installation.config.organisation.name,
            time_zone="UTC",
            written_at=self.installation.clock(),
        )


def _filters(given: Fields) -> Fields:
    return {name: given.get(name, "") for name in _FILTERS}


def _page_number(given: Fields) -> int:
    number = given.get("page") or "1"
    if not (number.isascii() and number.isdecimal() and int(number)):
        raise UsageError("page: not a number from 1 on. Use the buttons of the page")
    return int(number)


def _purpose(incident: str) -> str:
    """Return the purpose of a passkey's challenge for values in clear."""
    return f"review {incident}"


def _path_of(request: Request) -> str:
    return f"{PATH}/{request.path_params['incident']}/review"
