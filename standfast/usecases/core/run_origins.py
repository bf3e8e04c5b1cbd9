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
from typing import TYPE_CHECKING

from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin, RunRecord

if TYPE_CHECKING:
    from standfast.config import Config  # `status` does without

_HOST_FILE = "host.json"  # of `backup.keys`, which loads what opens keys
_ENOUGH = 16  # hexadecimal digits of the owner's public key


def origin_of(config: "Config") -> Origin:
    """Say where a run is made that this place makes now."""
    backup = config.backup
    return Origin(
        host=backup.writer,
        machine=host_name(),
        vault=vault_id_of_keys(backup.host, backup.keeping.key),
    )


def vault_id_of_keys(host: Path, keeper: Path) -> str:
    """Name the vault that the host's keys, or else the keeper's, are for; or nothing."""
    for file in (host / _HOST_FILE, keeper):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(file.read_bytes())["owner"])[:_ENOUGH]
    return ""


def runs_of_vault(config: "Config", runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Keep the runs on this place's vault, whoever made them."""
    vault = vault_id_of_keys(config.backup.host, config.backup.keeping.key)
    return [run for run in runs if _is_same(Origin.of(run.summary).vault, vault)]


def runs_of_host(config: "Config", runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Keep the runs of this backup host on its vault."""
    host = config.backup.writer
    return [
        run for run in runs_of_vault(config, runs) if _is_same(Origin.of(run.summary).host, host)
    ]


def _is_same(one: str, other: str) -> bool:
    return not one or not other or one == other
