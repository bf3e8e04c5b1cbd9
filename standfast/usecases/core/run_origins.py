"""Origin of a run, and the selection of runs by vault and by host.

A run is one execution of a backup, a drill (a measured test restore) or similar work. Its origin
names its backup host (the configured name of a writer of backups), its machine and its vault (the
store of the backups). Several hosts may share one ledger, the database in which runs are recorded,
and may have different vaults. A query about a backup set selects the runs of this backup host with
this vault. A query about the vault selects the runs of all hosts with this vault.

Rules
- A run without an origin is selected as a run of this host, because runs of earlier releases have
  no origin.
- A vault is identified by its owner's key, which the keys of a host contain. A machine that only
  verifies has no keys. On such a machine, the runs of all vaults are selected.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from standfast.config import Config
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin, RunRecord

# Repeated from `backup.trust.key_files`, because importing that module loads `cryptography`.
_HOST_FILE = "host.json"
# This number of hexadecimal digits of the owner's public key identifies a vault. The owner is the
# person with the offline signing key.
_ENOUGH = 16


def origin_of(config: Config) -> Origin:
    """Return the origin of a run that this installation starts now."""
    backup = config.backup
    return Origin(
        host=backup.writer,
        machine=host_name(),
        vault=vault_id_of_keys(backup.host, backup.keeping.key),
    )


def vault_id_of_keys(host: Path, keeper: Path) -> str:
    """Return the vault's identifier, from the keys of the host or the keeper.

    The keeper is the machine that may expire backups. Return "" if there are no keys.
    """
    for file in (host / _HOST_FILE, keeper):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(file.read_bytes())["owner"])[:_ENOUGH]
    return ""


def runs_of_vault(config: Config, runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs with this installation's vault, of any host."""
    vault = vault_id_of_keys(config.backup.host, config.backup.keeping.key)
    return [run for run in runs if _is_same(Origin.of(run.summary).vault, vault)]


def runs_of_host(config: Config, runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs of this backup host with its vault."""
    host = config.backup.writer
    return [
        run for run in runs_of_vault(config, runs) if _is_same(Origin.of(run.summary).host, host)
    ]


def _is_same(first: str, second: str) -> bool:
    return not first or not second or first == second
