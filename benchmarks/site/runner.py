"""Program that works on an incident of a host; arguments CONFIG INCIDENT.

It does the same as the Prefect flow `respond-to-incident`, until the incident is over.
"""

import os
import sys
import time
from pathlib import Path

from standfast.usecases.incidents.lifecycle import advance
from standfast.usecases.setup.installation_opening import open_installation

_PAUSE_SECONDS = 0.5


def main(config_file: Path, incident: str) -> None:
    """Continue an incident, with short pauses, until it is over."""
    with open_installation(config_file, env=os.environ, actor="os:benchmark") as installation:
        while not advance(installation, incident, "direct").summary.is_over:
            time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
