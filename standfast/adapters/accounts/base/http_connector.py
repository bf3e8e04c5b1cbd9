"""Base class of connectors over HTTP with JSON: requests, statuses.

The class sends requests with the credential, and interprets each status for a read and for a
change. The provider's module defines paths, fields and their meaning.

Rules
- A read returns JSON, or None for 404; any other status raises `Unavailable`.
- A change is `OutcomeUnknown` if it was sent and not answered, or if the server answered with a
  server error. A change that the provider refuses is `ProviderRefused`. A change that certainly did
  not happen is `Unavailable`.
- After 401 a short-lived credential is renewed, and the request is sent once more. This is safe,
  because a request that is answered with 401 had no effect.
- A name or id from outside is one segment of a path, and can never lead to another path.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from standfast.adapters.accounts.base.per_account_connector import (
    OutcomeUnknown,
    PerAccountConnector,
    ProviderRefused,
)
from standfast.adapters.clients.credentials import Credential, send_authorized
from standfast.adapters.clients.http_status import is_declined, status_error
from standfast.errors import Unavailable
from standfast.http_client import Answer, HttpClient, NoAnswer
from standfast.records import Json, Limits, Now
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import Deadline


class HttpConnector(PerAccountConnector):
    """Connector of one directory over HTTP; a subclass sets `credential`."""

    credential: Credential

    def __init__(
        self,
        name: str,
        base_url: str,
        limits: Limits,
        *,
        clock: Now,
        verify_tls: bool = True,
        ca_file: Path | None = None,  # None: the public certificate authorities
    ) -> None:
        super().__init__(name, limits)
        self._base_url = base_url.rstrip("/")
        self._http = HttpClient(
            verify_tls=verify_tls, ca_file=ca_file, workers=limits.workers, clock=clock
        )

    def close(self) -> None:
        self._http.close()

    def _get(
        self, path: str, deadline: Deadline, params: Mapping[str, str] | None = None
    ) -> object | None:
        """Read a path; None if it does not exist."""
        answer = self._ask("GET", path, deadline, params=params)
        return None if answer.status == 404 else self._read_json(answer)

    def _read_json(self, answer: Answer) -> object:
        """Return the JSON of an answer, or raise the error of its status."""
        if not answer.is_success:
            raise self._status_error(answer)
        try:
            return answer.json()
        except (ValueError, RecursionError):
            raise invalid_answer() from None

    def _change_at(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        params: Mapping[str, str] | None = None,
        body: Json = None,
    ) -> bool:
        """Send a change; False for 404, True if the provider reports success."""
        try:
            answer = self._ask(method, path, deadline, params=params, body=body)
        except NoAnswer as error:
            raise OutcomeUnknown(f"the change was sent: {error}") from None
        if answer.is_success:
            return True
        if answer.status == 404:
            return False
        why = self._status_error(answer)
        if answer.status >= 500 and not answer.is_busy:
            raise OutcomeUnknown(f"the change was sent: {why}")
        if is_declined(answer):
            raise ProviderRefused(str(why))
        raise why

    def _status_error(self, answer: Answer) -> Unavailable:
        """Return the error for a status; providers with own statuses override it."""
        return status_error(answer)

    def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        params: Mapping[str, str] | None = None,
        body: Json = None,
    ) -> Answer:
        """Send a request; after an expired credential, renew it and send again."""
        return send_authorized(
            self.credential,
            deadline,
            lambda headers: self._send(method, path, deadline, headers, params, body),
        )

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        credential: Mapping[str, str],
        params: Mapping[str, str] | None,
        body: Json,
    ) -> Answer:
        headers = {**credential, "Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        return self._http.exchange(
            method, self._base_url + path, deadline, headers=headers, params=params, content=content
        )


def segment(name: str) -> str:
    """Encode a name as one segment of a path; ValueError if impossible."""
    if name in ("", ".", ".."):
        raise ValueError("not a segment of a path")
    return quote(name, safe="")


def invalid_answer() -> Unavailable:
    """Return the error for an answer that contradicts the provider's API."""
    return Unavailable(
        "the directory sent an invalid answer. Check its address.",
        retry_after_seconds=RETRY_SECONDS,
    )
