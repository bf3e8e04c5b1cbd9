"""Base class of sources that read an AWS service page by page.

Rules
- Requests are signed by the SDK and sent by `standfast/http_client.py`, so that each page is kept
  as AWS sent it.
- Without an access key, each request is signed with the present credentials of this machine, which
  the SDK renews.
"""

from collections.abc import Mapping
from typing import ClassVar

from standfast.adapters.clients.aws_api import aws_credentials, aws_status_error, signed_headers
from standfast.adapters.evidence_sources.paged_http_source import Log, PagedHttpSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.accounts import AwsConfig
from standfast.config.sections.evidence_sources import CloudwatchEvidenceConfig, PagedLogConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject
from standfast.time_limit import Deadline


class AwsSource(PagedHttpSource):
    """Source of one service's logs; `aws` has the region and the key."""

    service: str  # its name in the address and in the signature
    headers: ClassVar[Mapping[str, str]]  # sent with each request

    def __init__(
        self,
        name: str,
        settings: PagedLogConfig,
        context: SourceContext,
        aws: AwsConfig | CloudwatchEvidenceConfig,
    ) -> None:
        address = aws.endpoint_url or f"https://{self.service}.{aws.region}.amazonaws.com"
        super().__init__(name, settings, context, address)
        self._region = aws.region
        self._key = aws.access_key_id
        secret = aws.secret_access_key
        self._secret = None if secret is None else context.reveal(secret)

    def _send(self, log: Log, query: JsonObject, within: Deadline) -> Answer:
        url = self._base_url + log.path
        credentials = aws_credentials(self._key, self._secret)
        headers, content = signed_headers(
            credentials, self.service, self._region, url, self.headers, query
        )
        return self._http.exchange("POST", url, within, headers=headers, content=content)

    def _status_error(self, answer: Answer) -> Unavailable:
        return aws_status_error(answer)
