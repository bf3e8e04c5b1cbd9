"""Errors as problem details (RFC 9457), without any input."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Problem(Exception):
    """An error that ends a request; `detail` is text for the sender."""

    def __init__(
        self, status: HTTPStatus, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def wait_and_try_again(seconds: float, status: HTTPStatus, detail: str) -> Problem:
    """Return a problem with the time after which a repeat may work."""
    return Problem(status, detail, {"retry-after": str(max(1, round(seconds)))})


def as_response(problem: Problem) -> Response:
    """Return the response to a problem.

    The status describes the problem, so the response has no type and no instance of its own.
    """
    body = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": int(problem.status),
        **({"detail": problem.detail} if problem.detail else {}),
    }
    return JSONResponse(
        body,
        status_code=problem.status,
        headers={**_HEADERS, **problem.headers},
        media_type="application/problem+json",
    )
