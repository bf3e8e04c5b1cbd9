"""Log groups of Amazon CloudWatch Logs as evidence.

Rules
- Each log group is a separate log in the evidence. Events are read with FilterLogEvents, whose
  pages may be empty before the last one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from urllib.parse import quote

from standfast.adapters.evidence_sources.aws_source import AwsSource
from standfast.adapters.evidence_sources.paged_http_source import Log
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import CloudwatchEvidenceConfig
from standfast.http_client import Answer
from standfast.records import JsonObject

_MOST_A_PAGE = 10_000


class CloudwatchEvidence(AwsSource):
    """Evidence source for the events of log groups in one region."""

    service = "logs"
    headers: ClassVar[Mapping[str, str]] = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "Logs_20140328.FilterLogEvents",
    }

    def __init__(
        self, name: str, settings: CloudwatchEvidenceConfig, context: SourceContext
    ) -> None:
        super().__init__(name, settings, context, settings)
        self._groups = settings.log_groups
        self._pattern = settings.pattern

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

    def _next_query(self, answer: Answer) -> JsonObject | None:
        page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("events"), list):
            raise ValueError("not a page of events")
        after = page.get("nextToken")
        return {"nextToken": str(after)} if after else None
