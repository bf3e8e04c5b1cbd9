"""Where a run is made, and which of the ledger's runs a question is about.

Several hosts may have one ledger, and several vaults. What is asked of a set is asked of this
backup host's nights into this vault; what is asked of the vault, of everybody's runs on it.

Rules
- A run that does not say where it was made counts as made here: so do all of an earlier release.
- Without any keys, as on a verifier's machine, nobody can tell vaults apart, and all count.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from backup.keys import HOST_FILE
from standfast.config import Config
from standfast.host_name import host_name
from standfast.ledger.run_row import Origin, RunRow

_ENOUGH = 16  # hexadecimal digits of the owner's public key


def here(config: Config) -> Origin:
    """Say where a run is made that this place makes now."""
    backup = config.backup
    return Origin(
        host=backup.writer,
        machine=host_name(),
        vault=vault_named_in(backup.host / HOST_FILE, backup.keeping.key),
    )


def vault_named_in(*key_files: Path) -> str:
    """Name the vault that the first of these files which is there is a key of, or nothing."""
    for file in key_files:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(file.read_bytes())["owner"])[:_ENOUGH]
    return ""


def of_vault(config: Config, runs: Iterable[RunRow]) -> list[RunRow]:
    """Keep the runs on this place's vault, whoever made them."""
    own = here(config)
    return [run for run in runs if _is_same(Origin.of(run.summary).vault, own.vault)]


def of_host(config: Config, runs: Iterable[RunRow]) -> list[RunRow]:
    """Keep the runs of this backup host on its vault."""
    host = config.backup.writer
    return [run for run in of_vault(config, runs) if _is_same(Origin.of(run.summary).host, host)]


def _is_same(one: str, other: str) -> bool:
    return not one or not other or one == other
