"""A request of the configuration, sent over HTTP.

Owns the address, the headers and the body, and what a status means. Leaves the bound and "did it
arrive?" to `bounded_http`.

Rules
- Scheme and host stand in the configuration; a parameter fills parts of the path, of the query and
  of the body, and is written so that it cannot leave its place.
- The effect's token is the idempotency key, the same at every try.
- A status that was expected: DONE. 429 or 503: FAILED, to be tried again when they ask. Another of
  4xx, or a redirect: FAILED, it was turned down. 5xx, or no answer after it was sent: UNKNOWN.
- To observe: a status of `is_in_effect_with` says yes, and then a field of the answer must have the
  value that was asked for, where one was; a status of `is_not_with` says no; any other, ask again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.captured_output import kept_text
from standfast.adapters.procedures.parameters import (
    Parameter,
    check_templates,
    fill,
    read_parameters,
)
from standfast.errors import ConfigurationError, Unavailable
from standfast.http_client import Answer, Deadline, HttpClient, NotSent, fits_a_header
from standfast.records import EffectState, Json, JsonObject, Limits, Now, Order, Result

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BUSY = (429, 503)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, with room for parameters."""

    method: str
    url: str
    body: Json = None  # texts in it have room for parameters
    expected: tuple[int, ...] = (200, 201, 202, 204)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A request that shows whether the thing is in effect."""

    url: str
    is_in_effect_with: tuple[int, ...] = (200,)
    is_not_with: tuple[int, ...] = (404,)
    field: str = ""  # of the answer, with dots between; empty: the status says it all
    value: str = ""  # what the field must be, with room for parameters


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """One request as the configuration has it; its secrets are resolved."""

    call: Call
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    observe: Look | None = None
    undo: Call | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # header → its value
    bearer: str | None = field(default=None, repr=False)
    idempotency_header: str = "Idempotency-Key"
    verify_tls: bool = True
    ca_file: Path | None = None
    timeout_seconds: float = 10.0
    workers: int = 4
    per_second: float | None = None
    changes_nothing: bool = False


class Request(Procedure):
    """One request. Construction checks its templates and sends nothing."""

    def __init__(self, name: str, options: RequestOptions, *, clock: Now) -> None:
        self.name = name
        self._options = options
        for call in (options.call, options.undo):
            if call is not None:
                _check_address(name, call.url, options.parameters)
                check_templates(name, list(_texts(call.body)), options.parameters)
                if call.method not in METHODS:
                    raise ConfigurationError(f"{name}: the method is one of {', '.join(METHODS)}")
        if options.observe is not None:
            _check_address(name, options.observe.url, options.parameters)
            check_templates(name, [options.observe.value], options.parameters)
        for header, value in (*options.headers.items(), *options.secrets.items()):
            if not fits_a_header(header) or not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"{name}: the header {header!r} cannot be sent")
        if options.bearer is not None and not fits_a_header(options.bearer):
            raise ConfigurationError(f"{name}: the bearer token cannot be sent in a header")
        self.can_observe = options.observe is not None
        self.can_undo = options.undo is not None
        self.changes_nothing = options.changes_nothing or options.call.method == "GET"
        self.limits = Limits(
            batch=1,
            workers=options.workers,
            per_second=options.per_second,
            timeout_seconds=options.timeout_seconds,
        )
        self._http = HttpClient(
            verify_tls=options.verify_tls,
            ca_file=options.ca_file,
            workers=options.workers,
            clock=clock,
        )

    def fit(self, details: JsonObject) -> None:
        read_parameters(self.name, self._options.parameters, details)

    def close(self) -> None:
        self._http.close()

    def _is_in_effect(self, order: Order) -> bool | None:
        look = self._options.observe
        if look is None:
            return None
        values = read_parameters(self.name, self._options.parameters, order.details)
        answer = self._exchange("GET", _address(look.url, values), order, None)
        if answer.status in look.is_not_with:
            return False
        if answer.status not in look.is_in_effect_with:
            raise Unavailable(f"{self.name}: the look was answered with {answer.status}")
        if not look.field:
            return True
        return _field(answer, look.field) == fill(look.value, values)

    def _run(self, order: Order) -> Result:
        return self._sent(self._options.call, order)

    def _undo(self, order: Order) -> Result:
        if self._options.undo is None:
            raise ConfigurationError(f"{self.name} has no undo")
        return self._sent(self._options.undo, order)

    def _sent(self, call: Call, order: Order) -> Result:
        values = read_parameters(self.name, self._options.parameters, order.details)
        body = None if call.body is None else json.dumps(_filled(call.body, values)).encode()
        try:
            answer = self._exchange(call.method, _address(call.url, values), order, body)
        except NotSent as error:
            return Result(
                target=order.target,
                state=EffectState.FAILED,
                reason=str(error),
                retry_after_seconds=error.retry_after_seconds,
            )
        secrets = [*self._options.secrets.values(), self._options.bearer or ""]
        facts: JsonObject = {"status": answer.status, "output": kept_text(answer.body, secrets)}
        if answer.status in call.expected:
            return Result(target=order.target, state=EffectState.DONE, facts=facts)
        is_in_doubt = answer.status >= 500 and answer.status not in _BUSY
        retry_after = answer.retry_after_seconds if answer.is_busy else None
        return Result(
            target=order.target,
            state=EffectState.UNKNOWN if is_in_doubt else EffectState.FAILED,
            reason=f"answered with {answer.status}",
            facts=facts,
            retry_after_seconds=1.0 if answer.is_busy and retry_after is None else retry_after,
        )

    def _exchange(self, method: str, url: str, order: Order, body: bytes | None) -> Answer:
        options = self._options
        headers = {**options.headers, **options.secrets}
        if options.bearer is not None:
            headers["Authorization"] = f"Bearer {options.bearer}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if method != "GET":
            headers[options.idempotency_header] = order.token
        deadline = Deadline(options.timeout_seconds)
        return self._http.exchange(method, url, deadline, headers=headers, content=body)


def _check_address(name: str, url: str, declared: Mapping[str, Parameter]) -> None:
    check_templates(name, [url], declared)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{name}: an address begins with https:// and a host")
    if "{" in parts.netloc or "@" in parts.netloc or parts.fragment:
        raise ConfigurationError(
            f"{name}: the host of an address is fixed, without user, password or parameter"
        )


def _address(template: str, values: Mapping[str, str]) -> str:
    return fill(template, values, _quoted)


def _quoted(value: str) -> str:
    """Write a value as one part of a path or a query; dots alone would climb."""
    return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")


def _texts(body: Json) -> list[str]:
    if isinstance(body, str):
        return [body]
    if isinstance(body, Mapping):
        return [text for inner in body.values() for text in _texts(inner)]
    if isinstance(body, list | tuple):
        return [text for inner in body for text in _texts(inner)]
    return []


def _filled(body: Json, values: Mapping[str, str]) -> Json:
    if isinstance(body, str):
        return fill(body, values)
    if isinstance(body, Mapping):
        return {key: _filled(inner, values) for key, inner in body.items()}
    if isinstance(body, list | tuple):
        return [_filled(inner, values) for inner in body]
    return body


def _field(answer: Answer, path: str) -> str | None:
    """Give a field of a JSON answer as text; None when it is not there."""
    try:
        value = answer.json()
    except ValueError:
        raise Unavailable("the look was answered with something that is no JSON") from None
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
