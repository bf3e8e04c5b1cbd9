"""Boundary between flows and the program: only safe texts cross it.

Prefect may store in clear every text that it receives.

Rules
- The texts of Standfast's own errors contain nothing secret or personal, so Prefect may store them.
  Of any other exception, only the name of its class is passed on, because its text may contain a
  path, an account or a token.
- The exception that reaches Prefect is a new one, without a chain to the original exception.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from standfast.config_file import find_config
from standfast.errors import StandfastError, UnderWay
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation

T = TypeVar("T")


class FlowFailed(Exception):
    """An operation failed; the text may be stored anywhere."""


class FlowInProgress(FlowFailed):
    """The operation is in progress already, which is not a failure."""


def in_installation(
    config: str, work: Callable[[Installation], T], *, needs_ledger: bool = True
) -> T:
    """Run `work` in the installation of `config`; raise only `FlowFailed`.

    If `config` is empty, the installation is the one that `STANDFAST_CONFIG` names in the
    environment of this Prefect worker. Without `needs_ledger`, the work can begin even if the
    ledger (the database) is unavailable.
    """
    leaving = FlowFailed
    try:
        path = Path(config) if config else find_config(None, os.environ)
        with open_installation(path, env=os.environ, needs_ledger=needs_ledger) as installation:
            return work(installation)
    except UnderWay as error:
        problem, leaving = str(error), FlowInProgress
    except StandfastError as error:
        problem = str(error)
    except Exception as error:
        problem = f"unexpected {type(error).__name__}; the ledger says how far it came"
    # Raised outside the handler, so that Python does not chain the first exception.
    raise leaving(problem)
