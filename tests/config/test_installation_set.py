"""The backup set that `[backup.installation]` adds."""

from pathlib import Path

import pytest

from standfast.config.loader import parse
from standfast.config.sections.backup_sources import PostgresqlSourceConfig
from standfast.errors import FileInvalid

FILE = Path("/srv/standfast/standfast.toml")
ORGANISATION = '[organisation]\nname = "Example"\ncontact_line = "020 7946 0000"\n'


def test_set_has_parts_of_the_installation() -> None:
    text = f'{ORGANISATION}[backup.installation]\n[playbooks]\nfolder = "plays"\n'
    config = parse(text.encode(), FILE)
    found = {source.name: source.kind for source in config.backup.sets["installation"].sources}
    assert found == {
        "configuration": "files",
        "ledger": "sqlite",
        "ledger-keys": "files",
        "backup-host": "files",
        "evidence-key": "files",
        "playbooks": "files",
    }
    assert not parse(ORGANISATION.encode(), FILE).backup.sets


def test_ledger_on_server_is_dumped() -> None:
    text = (
        f"{ORGANISATION}[backup.installation]\n"
        '[ledger]\nurl = "postgresql+psycopg://fast@db.example.com:5433/led?sslmode=require"\n'
        'password = "env:LEDGER_PASSWORD"\n'
    )
    sources = parse(text.encode(), FILE).backup.sets["installation"].sources
    (ledger,) = [source for source in sources if isinstance(source, PostgresqlSourceConfig)]
    assert (ledger.host, ledger.port, ledger.user) == ("db.example.com", 5433, "fast")
    assert (ledger.databases, ledger.tls) == (("led",), "require")
    assert ledger.password == "env:LEDGER_PASSWORD"


def test_name_of_the_set_is_reserved() -> None:
    source = '{ kind = "files", name = "a", path = "a" }'
    text = f"{ORGANISATION}[backup.sets.installation]\nsources = [{source}]\n"
    with pytest.raises(FileInvalid):
        parse(text.encode(), FILE)


def test_drill_schedule_may_name_the_set() -> None:
    text = (
        f"{ORGANISATION}[backup.installation]\n"
        '[drills.schedule]\nset = { installation = "0 5 * * 0" }\n'
    )
    assert parse(text.encode(), FILE).drills.schedule is not None
