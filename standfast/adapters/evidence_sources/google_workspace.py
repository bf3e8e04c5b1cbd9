"""Activities of a Google Workspace customer as evidence, from its reports.

Rules
- Each application has a log of its own: sign-ins (`login`), changes by administrators (`admin`),
  OAuth tokens (`token`), and others. If accounts are listed, each account has a log of its own for
  each application.
- Google delivers some activities hours late, so a collection soon after such activities lacks them.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from standfast.adapters.clients.google_api import (
    ADMIN_API,
    TOKENS,
    google_credential,
    google_status_error,
)
from standfast.adapters.evidence_sources.paged_http_source import Log, PagedHttpSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.accounts import GoogleWorkspaceConfig
from standfast.config.sections.evidence_sources import GoogleWorkspaceEvidenceConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject, timestamp

SCOPE = "https://www.googleapis.com/auth/admin.reports.audit.readonly"
_MOST_A_PAGE = "1000"


class GoogleWorkspaceEvidence(PagedHttpSource):
    """Evidence source for the activities of one customer."""

    def __init__(
        self,
        name: str,
        settings: GoogleWorkspaceEvidenceConfig,
        context: SourceContext,
        *,
        reports_url: str = ADMIN_API,
        token_url: str = TOKENS,
    ) -> None:
        directory = context.directory(settings.directory, GoogleWorkspaceConfig)
        super().__init__(name, settings, context, f"{reports_url}/admin/reports/v1")
        self._accounts = settings.accounts
        self._applications = settings.applications
        self.credential = google_credential(
            settings.directory,
            directory,
            context.reveal,
            self._http,
            context.clock,
            SCOPE,
            token_url=token_url,
        )

    def _logs(self, since: datetime, until: datetime) -> Sequence[Log]:
        window = {"startTime": timestamp(since), "endTime": timestamp(until)}
        accounts = [quote(account, safe="@") for account in self._accounts]
        return tuple(
            Log(
                name=f"{application}/{account}" if accounts else application,
                path=f"/activity/users/{account}/applications/{application}",
                query={**window, "maxResults": _MOST_A_PAGE},
            )
            for application in self._applications
            for account in accounts or ["all"]
        )

    def _next_query(self, answer: Answer) -> JsonObject | None:
        page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("items", []), list):
            raise ValueError("not a page of activities")
        after = page.get("nextPageToken")
        return {"pageToken": str(after)} if after else None

    def _status_error(self, answer: Answer) -> Unavailable:
        return google_status_error(answer)
