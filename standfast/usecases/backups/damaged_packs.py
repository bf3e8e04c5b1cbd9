"""Damaged packs that earlier runs found, and that backups upload again.

The vault is the folder or bucket with the backups; a pack is an encrypted file in it.
Verifications, drills (measured test restores) and restores find damaged packs. In a backup,
`backup/archiver/unusable_packs.py` uploads the content of these packs again.

Rules
- New recovery points (states that backups store) never use a pack that was damaged once, even if
  the pack was repaired from a copy of the vault.
- If an undamaged pack is recorded as damaged by mistake, its content is uploaded again without
  need. But no pack is removed, and no recovery point becomes unusable.
- The ledger (the database of runs) stores at most 1,000 pack names for each run; the report of the
  run contains all names. If the newest verification found more damaged packs than the ledger names,
  backups are partial.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.format.keep_record import PackId
from backup.format.object_names import parse_pack_name
from standfast.errors import UsageError
from standfast.records import Json
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault

_FINDERS = ("verify", "drill", "restore")  # kinds of runs that find damaged packs
_MOST_KEPT = 1_000


@dataclass(frozen=True, kw_only=True)
class DamagedPacks:
    """Packs of a vault that new recovery points must not use."""

    packs: frozenset[PackId] = frozenset()
    unnamed: int = 0  # damaged packs of the newest verification that the ledger does not name


def damaged_packs(installation: Installation) -> DamagedPacks:
    """Return the damaged packs of this vault, as recorded by runs of any host."""
    runs = {
        kind: runs_of_vault(installation.config, installation.runs.all(kind)) for kind in _FINDERS
    }
    found = frozenset[PackId]().union(
        *(
            _packs(run.summary.get("damaged_packs", ()))
            for of_kind in runs.values()
            for run in of_kind
        )
    )
    unnamed = (
        int(run.summary.get("damaged_packs_total", 0)) - len(run.summary.get("damaged_packs", ()))
        for run in runs["verify"]
        if run.summary.get("damaged_packs_total") or run.summary.get("is_read")
    )
    return DamagedPacks(packs=found, unnamed=next(unnamed, 0))


def damaged_packs_as_json(names: Sequence[str]) -> dict[str, Json]:
    """Return the first pack names, and the number of all, for a run's summary."""
    return {"damaged_packs": list(names[:_MOST_KEPT]), "damaged_packs_total": len(names)}


def read_report(report: Path | None) -> frozenset[PackId]:
    """Read the packs from the output of `backup verify` or `drill run --json`."""
    if report is None:
        return frozenset()
    try:
        return _packs(json.loads(report.read_text(encoding="utf-8"))["damaged_packs"])
    except OSError as error:
        raise UsageError(
            f"report {report}: {error.strerror}. Name a file that this user can read."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"report {report}: no damaged packs in it. Use the output of `standfast backup verify "
            "--read --json`."
        ) from error


def _packs(names: Sequence[object]) -> frozenset[PackId]:
    return frozenset(pack for name in names if (pack := parse_pack_name(str(name))) is not None)
