"""Process of one backup without Prefect; arguments: CONFIG SET.

`standfast serve` starts it if Prefect is unavailable or did not run a scheduled backup.
"""

import os
import sys
from pathlib import Path

from standfast.errors import StandfastError
from standfast.usecases.backups.backup_run import NIGHTLY_PAUSES, run_backup
from standfast.usecases.setup.installation_opening import open_installation


def main(config: str, set_name: str) -> int:
    """Back up one set; return its exit status."""
    try:
        with open_installation(Path(config), env=os.environ, needs_ledger=False) as installation:
            outcome = run_backup(installation, set_name, "serve", pauses=NIGHTLY_PAUSES)
            if outcome.ledger_problem:
                sys.stderr.write(f"{set_name}: not in the ledger: {outcome.ledger_problem}\n")
            return int(outcome.exit_status)
    except StandfastError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
