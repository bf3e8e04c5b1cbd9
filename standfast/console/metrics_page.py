"""Metrics for Prometheus: `GET /metrics`, with a bearer token.

Rules
- A request needs one of the tokens in `serve.metrics_tokens`.
- The metrics are computed in their own thread and cached for some seconds: frequent scrapes cost
  nothing, and slow scrapes delay no other response.
- If the ledger (the database) does not answer, the scrape fails: old numbers would hide the
  failure.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CollectorRegistry, Metric
from starlette.requests import Request
from starlette.responses import Response

from standfast.console.http.bearer_token import has_bearer, unauthorised
from standfast.console.http.problem_details import wait_and_try_again
from standfast.console.http.work_queue import WorkQueue
from standfast.console.webhook_secrets import Keys
from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.metrics import measure

log = logging.getLogger("standfast.serve")

FRESH_SECONDS = 10.0
_COME_AGAIN_SECONDS = 30.0


@dataclass(kw_only=True, eq=False)  # prometheus_client uses collectors as dict keys, by identity
class MetricsPage:
    """The metrics of one installation."""

    installation: Installation
    keys: Keys
    queue: WorkQueue  # queue with one worker
    _measured: tuple[float, bytes] = (float("-inf"), b"")

    async def show(self, request: Request) -> Response:
        """Return the metrics; 401 without a valid token."""
        tokens = self.installation.config.serve.metrics_tokens
        if not has_bearer(request, self.keys.bearer("serve.metrics_tokens", tokens)):
            raise unauthorised()
        try:
            text = await self.queue.do(self._text)
        except StandfastError as error:
            log.warning("metrics: %s", error)
            raise wait_and_try_again(
                _COME_AGAIN_SECONDS, HTTPStatus.SERVICE_UNAVAILABLE, "the ledger does not respond"
            ) from None
        return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"cache-control": "no-store"})

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; prometheus_client calls this."""
        yield from measure(self.installation)

    def _text(self) -> bytes:
        measured_at, text = self._measured
        if time.monotonic() - measured_at > FRESH_SECONDS:
            registry = CollectorRegistry()
            registry.register(self)
            text = generate_latest(registry)
            self._measured = time.monotonic(), text
        return text
