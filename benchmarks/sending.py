"""Program that sends one notice to many people by SendGrid.

Its argument is `FOLDER`, the folder of an installation that `tests.usecases.installations.furnish`
made. The program opens an incident with the playbook `tell`, and writes the results into the folder
as `figures.json`: the seconds until every recipient is in the ledger (the database), the seconds
from then until the result of each message is stored, and the processor time of both.
"""

import json
import sys
import time
from pathlib import Path

from standfast.errors import ExitStatus
from standfast.playbook.run_state import State
from standfast.records import Mode
from standfast.usecases.incidents import lifecycle
from standfast.usecases.setup.installation_opening import open_installation
from tests.servers.sendgrid import KEY


def main(folder: Path) -> None:
    env = {"SCIM_TOKEN": "unused", "SENDGRID_KEY": KEY}
    with open_installation(
        folder / "standfast.toml", env=env, actor="os:benchmark"
    ) as installation:
        opened = lifecycle.open_incident(installation, "tell", {}, mode=Mode.LIVE, opened_by="dana")
        began = time.monotonic(), time.process_time()
        planned: list[tuple[float, float]] = []

        def look(state: State) -> None:
            if "tell" in state.steps and not planned:
                planned.append((time.monotonic(), time.process_time()))

        outcome = lifecycle.advance(installation, opened.incident, "direct", look)
        ended = time.monotonic(), time.process_time()
        if outcome.exit_status is not ExitStatus.DONE:
            raise SystemExit(f"the incident ended with {outcome.exit_status}")
    figures = {
        "plan_seconds": planned[0][0] - began[0],
        "plan_cpu_seconds": planned[0][1] - began[1],
        "send_seconds": ended[0] - planned[0][0],
        "send_cpu_seconds": ended[1] - planned[0][1],
    }
    (folder / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
