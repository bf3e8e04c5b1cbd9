"""Source of evidence from the output of listed commands.

Rules
- Only the commands in the configuration run, without a shell, one after the other in the order of
  the list.
- The output of commands is volatile, so evidence is collected from this source first (RFC 3227
  2.1).
- The output of each command is a file of its own. A command that fails is in the manifest (the
  signed list of collected items) with its status, and the next commands run nevertheless.
"""

from pathlib import Path

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.program_output import OutputLimits, capture_output
from standfast.adapters.evidence_sources.sealed_source import (
    Collected,
    SealedSource,
    SourceContext,
)
from standfast.config.sections.evidence_sources import CommandsEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.item_file import ItemFolder


class CommandsEvidence(SealedSource):
    """Evidence source for the output of commands on this machine."""

    def __init__(self, name: str, settings: CommandsEvidenceConfig, context: SourceContext) -> None:
        super().__init__(name, context)
        self._settings = settings

    def _scope(self) -> str:
        for program in (argv[0] for argv in self._settings.commands):
            if not Path(program).exists():
                raise Unavailable(f"{program}: does not exist. Install it, or correct its path.")
        shown = "; ".join(" ".join(argv) for argv in self._settings.commands)
        return f"run and seal the output of: {shown}"

    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        settings = self._settings
        limits = OutputLimits(seconds=settings.timeout_seconds, mib=settings.limit_mib)
        items = [
            item
            for number, argv in enumerate(settings.commands, start=1)
            for item in capture_output(
                argv, files, f"/{number:02}-{Path(argv[0]).name}.output", limits
            )
        ]
        return Collected(
            items=tuple(items), paths=tuple(" ".join(argv) for argv in settings.commands)
        )
