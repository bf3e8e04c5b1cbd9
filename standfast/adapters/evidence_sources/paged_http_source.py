"""Base class of sources that read a provider's log page by page over HTTP.

    FOLDER/SOURCE/TOKEN/files/LOG/000001.json    each page, as the provider sent it

TOKEN is the token of the order, the request to collect. A subclass defines the addresses and the
filters, and finds the mark of the next page.

Rules
- A page is kept unchanged, in a file of its own. It is parsed only to find the next page.
- A busy provider, a lost connection or an expired token does not end the collection. The page is
  requested again, after the pause that the provider states, at most `MOST_TRIES` times.
- If a page cannot be read, the earlier pages are kept as evidence, and the manifest (the signed
  list of collected items) names the missing page with the reason. If no page of any log could be
  read, the collection fails and may be repeated.
- The mark of the next page is the only part of an answer that is used in a request. An answer never
  sets the host.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import TypeAlias
from urllib.parse import urlencode

from standfast.adapters.clients.credentials import Credential, send_authorized
from standfast.adapters.clients.http_status import status_error
from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.sealed_source import (
    Collected,
    SealedSource,
    SourceContext,
)
from standfast.config.sections.evidence_sources import PagedLogConfig
from standfast.errors import Unavailable
from standfast.evidence.collected_file import CollectedFile, unread
from standfast.evidence.item_file import ItemFolder
from standfast.evidence.manifest import Item, Kind
from standfast.http_client import Answer, HttpClient
from standfast.records import JsonObject
from standfast.retry_rules import MOST_TRIES
from standfast.time_limit import Deadline

_Page: TypeAlias = tuple[bytes, JsonObject | None]  # a page, and the query of the next page
_PAGE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Log:
    """One log of a provider, and the query of its first page."""

    name: str  # the name of its folder
    path: str
    query: JsonObject


class PagedHttpSource(SealedSource):
    """Evidence source for the logs of one provider.

    A subclass sets `credential`, or overrides `_send`.
    """

    credential: Credential

    def __init__(
        self, name: str, settings: PagedLogConfig, context: SourceContext, base_url: str
    ) -> None:
        super().__init__(name, context)
        self._settings = settings
        self._base_url = base_url.rstrip("/")
        self._http = HttpClient(workers=1, clock=context.clock)
        self._sleep = context.sleep

    @abstractmethod
    def _logs(self, since: datetime, until: datetime) -> Sequence[Log]:
        """Return the logs, each with the query of its first page."""

    @abstractmethod
    def _next_query(self, answer: Answer) -> JsonObject | None:
        """Return the query parameters of the next page; None after the last.

        Raises ValueError if the answer is not a page.
        """

    def _status_error(self, answer: Answer) -> Unavailable:
        """Return the error of a status; override it for a provider's own statuses."""
        return status_error(answer)

    def _scope(self) -> str:
        deadline = Deadline(_PAGE_SECONDS)
        with closing(self._http):
            for log in self._window():
                self._read(log, log.query, deadline)
        names = ", ".join(log.name for log in self._window())
        return f"read and seal of the last {self._settings.hours} hours: {names}"

    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        deadline = Deadline(self._settings.timeout_seconds)
        logs = self._window()
        errors: list[Unavailable] = []
        with closing(self._http):
            items = tuple(
                item for log in logs for item in self._pages(log, files, deadline, errors)
            )
        if all(item.kind is Kind.UNREAD for item in items):
            raise errors[0]
        return Collected(
            items=items,
            paths=tuple(f"{self._base_url}{log.path}?{urlencode(log.query)}" for log in logs),
        )

    def _window(self) -> Sequence[Log]:
        until = self._clock()
        return self._logs(until - timedelta(hours=self._settings.hours), until)

    def _pages(
        self, log: Log, files: ItemFolder, deadline: Deadline, errors: list[Unavailable]
    ) -> Iterator[Item]:
        """Yield the items of the pages; add the error that ends them to `errors`."""
        query = dict(log.query)
        for number in count(1):
            path = f"/{log.name}/{number:06}.json"
            try:
                body, following = self._read(log, query, deadline)
            except Unavailable as error:
                errors.append(error)
                yield unread(path, f"this page and later ones are missing: {error}")
                return
            with CollectedFile(files, path) as page:
                page.write(body)
                yield page.item()
            if following is None:
                return
            if following.items() <= query.items():
                yield unread(path, "the provider sent the same page again; later ones are missing")
                return
            query |= following

    def _read(self, log: Log, query: JsonObject, deadline: Deadline) -> _Page:
        """Read a page; raise `Unavailable` after the last try."""
        tries = 0
        while True:
            tries += 1
            try:
                return self._ask(log, query, deadline)
            except Unavailable as error:
                pause = error.retry_after_seconds
                if pause is None or tries == MOST_TRIES or pause >= deadline.left_seconds():
                    raise
            self._sleep(pause)

    def _send(self, log: Log, query: JsonObject, within: Deadline) -> Answer:
        """Send one request, with a renewed token if it had expired."""
        return send_authorized(
            self.credential,
            within,
            lambda headers: self._http.exchange(
                "GET",
                self._base_url + log.path,
                within,
                headers={**headers, "Accept": "application/json"},
                params={key: str(value) for key, value in query.items()},
            ),
        )

    def _ask(self, log: Log, query: JsonObject, deadline: Deadline) -> _Page:
        within = Deadline(min(_PAGE_SECONDS, deadline.left_seconds()))
        answer = self._send(log, query, within)
        if not answer.is_success:
            raise self._status_error(answer)
        try:
            return answer.body, self._next_query(answer)
        except (ValueError, RecursionError):
            raise Unavailable(
                "the provider's answer is not a page of its log, or too long. Check its address."
            ) from None
