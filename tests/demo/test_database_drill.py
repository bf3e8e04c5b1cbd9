"""The demo loads a PostgreSQL dump in a drill, or reports why not."""

import io
from pathlib import Path

import pytest

from backup.sources.client_programs import ProgramFailed
from demo import database_drill
from demo.database_drill import drill_database
from demo.tour_output import TourOutput
from standfast.usecases.drills.throwaway.postgresql import PostgresqlPrograms
from tests.servers import need
from tests.usecases.drills.database_installation import working_folders

pytestmark = pytest.mark.xdist_group("databases")


def shown() -> str:
    """Return the output of the drill."""
    output = io.StringIO()
    drill_database(TourOutput(out=output))
    return output.getvalue()


def test_dump_is_loaded_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("initdb", "apt-get install postgresql")
    tmp_path.chmod(0o711)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert "A PostgreSQL dump was loaded" in shown()
    assert working_folders(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path | None) -> list[PostgresqlPrograms]:
        raise ProgramFailed("initdb is not installed")

    monkeypatch.setattr(database_drill, "installed_programs", missing)
    assert "initdb" in shown()
