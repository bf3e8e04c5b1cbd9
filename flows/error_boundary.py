"""The one door out of a flow: what passes it may stand in Prefect's database in clear.

Rules
- An error of ours says nothing secret or personal by its own promise, so its text may pass. Of any
  other exception only the class does: its text may quote a path, an account or a token.
- The exception that leaves is fresh, with no other chained to it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from standfast.errors import StandfastError, UnderWay
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation

T = TypeVar("T")


class FlowFailed(Exception):
    """An operation failed; the text is fit to be stored anywhere."""


class FlowInProgress(FlowFailed):
    """What was asked for is being done already: nothing is wrong."""


def in_installation(
    config: str, work: Callable[[Installation], T], *, needs_ledger: bool = True
) -> T:
    """Do `work` in the installation that a configuration describes; raise only `FlowFailed`."""
    leaving = FlowFailed
    try:
        with open_installation(
            Path(config), env=os.environ, needs_ledger=needs_ledger
        ) as installation:
            return work(installation)
    except UnderWay as error:
        problem, leaving = str(error), FlowInProgress
    except StandfastError as error:
        problem = str(error)
    except Exception as error:
        problem = f"unexpected {type(error).__name__}; the ledger says how far it came"
    # Out here, so that Python chains nothing to it.
    raise leaving(problem)
