"""The database alone reveals no name, address, account or text."""

import subprocess
from pathlib import Path

from standfast.ledger import Ledger
from tests.ledger import story
from tests.ledger.ledger_files import Place
from tests.servers.postgres import Postgres


def _leaks(found: bytes) -> set[str]:
    """Return the personal values that the text contains, plain or as hex."""
    found = found.lower()
    return {
        what
        for what, text in story.PERSONAL.items()
        for part in text.lower().split()
        if len(part) > 4 and (part.encode() in found or part.encode().hex().encode() in found)
    }


def test_no_personal_value_stands_in_sqlites_files(
    sqlite_ledger: Ledger, sqlite_place: Place
) -> None:
    incident = story.tell(sqlite_ledger)
    files = sorted(sqlite_place.file.parent.glob("ledger.db*"))
    assert "ledger.db-wal" in [path.name for path in files]
    found = b"".join(path.read_bytes() for path in files)
    assert incident.encode() in found  # proves that the search finds values that are not sealed
    assert _leaks(found) == set()
    assert _leaks(sqlite_place.witness.read_bytes()) == set()


def test_postgresql_dump_contains_no_personal_value(
    postgres_ledger: Ledger, postgres_server: Postgres, tmp_path: Path
) -> None:
    incident = story.tell(postgres_ledger)
    database = postgres_ledger.engine.url.database
    assert database is not None
    program, url = postgres_server.programs / "pg_dump", postgres_server.url(database, driver="")
    subprocess.run([str(program), url, "--file", str(tmp_path / "dump")], check=True)
    found = (tmp_path / "dump").read_bytes()
    assert incident.encode() in found
    assert _leaks(found) == set()


def test_keys_open_every_personal_value(ledger: Ledger) -> None:
    """The encryption loses no value."""
    incident = story.tell(ledger)
    person = ledger.people.get("zed")
    shown = [person.full_name, person.mail, *person.accounts]
    shown.append(str(ledger.incidents.get(incident).inputs))
    for row in ledger.effects.of_incident(incident):
        shown += [row.target, row.reason, str(row.details), str(row.prior), str(row.facts)]
    for listed in ledger.staff.all():
        shown += [listed.member.key, listed.member.full_name, *listed.member.accounts]
    shown += [fact.reference for fact in ledger.facts.of_incident(incident)]
    for affected in ledger.affected.lists(incident):
        shown += [str(page) for page in ledger.affected.pages(incident, affected)]
    shown += [note.text for note in ledger.notes.of_incident(incident)]
    missing = {w for w, text in story.PERSONAL.items() if not any(text in one for one in shown)}
    # The playbook lacks the step of the answer; of the message's id, the ledger has only the
    # handle.
    assert missing == {"answer", "message id"}
