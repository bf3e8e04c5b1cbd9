"""Notes of an incident, in timeline, report and export; sealed files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, Refused, StandfastError, UsageError
from standfast.evidence import standfast_verify
from standfast.ledger.incidents.incident_notes import IncidentNotes
from standfast.records import Mode
from standfast.reports.html_page import incident_page
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import verify_frozen
from standfast.usecases.evidence.incident_notes import add_note
from standfast.usecases.incidents.lifecycle import close, open_incident
from standfast.usecases.reports.audit_export import export_timeline
from standfast.usecases.reports.result_pages import incident_report
from tests.usecases.installations import enrol_people, furnish, installation_at


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_at(furnish(tmp_path)) as opened:
        enrol_people(opened)
        yield opened


def opened(installation: Installation, mode: Mode = Mode.LIVE) -> str:
    inputs = {"accounts": ["agent01"]}
    return open_incident(installation, "lock", inputs, mode=mode, opened_by="dana").incident


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    file = tmp_path / "letter.txt"
    file.write_text("We have your data.")
    return file


def test_note_is_in_timeline_and_report(installation: Installation) -> None:
    incident = opened(installation)
    add_note(installation, incident, " Caller: alice@example.net <b>rang</b> ", by="lee")
    close(installation, incident, by="dana")
    add_note(installation, incident, "After the close.", by="dana")
    report = incident_report(installation, incident)
    assert [(line.actor, line.action) for line in report.events if "note" in line.action] == [
        ("lee", "added note 1"),
        ("dana", "added note 2"),
    ]
    page = incident_page(report)
    assert "Caller: a***@example.net &lt;b&gt;rang&lt;/b&gt;" in page
    assert "alice" not in page
    assert installation.ledger.audit.verify().is_whole


def test_files_are_sealed_and_exported(
    installation: Installation, letter: Path, tmp_path: Path
) -> None:
    incident = opened(installation)
    added = add_note(installation, incident, "A demand.", [letter], by="lee")
    assert (added.note.files, added.problems) == (1, ())
    assert verify_frozen(installation, incident).exit_status is ExitStatus.DONE
    exported = export_timeline(installation, incident, tmp_path / "out")
    evidence = installation.config.custody.folder / incident
    asked = [
        *(str(evidence), "--timeline", str(exported.timeline)),
        *("--witness", str(installation.config.ledger.witness)),
        *("--ledger-key", exported.ledger_key, "--seal-key", exported.seal_key),
    ]
    assert standfast_verify.main(asked) == 0
    copy = evidence / added.note.folder / "files" / str(letter).lstrip("/")
    copy.write_text("Nothing.")
    assert standfast_verify.main(asked) == ExitStatus.DAMAGED
    assert verify_frozen(installation, incident).exit_status is ExitStatus.DAMAGED


def test_lost_folder_of_a_note_is_named(installation: Installation, letter: Path) -> None:
    incident = opened(installation)
    folder = add_note(installation, incident, "A demand.", [letter], by="lee").note.folder
    place = installation.config.custody.folder / incident / folder
    place.rename(place.with_suffix(".partial"))
    assert verify_frozen(installation, incident).exit_status is ExitStatus.DAMAGED


def test_repeat_completes_an_interrupted_note(
    installation: Installation, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = opened(installation)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(IncidentNotes, "add", die)
        with pytest.raises(KeyboardInterrupt):
            add_note(installation, incident, "A demand.", [letter], by="lee")
    for _ in range(2):
        added = add_note(installation, incident, "A demand.", [letter], by="lee")
    assert (added.note.number, len(installation.ledger.notes.of_incident(incident))) == (1, 1)
    notes = installation.config.custody.folder / incident / "notes"
    assert [place.name for place in notes.iterdir()] == [added.note.folder.partition("/")[2]]
    assert verify_frozen(installation, incident).exit_status is ExitStatus.DONE


def test_unusable_notes_record_nothing(
    installation: Installation, letter: Path, tmp_path: Path
) -> None:
    incident, played = opened(installation), opened(installation, Mode.EXERCISE)
    with pytest.raises(UsageError):
        add_note(installation, incident, "  \n")
    with pytest.raises(UsageError):
        add_note(installation, incident, "x" * 10_001)
    with pytest.raises(UsageError):
        add_note(installation, incident, "A letter.", [tmp_path / "missing"])
    with pytest.raises(Refused):
        add_note(installation, played, "A letter.", [letter])
    installation.config.custody.key.unlink()
    with pytest.raises(StandfastError):
        add_note(installation, incident, "A letter.", [letter])
    assert (
        installation.ledger.notes.of_incident(incident)
        == installation.ledger.notes.of_incident(played)
        == []
    )
