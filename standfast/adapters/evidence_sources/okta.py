"""System log of an Okta organisation as evidence.

Rules
- Events are read from the oldest to the newest. The requested time window has an end, so that
  Okta's list ends too.
- The account filter selects events by their actor. A filtered log lacks the changes that others
  made to the account.
"""

import json
from collections.abc import Sequence
from datetime import datetime

from standfast.adapters.clients.okta_api import next_cursor, okta_credential, okta_status_error
from standfast.adapters.evidence_sources.paged_http_source import Log, PagedHttpSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.accounts import OktaConfig
from standfast.config.sections.evidence_sources import OktaEvidenceConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject, timestamp

SCOPE = "okta.logs.read"
_MOST_A_PAGE = "1000"


class OktaEvidence(PagedHttpSource):
    """Evidence source for the system log of one organisation."""

    def __init__(self, name: str, settings: OktaEvidenceConfig, context: SourceContext) -> None:
        directory = context.directory(settings.directory, OktaConfig)
        super().__init__(name, settings, context, directory.url)
        self._accounts = settings.accounts
        self.credential = okta_credential(
            settings.directory, directory, context.reveal, self._http, context.clock, SCOPE
        )

    def _logs(self, since: datetime, until: datetime) -> Sequence[Log]:
        query = {
            "since": timestamp(since),
            "until": timestamp(until),
            "sortOrder": "ASCENDING",
            "limit": _MOST_A_PAGE,
        }
        if self._accounts:
            query["filter"] = " or ".join(
                f"actor.alternateId eq {json.dumps(account)}" for account in self._accounts
            )
        return (Log(name="system-log", path="/api/v1/logs", query=query),)

    def _next_query(self, answer: Answer) -> JsonObject | None:
        events = answer.json()
        if not isinstance(events, list):
            raise ValueError("not a list of events")
        after = next_cursor(answer)
        return {"after": after} if events and after else None

    def _status_error(self, answer: Answer) -> Unavailable:
        return okta_status_error(answer, self._clock)
