"""Forms that only our own pages send: what a browser says about where one came from."""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request

from standfast.console.problems import Problem


def refuse_other_sites(request: Request) -> None:
    """A browser says where a form was sent from; one that says another site is refused."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    is_ours = origin is None or (origin != "null" and urlsplit(origin).netloc == host)
    if site not in ("same-origin", "none") or not is_ours:
        raise Problem(HTTPStatus.FORBIDDEN, "the form was sent from another site")
