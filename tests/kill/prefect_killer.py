"""`standfast serve` that kills its Prefect server at a requested point.

A file next to the configuration has the kind of the point. It is removed after the kill.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kill.tracing import Tracer, wrap_ledger, wrap_outside

ASKED = "kill-prefect-at"


class PrefectKiller(Tracer):
    """A tracer that kills the server before an act if a test requested it."""

    def reach(self, label: str, act: Callable[[], Any], *, is_within: bool = False) -> Any:
        asked = self.log.parent / ASKED
        with self._guard:
            is_here = asked.exists() and label.startswith(asked.read_text())
            if is_here:
                server = json.loads((self.log.parent / "prefect/server.json").read_text())
                os.killpg(server["pid"], signal.SIGKILL)
                asked.unlink()
        return act()


def serve_and_kill(config_file: Path) -> None:
    """Serve until a request to end."""
    from flows.serve_process import serve

    killer = PrefectKiller(log=config_file.parent / "trace.log", death=None)
    wrap_ledger(killer)
    wrap_outside(killer)
    serve(config_file)
