"""Journal of systemd as evidence, in the export format.

Rules
- `journalctl` reads the journal: the export format has every field unchanged, with its binary
  values, and each entry has its cursor.
- The collection contains no entry that was written after its start, although the journal grows.
- Messages of `journalctl` mean that entries are missing: a file is damaged, or this user may not
  read the entries of other users.
"""

from datetime import datetime, timedelta
from pathlib import Path

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.program_output import OutputLimits, capture_output
from standfast.adapters.evidence_sources.sealed_source import (
    Collected,
    SealedSource,
    SourceContext,
)
from standfast.config.sections.evidence_sources import JournaldEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.item_file import ItemFolder

JOURNALCTL = "/usr/bin/journalctl"


class JournaldEvidence(SealedSource):
    """Evidence source for the journal of this machine, or of a folder."""

    def __init__(self, name: str, settings: JournaldEvidenceConfig, context: SourceContext) -> None:
        super().__init__(name, context)
        self._settings = settings

    def _scope(self) -> str:
        settings = self._settings
        folder = settings.folder
        if not Path(JOURNALCTL).exists():
            raise Unavailable(f"{JOURNALCTL}: missing. Install systemd, or remove this source.")
        if folder is not None and not folder.is_dir():
            raise Unavailable(f"journal folder {folder}: does not exist. Correct `folder`.")
        filters = ", ".join((*settings.units, *settings.matches)) or "all entries"
        return f"copy, hash and seal the journal of the last {settings.hours} hours: {filters}"

    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        settings = self._settings
        ended = self._clock()
        argv = [
            JOURNALCTL,
            "--output=export",
            "--no-pager",
            f"--since={_format_time(ended - timedelta(hours=settings.hours))}",
            f"--until={_format_time(ended)}",
            *([f"--directory={settings.folder}"] if settings.folder else []),
            *(f"--unit={unit}" for unit in settings.units),
            *settings.matches,
        ]
        limits = OutputLimits(seconds=settings.timeout_seconds, mib=settings.limit_mib)
        items = capture_output(argv, files, "/journal.export", limits, messages_mean_loss=True)
        return Collected(items=items, paths=(" ".join(argv),))


def _format_time(moment: datetime) -> str:
    return f"@{moment.timestamp():.6f}"
