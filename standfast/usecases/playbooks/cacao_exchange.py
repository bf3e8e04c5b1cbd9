"""Import and export of files in CACAO, a standard format for playbooks.

A playbook is the file that describes the response to one kind of incident.

Rules
- An existing file is never overwritten, because an edited playbook would be lost.
- An imported playbook is checked: the names in it, for example of commands, must exist in the
  configuration. The file is written even if there are problems, and a person corrects them in the
  file. Until then, no incident can be opened with the playbook.
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
    """The result of an import."""

    playbook: Playbook
    file: Path
    warnings: tuple[str, ...]  # steps that people do, and steps with a call that must be configured
    problems: tuple[Problem, ...]  # names that are not configured here, with lines of the new file


def import_cacao_playbook(config: Config | None, source: Path, to: Path) -> ImportedPlaybook:
    """Convert a CACAO file to a playbook file.

    Raise PlaybookInvalid if the file cannot be converted, UsageError if `to` exists.
    """
    _refuse_to_overwrite(to)
    imported = import_cacao(library.text_of(source), str(source))
    playbook = load(imported.text, str(to))
    _write(to, imported.text)
    return ImportedPlaybook(
        playbook=playbook,
        file=to,
        warnings=imported.warnings,
        problems=tuple(check(playbook, library.known_names(config))),
    )


def export_cacao_playbook(config: Config | None, name: str, to: Path, now: datetime) -> Playbook:
    """Write a playbook as a CACAO file."""
    _refuse_to_overwrite(to)
    playbook = library.read(library.find_file(config, name))
    _write(to, export_cacao(playbook, now))
    return playbook


def _refuse_to_overwrite(to: Path) -> None:
    if to.exists():
        raise UsageError(f"{to}: it exists already. Name a new file with --to.")


def _write(to: Path, text: str) -> None:
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StandfastError(
            f"{to}: cannot be written: {error.strerror}. Name another file."
        ) from None
