"""Sign-ins and directory audit of a Microsoft Entra ID tenant as evidence.

Rules
- The list of sign-ins needs Entra ID P1. The stable version of Graph lists only interactive and
  federated sign-ins.
- The account filter selects events by the account that signed in or made the change. A filtered log
  lacks the changes that others made to the account.
"""

from collections.abc import Sequence
from datetime import datetime

from standfast.adapters.clients.entra_api import entra_credential, next_page_mark
from standfast.adapters.evidence_sources.paged_http_source import Log, PagedHttpSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.accounts import EntraConfig
from standfast.config.sections.evidence_sources import EntraEvidenceConfig
from standfast.http_client import Answer
from standfast.records import JsonObject, timestamp

_MOST_A_PAGE = "999"


class EntraEvidence(PagedHttpSource):
    """Evidence source for the sign-ins and the audit log of one tenant."""

    def __init__(self, name: str, settings: EntraEvidenceConfig, context: SourceContext) -> None:
        directory = context.directory(settings.directory, EntraConfig)
        super().__init__(name, settings, context, f"{directory.graph_url}/v1.0")
        self._accounts = settings.accounts
        self.credential = entra_credential(directory, context.reveal, self._http, context.clock)

    def _logs(self, since: datetime, until: datetime) -> Sequence[Log]:
        def log(name: str, path: str, time_field: str, account_field: str) -> Log:
            parts = [f"{time_field} ge {timestamp(since)} and {time_field} le {timestamp(until)}"]
            if self._accounts:
                either = (f"{account_field} eq {_quote(it)}" for it in self._accounts)
                parts.append(f"({' or '.join(either)})")
            query = {"$filter": " and ".join(parts), "$top": _MOST_A_PAGE}
            return Log(name=name, path=path, query=query)

        return (
            log("sign-ins", "/auditLogs/signIns", "createdDateTime", "userPrincipalName"),
            log(
                "directory-audits",
                "/auditLogs/directoryAudits",
                "activityDateTime",
                "initiatedBy/user/userPrincipalName",
            ),
        )

    def _next_query(self, answer: Answer) -> JsonObject | None:
        page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("value"), list):
            raise ValueError("not a page of a log")
        return next_page_mark(page) or None


def _quote(account: str) -> str:
    """Return a name as an OData literal; Graph compares names in lower case."""
    return "'" + account.casefold().replace("'", "''") + "'"
