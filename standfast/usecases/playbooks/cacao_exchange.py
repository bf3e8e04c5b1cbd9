"""CACAO files as a use-case: brought in as a playbook of this place, and handed out.

Rules
- A file that is there already is never written over: an edited playbook would be lost.
- What is brought in is checked against this place. What does not fit is told and written all the
  same: it is mended in the file, and until then the step is refused by its name when planned.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from standfast.config import Config
from standfast.errors import Problem, StandfastError, UsageError
from standfast.playbook.cacao.exporter import export_cacao
from standfast.playbook.cacao.importer import import_cacao
from standfast.playbook.model import Playbook
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.validation.playbook_rules import check
from standfast.usecases.playbooks import library


@dataclass(frozen=True, kw_only=True)
class ImportedPlaybook:
    """What an import came to."""

    playbook: Playbook
    file: Path
    warnings: tuple[str, ...]  # what is carried by hand, or must be allowed first
    problems: tuple[Problem, ...]  # what this place lacks, by the line of the new file


def import_cacao_playbook(config: Config | None, source: Path, to: Path) -> ImportedPlaybook:
    """Write a CACAO file as a playbook of ours; PlaybookInvalid says why it cannot be one."""
    _refuse_to_overwrite(to)
    imported = import_cacao(library.text_of(source), str(source))
    playbook = load(imported.text, str(to))
    _write(to, imported.text)
    return ImportedPlaybook(
        playbook=playbook,
        file=to,
        warnings=imported.warnings,
        problems=tuple(check(playbook, library.known(config))),
    )


def export_cacao_playbook(config: Config | None, name: str, to: Path, now: datetime) -> Playbook:
    """Write a playbook as a CACAO file."""
    _refuse_to_overwrite(to)
    playbook = library.read(library.named(config, name))
    _write(to, export_cacao(playbook, now))
    return playbook


def _refuse_to_overwrite(to: Path) -> None:
    if to.exists():
        raise UsageError(f"{to} is there already; name a new file with --to")


def _write(to: Path, text: str) -> None:
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StandfastError(
            f"{to} cannot be written: {error.strerror}; name another file"
        ) from None
