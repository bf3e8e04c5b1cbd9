"""Notes of people about an incident: a text and sealed files.

Rules
- The files of a note are copied and sealed (signed) as evidence of the source `notes`. After that,
  one transaction adds the note and the hash of the seal to the ledger (the installation's
  database). If a crash interrupts this, the repeated command completes the same note.
- The text is encrypted in the ledger. In the report of the incident, numbers and mail addresses in
  the text are masked.
- Only a note of a live incident can have files. An exercise collects no evidence.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import Refused, StandfastError, UsageError
from standfast.host_name import host_name
from standfast.ledger.incidents.incident_notes import Note
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.records import EffectState, Json, JsonObject, Mode, Order, digest
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import copy_each, second_location

SOURCE = "notes"
LONGEST = 10_000  # characters of a note; a longer text is added as a file
_TOKEN_HEX = 32


@dataclass(frozen=True, kw_only=True)
class AddedNote:
    """A note in the ledger, and the problems of its files."""

    note: Note
    problems: tuple[str, ...] = ()


def add_note(
    installation: Installation,
    incident_id: str,
    text: str,
    files: Sequence[Path] = (),
    *,
    by: str | None = None,
) -> AddedNote:
    """Add a note to an incident, open or closed; seal its files.

    `by` is the person that signed in. If it is None, the user of the operating system is the
    author. Raise UsageError for an empty or too long text, or a file that does not exist.
    """
    row = installation.ledger.incidents.get(incident_id)
    author, text = by or installation.actor, text.strip()
    if not text:
        raise UsageError("note: it has no text. Write what the note says.")
    if len(text) > LONGEST:
        raise UsageError(f"note: longer than {LONGEST:,} characters. Add the text with --file.")
    if not files:
        note = installation.ledger.notes.add(
            incident_id, text, author=author, now=installation.clock()
        )
        return AddedNote(note=note)
    if row.mode is not Mode.LIVE:
        raise Refused(
            f"incident {incident_id}: not live, so it freezes no files. Add the note without files."
        )
    for file in files:
        if not os.path.lexists(file):
            raise UsageError(f"{file}: not found. Name the files of the note with --file.")
    return _with_files(installation, incident_id, text, files, author)


def _with_files(
    installation: Installation, incident_id: str, text: str, files: Sequence[Path], author: str
) -> AddedNote:
    """Seal the files, commit the note, then copy the folder to the bucket."""
    config, clock = installation.config, installation.clock
    paths = [file.absolute() for file in files]
    token = _token(incident_id, author, text, paths)
    folder = f"{SOURCE}/{token}"
    custody = Custody(
        incident=incident_id,
        collector=author,
        reason=f"incident {incident_id}, note",
        folder=config.custody.folder / incident_id,
    )
    source = FilesEvidence(
        SOURCE,
        FilesEvidenceConfig(kind="files", paths=tuple(paths)),
        SourceContext(
            signing_key=read_signing_key(config.custody.key),
            clock=clock,
            custodians=config.custody.custodians,
            key_copies=config.custody.key_copies,
            reveal=lambda reference: installation.resolver.resolve(reference).reveal(),
        ),
    )
    result = source.collect(Order(token=token, verb=SNAPSHOT, target=folder), custody)
    if result.state is not EffectState.DONE:
        raise StandfastError(f"files of the note: not frozen, {result.reason}. Nothing was added.")
    facts = result.facts
    seal: dict[str, Json] = {
        "folder": folder,
        "manifest": facts["manifest"],
        "custody": _newest_line(facts, folder),
        "host": host_name(),
    }
    note = installation.ledger.notes.add(
        incident_id,
        text,
        author=author,
        now=clock(),
        files=int(str(facts["files"])),
        folder=folder,
        seal=seal,
    )
    problems = [f"files of the note: {result.reason}"] if facts["unread"] else []
    return AddedNote(note=note, problems=(*problems, *_copy_problems(installation, custody, token)))


def _token(incident_id: str, author: str, text: str, paths: Sequence[Path]) -> str:
    """Return the name of the sealed folder, equal for a repeated command."""
    stats = [path.lstat() for path in paths]
    content: list[Json] = [
        f"{path} {found.st_size} {found.st_mtime_ns}"
        for path, found in zip(paths, stats, strict=True)
    ]
    return digest([incident_id, author, text, content])[:_TOKEN_HEX]


def _newest_line(facts: JsonObject, folder: str) -> JsonObject:
    """Return the hash of the newest line of the folder's chain of custody."""
    lines = facts.get("custody")
    return {folder: lines[-1]} if isinstance(lines, list) and lines else {}


def _copy_problems(installation: Installation, custody: Custody, token: str) -> list[str]:
    """Copy the folder to a configured bucket; return the problems."""
    config = installation.config
    to = second_location(config, installation.resolver, installation.clock)
    if to is None:
        return []
    folder = custody.folder / SOURCE / token
    try:
        copied = list(copy_each(config, to, [folder], installation.actor, installation.clock))
    except StandfastError as error:
        return [f"files of the note: not copied, {error}"]
    problems = [folder_copy.problem for folder_copy in copied if folder_copy.problem]
    return [f"files of the note: not copied, {problem}" for problem in problems]
