"""A configured HTTP request: its address, body and meaning of a status.

This module defines the address, headers and body, and interprets the status. `http_client` limits
the time of the call and reports whether the request may have arrived.

Rules
- The configuration sets scheme and host. A parameter fills a part of the path, the query or the
  body, and is encoded so that it cannot leave that part.
- The token of the order (the request to call the procedure) is the idempotency key, the same in
  every attempt. It is also the id of a signed webhook.
- An expected status is DONE. 429 or 503 is FAILED with a retry at the requested time. Another 4xx,
  or a redirect, is FAILED: the request was refused. 5xx, or no answer after it was sent, is
  UNKNOWN.
- For `observe`, a status in `is_in_effect_with` means in effect; if a field is configured, it must
  then have the configured value. A status in `is_not_with` means not in effect. Any other status
  means that the check must be repeated.
"""

import json
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.captured_output import kept_text
from standfast.adapters.procedures.parameters import check_templates, fill, read_parameters
from standfast.config.sections.procedures import CallConfig, ParameterConfig, RequestConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.http_client import Answer, HttpClient, NotSent, fits_a_header
from standfast.records import EffectState, Json, JsonObject, Limits, Now, Order, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.secrets import Reveal
from standfast.time_limit import Deadline
from standfast.triggers.standard_webhooks import read_secret, sign

_BUSY = (429, 503)


class Request(Procedure):
    """One request; the constructor checks its templates and sends nothing."""

    def __init__(self, name: str, settings: RequestConfig, *, reveal: Reveal, clock: Now) -> None:
        self.name = name
        self._settings = settings
        self._secrets = {key: reveal(secret) for key, secret in settings.secrets.items()}
        self._bearer = None if settings.bearer is None else reveal(settings.bearer)
        for call in (settings, settings.undo):
            if call is not None:
                _check_address(name, call.url, settings.parameters)
                check_templates(name, list(_texts(call.body)), settings.parameters)
        if settings.observe is not None:
            _check_address(name, settings.observe.url, settings.parameters)
            check_templates(name, [settings.observe.value or ""], settings.parameters)
        for header, value in (*settings.headers.items(), *self._secrets.items()):
            if not fits_a_header(header) or not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"{name}: the header {header!r} cannot be sent")
        if self._bearer is not None and not fits_a_header(self._bearer):
            raise ConfigurationError(f"{name}: the bearer token cannot be sent in a header")
        self._clock, self._signing_secret = clock, b""
        if settings.signing_secret is not None:
            try:
                self._signing_secret = read_secret(reveal(settings.signing_secret))
            except ValueError as error:
                raise ConfigurationError(f"{name}: {error}. Create a new one.") from None
        self.can_observe = settings.observe is not None
        self.can_undo = settings.undo is not None
        self.changes_nothing = settings.changes_nothing or settings.method == "GET"
        self.limits = Limits(
            batch=1,
            workers=settings.workers,
            per_second=settings.per_second,
            timeout_seconds=settings.timeout_seconds,
        )
        self._http = HttpClient(
            verify_tls=settings.verify_tls,
            ca_file=settings.ca_file,
            workers=settings.workers,
            clock=clock,
        )

    def fit(self, details: JsonObject) -> None:
        read_parameters(self.name, self._settings.parameters, details)

    def close(self) -> None:
        self._http.close()

    def _is_in_effect(self, order: Order) -> bool | None:
        look = self._settings.observe
        if look is None:
            return None
        values = read_parameters(self.name, self._settings.parameters, order.details)
        answer = self._exchange("GET", _address(look.url, values), order, None)
        if answer.status in look.is_not_with:
            return False
        if answer.status not in look.is_in_effect_with:
            raise Unavailable(f"{self.name}: the check was answered with status {answer.status}")
        if not look.field:
            return True
        return _field(answer, look.field) == fill(look.value or "", values)

    def _run(self, order: Order) -> Result:
        return self._send(self._settings, order)

    def _undo(self, order: Order) -> Result:
        if self._settings.undo is None:
            raise ConfigurationError(f"{self.name} has no undo")
        return self._send(self._settings.undo, order)

    def _send(self, call: CallConfig, order: Order) -> Result:
        values = read_parameters(self.name, self._settings.parameters, order.details)
        body = None if call.body is None else json.dumps(_fill_body(call.body, values)).encode()
        try:
            answer = self._exchange(call.method, _address(call.url, values), order, body)
        except NotSent as error:
            return Result(
                target=order.target,
                state=EffectState.FAILED,
                reason=str(error),
                retry_after_seconds=error.retry_after_seconds,
            )
        secrets = [*self._secrets.values(), self._bearer or ""]
        facts: JsonObject = {"status": answer.status, "output": kept_text(answer.body, secrets)}
        if answer.status in call.expected:
            return Result(target=order.target, state=EffectState.DONE, facts=facts)
        is_in_doubt = answer.status >= 500 and answer.status not in _BUSY
        pause_seconds = None
        if answer.is_busy:
            after = answer.retry_after_seconds
            pause_seconds = RETRY_SECONDS if after is None else after
        return Result(
            target=order.target,
            state=EffectState.UNKNOWN if is_in_doubt else EffectState.FAILED,
            reason=f"answered with status {answer.status}",
            facts=facts,
            retry_after_seconds=pause_seconds,
        )

    def _exchange(self, method: str, url: str, order: Order, body: bytes | None) -> Answer:
        settings = self._settings
        headers = {**settings.headers, **self._secrets}
        if self._bearer is not None:
            headers["Authorization"] = f"Bearer {self._bearer}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if method != "GET":
            headers[settings.idempotency_header] = order.token
        if self._signing_secret:
            text = (body or b"").decode()
            headers |= sign(self._signing_secret, order.token, self._clock(), text)
        deadline = Deadline(settings.timeout_seconds)
        return self._http.exchange(method, url, deadline, headers=headers, content=body)


def _check_address(name: str, url: str, declared: Mapping[str, ParameterConfig]) -> None:
    check_templates(name, [url], declared)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{name}: the address is not valid. Write https:// and a host.")
    if "{" in parts.netloc or "@" in parts.netloc or parts.fragment:
        raise ConfigurationError(
            f"{name}: the host of an address is fixed, without user, password or parameter"
        )


def _address(template: str, values: Mapping[str, str]) -> str:
    return fill(template, values, _quote)


def _quote(value: str) -> str:
    """Encode a value as one part of a path or query.

    A value of dots only is encoded too, because it would lead to a parent path.
    """
    return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")


def _texts(body: Json) -> list[str]:
    if isinstance(body, str):
        return [body]
    if isinstance(body, Mapping):
        return [text for inner in body.values() for text in _texts(inner)]
    if isinstance(body, list | tuple):
        return [text for inner in body for text in _texts(inner)]
    return []


def _fill_body(body: Json, values: Mapping[str, str]) -> Json:
    if isinstance(body, str):
        return fill(body, values)
    if isinstance(body, Mapping):
        return {key: _fill_body(inner, values) for key, inner in body.items()}
    if isinstance(body, list | tuple):
        return [_fill_body(inner, values) for inner in body]
    return body


def _field(answer: Answer, path: str) -> str | None:
    """Return a field of a JSON answer as text; None if it is missing."""
    try:
        value = answer.json()
    except ValueError:
        raise Unavailable("the answer to the check is not JSON") from None
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
