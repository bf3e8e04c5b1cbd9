"""Request bodies, read up to a limit."""

from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from standfast.console.http.problem_details import Problem


async def read_body(request: Request, most: int) -> bytes:
    """Return the body; refuse one that is longer than `most` bytes.

    The announced length is checked before the body is read.
    """
    announced = request.headers.get("content-length", "0")
    if not (announced.isascii() and announced.isdigit()) or int(announced[:12]) > most:
        raise _too_large(most)
    found = bytearray()
    try:
        async for part in request.stream():
            found += part
            if len(found) > most:
                raise _too_large(most)
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is incomplete") from None
    return bytes(found)


def _too_large(most: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"at most {most:,} bytes are read",
        {"connection": "close"},  # the rest of the body is not read
    )
