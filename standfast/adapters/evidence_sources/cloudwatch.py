"""Log groups of Amazon CloudWatch Logs as evidence.

Rules
- Each log group is a log of its own. Events are read with FilterLogEvents, whose pages may be empty
  before the last one.
- Requests are signed by the SDK and sent by our own client, so that each page is kept as AWS sent
  it.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from standfast.adapters.clients.aws_api import aws_credentials, aws_status_error, signed_headers
from standfast.adapters.evidence_sources.paged_http_source import Log, PagedHttpSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence import CloudwatchEvidenceConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject
from standfast.time_limit import Deadline

_MOST_A_PAGE = 10_000
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "Logs_20140328.FilterLogEvents",
}


class CloudwatchEvidence(PagedHttpSource):
    """The events of log groups in one region."""

    def __init__(
        self, name: str, settings: CloudwatchEvidenceConfig, context: SourceContext
    ) -> None:
        address = settings.endpoint_url or f"https://logs.{settings.region}.amazonaws.com"
        super().__init__(name, settings, context, address)
        self._groups = settings.log_groups
        self._pattern = settings.pattern
        self._region = settings.region
        secret = settings.secret_access_key
        self._key = settings.access_key_id
        self._secret = None if secret is None else context.reveal(secret)

    def _logs(self, since: datetime, until: datetime) -> Sequence[Log]:
        window: JsonObject = {
            "startTime": int(since.timestamp() * 1000),
            "endTime": int(until.timestamp() * 1000),
            "limit": _MOST_A_PAGE,
            **({"filterPattern": self._pattern} if self._pattern else {}),
        }
        return tuple(
            Log(
                name=quote(group.strip("/"), safe=""),
                path="/",
                query={"logGroupName": group, **window},
            )
            for group in self._groups
        )

    def _send(self, log: Log, query: JsonObject, within: Deadline) -> Answer:
        url = self._base_url + log.path
        credentials = aws_credentials(self._key, self._secret)
        headers, content = signed_headers(credentials, "logs", self._region, url, _HEADERS, query)
        return self._http.exchange("POST", url, within, headers=headers, content=content)

    def _next_query(self, answer: Answer) -> JsonObject | None:
        page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("events"), list):
            raise ValueError("not a page of events")
        after = page.get("nextToken")
        return {"nextToken": str(after)} if after else None

    def _status_error(self, answer: Answer) -> Unavailable:
        return aws_status_error(answer)
