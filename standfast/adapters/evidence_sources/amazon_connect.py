"""Contact records of an Amazon Connect instance as evidence.

Rules
- Contacts are selected by the time of their beginning, from the oldest to the newest.
- One search in Connect covers at most eight weeks of contacts, so the configuration permits no
  longer time window.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from standfast.adapters.evidence_sources.aws_source import AwsSource
from standfast.adapters.evidence_sources.paged_http_source import Log
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.accounts import AmazonConnectConfig
from standfast.config.sections.evidence_sources import AmazonConnectEvidenceConfig
from standfast.http_client import Answer
from standfast.records import JsonObject

_MOST_A_PAGE = 100


class AmazonConnectEvidence(AwsSource):
    """Evidence source for the contact records of one instance."""

    service = "connect"
    headers: ClassVar[Mapping[str, str]] = {"Content-Type": "application/json"}

    def __init__(
        self, name: str, settings: AmazonConnectEvidenceConfig, context: SourceContext
    ) -> None:
        directory = context.directory(settings.directory, AmazonConnectConfig)
        super().__init__(name, settings, context, directory)
        self._instance = directory.instance_id
        self._agents = settings.agent_ids

    def _logs(self, since: datetime, until: datetime) -> Sequence[Log]:
        query: JsonObject = {
            "InstanceId": self._instance,
            "TimeRange": {
                "Type": "INITIATION_TIMESTAMP",
                "StartTime": int(since.timestamp()),
                "EndTime": int(until.timestamp()),
            },
            "Sort": {"FieldName": "INITIATION_TIMESTAMP", "Order": "ASCENDING"},
            "MaxResults": _MOST_A_PAGE,
            **({"SearchCriteria": {"AgentIds": list(self._agents)}} if self._agents else {}),
        }
        return (Log(name="contacts", path="/search-contacts", query=query),)

    def _next_query(self, answer: Answer) -> JsonObject | None:
        page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("Contacts"), list):
            raise ValueError("not a page of contacts")
        after = page.get("NextToken")
        return {"NextToken": str(after)} if after else None
