"""`standfast incident note`: add a note with files, or list the notes.

Sealed files are evidence: a signature covers the list of their hashes.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import second
from standfast.plurals import counted
from standfast.records import JsonObject, timestamp

if TYPE_CHECKING:
    from standfast.ledger.incidents.incident_notes import Note


@command(
    "note",
    exits={
        ExitStatus.DONE: "the note is recorded, or the notes are listed",
        ExitStatus.FAILED: "its files cannot be copied and sealed; nothing was recorded",
        ExitStatus.USAGE: "there is no such incident or file",
        ExitStatus.PARTIAL: "the note is recorded; a file could not be read or copied",
        ExitStatus.REFUSED: "only a live incident freezes files",
    },
    example="standfast incident note 'The caller rang again.' --file call-log.txt",
)
@incident_argument
@click.argument("text", required=False, help="The text; without it, the notes are listed.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=FilePath(),
    help="A file or folder that is copied and sealed with the note; may be repeated.",
)
@sign_in_options("Sign in as this person. Default: the user that runs the command is the author.")
@click.pass_obj
def note(call: Call, incident: str | None, text: str | None, files: tuple[Path, ...]) -> ExitStatus:
    """Add a note to an incident, or list its notes.

    The timeline shows who added the note and when. The report shows its text; card numbers,
    social-security numbers and mail addresses are masked. Files are sealed as evidence, and
    `standfast evidence verify` checks them.
    """
    from standfast.usecases.evidence.incident_notes import add_note

    with open_incident(call, incident, text, takes="TEXT", least=0) as (
        installation,
        incident_id,
        rest,
    ):
        zone = installation.config.organisation.time_zone
        if not rest:
            if files:
                raise UsageError("note: the text is missing. Describe the files in a text")
            notes = installation.ledger.notes.of_incident(incident_id)
            lines = [line for listed in notes for line in _lines(listed, zone)]
            return call.print_result(
                {"incident": incident_id, "notes": [_document(listed) for listed in notes]},
                lines or [f"{incident_id} has no notes."],
            )
        added = add_note(
            installation, incident_id, rest[0], files, by=signed_in(call, installation)
        )
    sealed = f", {counted(added.note.files, 'file')} sealed" if added.note.files else ""
    return call.print_result(
        {"incident": incident_id, "note": _document(added.note), "problems": list(added.problems)},
        [f"Note {added.note.number} of {incident_id} is recorded{sealed}.", *added.problems],
        ExitStatus.PARTIAL if added.problems else ExitStatus.DONE,
    )


def _document(note: "Note") -> JsonObject:
    return {
        "number": note.number,
        "at": timestamp(note.recorded_at),
        "author": note.author,
        "text": note.text,
        "files": note.files,
        "folder": note.folder,
    }


def _lines(note: "Note", zone: str) -> list[Line]:
    sealed = f", {counted(note.files, 'file')} in {note.folder}" if note.folder else ""
    head = f"{note.number}. {second(note.recorded_at, zone)}, {note.author}{sealed}"
    return [head, *(f"   {line}" for line in note.text.splitlines())]
