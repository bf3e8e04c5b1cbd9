"""Origin check of forms, by the headers of the browser."""

from http import HTTPStatus

from starlette.requests import Request

from standfast.console.http.problem_details import Problem


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that a browser sent from another site."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site not in ("same-origin", "none") or origin not in (
        None, f"https://{host}", f"http://{host}"
    ):  # fmt: skip
        raise Problem(HTTPStatus.FORBIDDEN, "the form was sent from another site")
