"""Heartbeats: requests to a monitor about runs; tries and time limit.

A run is one execution of a backup or of a drill (a measured test restore). The URLs have the form
that healthchecks.io uses: URL/start at the start, then URL after a success, or URL/fail after a
failure. The monitor raises an alarm if a heartbeat is missing, for example because this machine is
off.

Rules
- A heartbeat has a time limit, and its failure never fails a run. The log reports each heartbeat
  that did not arrive. The record of the run reports it if it was the heartbeat at the end.
- Only a run with the result `done` is a success. A partial run, in which some files or targets are
  missing, is reported as a failure, because a person must examine it.
- The URL is a secret, because anybody who knows it can report a success. No message contains it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from standfast.config.value_types import SecretReference, web_address
from standfast.errors import StandfastError
from standfast.secrets import Resolver
from standfast.usecases.core.installation import Installation

if TYPE_CHECKING:
    from standfast.usecases.core.run_record import Run

ATTEMPTS = 3  # attempts at the end of a run; the start has one attempt
_SECONDS = 5.0  # limit of one request

log = logging.getLogger("standfast.backup")


@contextmanager
def heartbeat(installation: Installation, kind: str, subject: str, run: "Run") -> Iterator[None]:
    """Send the heartbeats of a run, if a URL is configured for it.

    An error of a heartbeat is logged and not raised.
    """
    reference = getattr(installation.config.heartbeats, kind, {}).get(subject)
    if reference is None:
        yield
        return
    name = f"heartbeat of {kind} {subject}"
    _send(installation.resolver, reference, "/start", name, attempts=1)
    suffix = "/fail"
    try:
        yield
        suffix = "" if run.state == "done" else "/fail"
    finally:
        if problem := _send(installation.resolver, reference, suffix, name, attempts=ATTEMPTS):
            run.summary["heartbeat_problem"] = problem


def heartbeat_url(resolver: Resolver, reference: SecretReference) -> str:
    """Return the URL; raise ValueError if it is not valid.

    The text of the error does not contain the URL, because the URL is a secret.
    """
    return web_address(resolver.resolve(reference).reveal())


def _send(
    resolver: Resolver, reference: SecretReference, suffix: str, name: str, *, attempts: int
) -> str:
    """Send one heartbeat; return the reason if it did not arrive, else ""."""
    # Imported here: most installations send no heartbeats, and start faster without this import.
    from standfast.http_client import HttpClient
    from standfast.time_limit import Deadline

    client, problem = HttpClient(), ""
    try:
        url = heartbeat_url(resolver, reference) + suffix
        for _ in range(attempts):
            try:
                answer = client.exchange("POST", url, Deadline(_SECONDS))
            except StandfastError as error:
                problem = str(error)
            else:
                problem = "" if answer.is_success else f"its monitor answered {answer.status}"
            if not problem:
                return ""
    except (StandfastError, ValueError) as error:
        problem = f"{reference}: {error}"
    finally:
        client.close()
    log.warning("%s: it did not arrive: %s. Check `heartbeats`.", name, problem)
    return problem
