"""Packs that a verification, a drill or a restore found damaged; the next backup sends them again.

Owns the list: what the ledger keeps of it, and what a report says. Leaves finding them to the
verification and the restore, sending again to `backup/archiver/unusable_packs.py`.

Rules
- A pack that was found damaged once is never built on again, also if it was brought back from a
  copy: that costs an upload.
- A false name costs an upload as well, and nothing else: no pack is removed, no point refused.
- The ledger keeps at most 1,000 names a run; a report has them all. A backup is partial while the
  newest verification found more than the ledger names.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.format.keep_record import PackId
from backup.format.object_names import pack_in
from standfast.errors import UsageError
from standfast.records import Json
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault

_FINDERS = ("verify", "drill", "restore")  # kinds of runs
_MOST_KEPT = 1_000


@dataclass(frozen=True, kw_only=True)
class DamagedPacks:
    """Packs of a vault that must not be built on."""

    packs: frozenset[PackId] = frozenset()
    unnamed: int = 0  # that the newest verification found besides, and the ledger does not name


def damaged_packs(installation: Installation) -> DamagedPacks:
    """Return what the ledger's runs on this place's vault found damaged, whoever made them."""
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


def kept(names: Sequence[str]) -> dict[str, Json]:
    """Return what a run's summary keeps of the packs that it found damaged."""
    return {"damaged_packs": list(names[:_MOST_KEPT]), "damaged_packs_total": len(names)}


def read_report(report: Path | None) -> frozenset[PackId]:
    """Read the packs out of what `backup verify --json` or `drill run --json` printed."""
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
            f"report {report}: it names no damaged packs. Give what `standfast backup verify "
            "--read --json` printed."
        ) from error


def _packs(names: Sequence[object]) -> frozenset[PackId]:
    return frozenset(pack for name in names if (pack := pack_in(str(name))) is not None)
