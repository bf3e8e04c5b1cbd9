"""States, and references to reports, that Prefect shows for outcomes.

Rules
- A failure is a state with a message, not an exception: Prefect would write a pickled exception to
  its disk, and the traceback to its log.
- A reference is an artifact with a digest and a link or a command, never the content. Reports and
  incident pages name systems and people, and readers of Prefect must not see these names (decision
  0075).
- The key of an artifact is its subject, such as a backup set, so that Prefect shows the newest
  reference first.
- If Prefect cannot store a reference, the result of the run stays the same.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.error_boundary import FlowFailed, FlowInProgress, in_installation
from standfast.config import Config
from standfast.errors import EXIT_STATUS_MEANING, ExitStatus
from standfast.host_name import host_name
from standfast.usecases.core.installation import Installation

_NOT_A_FAILURE = frozenset({ExitStatus.PARTIAL, ExitStatus.WAITS_FOR_PEOPLE})


def run_to_state(
    config: str,
    work: Callable[[Installation], tuple[ExitStatus, str]],
    *,
    needs_ledger: bool = True,
) -> State[None]:
    """Run `work` and return the state that Prefect shows; raise nothing.

    `work` returns the exit status and a line with ids and counts only, which is logged as well.
    """
    try:
        status, line = in_installation(config, work, needs_ledger=needs_ledger)
    except FlowInProgress as error:
        return Completed(message=str(error), name="Under way")
    except FlowFailed as error:
        return Failed(message=str(error))
    get_run_logger().info("%s", line)
    if status is ExitStatus.DONE:
        return Completed(message=line)
    name = EXIT_STATUS_MEANING[status].partition(":")[0].capitalize()
    return (Completed if status in _NOT_A_FAILURE else Failed)(message=line, name=name)


def as_flow(state: State[Any]) -> State[None]:
    """Return the state of a flow with one task: the state of this task.

    By default, Prefect would show "1/1 states failed" for a failed task.
    """
    return State(type=state.type, name=state.name, message=state.message)


def refer_to_drill_report(subject: str, report: Path | None, digest: str) -> None:
    """Show the path of the signed report of a drill (test restore), if any."""
    if report is None:
        return
    text = (
        f"Report `{report.name}` on {host_name()}, SHA-256 `{digest}`. For its page, run "
        f"`standfast drill report {subject} --to PAGE.html` there."
    )
    with suppress(Exception):
        create_markdown_artifact(text, key=_key("drill-report", subject))


def refer_to_incident(config: Config, incident: str) -> None:
    """Show the page of an incident in the console, or the command for it."""
    key, command = _key("incident", incident), f"`standfast incident status {incident}`"
    with suppress(Exception):
        if config.serve.console is None:
            create_markdown_artifact(f"Run {command}.", key=key)
        else:
            page = f"{config.serve.console.rstrip('/')}/console/{incident}"
            create_link_artifact(page, incident, key=key, description=f"Or run {command}.")


def _key(kind: str, subject: str) -> str:
    return f"{kind}-" + re.sub("[^a-z0-9]+", "-", subject.lower()).strip("-")
