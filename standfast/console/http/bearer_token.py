"""Bearer tokens of requests, compared in constant time."""

import hmac
from collections.abc import Iterable
from http import HTTPStatus

from starlette.requests import Request

from standfast.console.http.problem_details import Problem

_SCHEME = "bearer "


def has_bearer(request: Request, tokens: Iterable[str]) -> bool:
    """Return whether the request's only bearer token is one of `tokens`."""
    given = request.headers.getlist("authorization")
    token = given[0] if len(given) == 1 else ""
    is_known = False
    for known in tokens:
        is_known |= is_same(token[len(_SCHEME) :], known)
    return is_known and token.lower().startswith(_SCHEME)


def is_same(given: str, known: str) -> bool:
    """Compare two texts in a time that does not depend on the known text."""
    return hmac.compare_digest(given.encode(errors="replace"), known.encode())


def unauthorised() -> Problem:
    """Return the response to a request without a valid credential."""
    # Close the connection, so that an unread body is not received either.
    return Problem(
        HTTPStatus.UNAUTHORIZED, headers={"www-authenticate": "Bearer", "connection": "close"}
    )
