"""Audiences from SCIM and recovery points, in an installation."""

import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ConfigurationError, Damaged, UsageError
from standfast.ledger.incidents.incident_facts import Statement
from standfast.usecases.backups import backup_run
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.audience_snapshots import file_before, incident_time
from tests.kill.tracing import in_own_process
from tests.usecases import backup_installation
from tests.usecases.conftest import Centre
from tests.usecases.installations import installation_at

AUDIENCES = """
[drills]
identity = "file:offline/custodian.txt"

[audiences.then]
kind = "backup"
set = "main"
path = "crm/crm.db"
query = "SELECT name || '@x.test' AS address, id AS key FROM customers"
why = "was a customer when it happened"

[audiences.notes]
kind = "backup"
set = "main"
path = "recordings/notes.txt"
columns = { address = "the customer rang twice" }
why = "x"
"""


def ready(folder: Path) -> Path:
    config_file = backup_installation.furnish(folder, AUDIENCES)
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.execute("UPDATE customers SET name = 'c' || id")
    return config_file


def names(installation: Installation) -> set[str]:
    return {one.address for one in installation.reading_adapters().audience("then").recipients}


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "audience-" in path.name]


def test_snapshot_reads_earlier_customers_and_cleans_up(tmp_path: Path) -> None:
    config_file = ready(tmp_path)
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        before = datetime.now(UTC)
        with closing(sqlite3.connect(tmp_path / "crm.db")) as crm, crm:
            crm.execute("DELETE FROM customers WHERE id > 1")
        backup_run.run_backup(installation, "main", "direct")
        assert names(installation) == {"c1@x.test"}
        with file_before(installation, before, "main", "crm/crm.db") as file:
            with closing(sqlite3.connect(file)) as crm:
                assert crm.execute("SELECT count(*) FROM customers").fetchone() == (20,)
            assert file.parent.parent.parent.stat().st_mode & 0o77 == 0
            assert not list(file.parent.parent.glob("recordings/**/*.wav"))
        assert not left_behind(tmp_path)
        assert installation.reading_adapters().audience("notes").rows == 0
        assert not left_behind(tmp_path)


def test_dead_restore_is_removed_and_live_kept(
    tmp_path: Path,
) -> None:
    """Customers' data must not remain, nor disappear from a running reader."""
    config_file = ready(tmp_path)
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        assert in_own_process(_die_reading, config_file) == -signal.SIGKILL
        (left,) = left_behind(tmp_path)
        assert (left / "tree" / "crm" / "crm.db").exists()
        of_another_machine = left.with_name(".main.audience-1-elsewhere-1")
        of_another_machine.mkdir()
        with file_before(installation, datetime.now(UTC), "main", "crm/crm.db") as file:
            assert not left.exists()
            # The restore belongs to another process.
            assert names(installation) == {f"c{n}@x.test" for n in range(1, 21)}
            assert file.exists()
        assert left_behind(tmp_path) == [of_another_machine]


def _die_reading(config_file: Path) -> None:
    with (
        backup_installation.installation_at(config_file) as installation,
        file_before(installation, datetime.now(UTC), "main", "crm/crm.db"),
    ):
        os.kill(os.getpid(), signal.SIGKILL)


def test_missing_earlier_point_is_an_error(tmp_path: Path) -> None:
    config_file = ready(tmp_path)
    before = datetime.now(UTC)
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        with (
            pytest.raises(ConfigurationError, match="no complete recovery point"),
            file_before(installation, before, "main", "crm/crm.db"),
        ):
            pytest.fail("a file was given")


def test_incomplete_point_uses_the_one_before(tmp_path: Path) -> None:
    """A source that was not read may have half a file, and half the customers."""
    config_file = ready(tmp_path)
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        (tmp_path / "recordings" / "notes.txt").write_text("nobody rang\n")
        (tmp_path / "crm.db").unlink()
        backup_run.run_backup(installation, "main", "direct")
        with file_before(installation, datetime.now(UTC), "main", "recordings/notes.txt") as file:
            assert file.read_text() == "the customer rang twice\n"


def test_incompletely_restored_file_is_no_audience(tmp_path: Path) -> None:
    config_file = ready(tmp_path)
    path = "recordings/2026/call-1.wav"
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        backup_installation.damage_a_pack(tmp_path)
        with (
            pytest.raises(Damaged, match=": damaged"),
            file_before(installation, datetime.now(UTC), "main", path),
        ):
            pytest.fail("a file was given")
    assert not left_behind(tmp_path)


def test_link_in_a_point_is_not_followed(
    tmp_path: Path,
) -> None:
    config_file = ready(tmp_path)
    (tmp_path / "recordings" / "now.db").symlink_to(tmp_path / "crm.db")
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        with (
            pytest.raises(ConfigurationError, match=r"no file recordings/now\.db"),
            file_before(installation, datetime.now(UTC), "main", "recordings/now.db"),
        ):
            pytest.fail("a file was given")


def test_a_path_is_a_name_and_no_pattern(tmp_path: Path) -> None:
    config_file = ready(tmp_path)
    (tmp_path / "recordings" / "list [1].csv").write_text("meant\n")
    (tmp_path / "recordings" / "list 1.csv").write_text("another\n")
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        with file_before(
            installation, datetime.now(UTC), "main", "recordings/list [1].csv"
        ) as file:
            assert file.read_text() == "meant\n"
            assert [one.name for one in file.parent.iterdir()] == ["list [1].csv"]


def test_missing_file_in_point_is_named(tmp_path: Path) -> None:
    config_file = ready(tmp_path)
    with backup_installation.installation_at(config_file) as installation:
        backup_run.run_backup(installation, "main", "direct")
        with (
            pytest.raises((ConfigurationError, UsageError), match="standfast backup ls host-1"),
            file_before(installation, datetime.now(UTC), "main", "crm/other*.db"),
        ):
            pytest.fail("a file was given")
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("name", ["detection", "suspicion"])
def test_default_time_is_the_awareness(centre: Centre, name: str) -> None:
    incident_id = centre.open("account-takeover", "agents:none")
    opened = centre.installation.ledger.incidents.get(incident_id).opened_at
    noticed = opened - timedelta(hours=5)
    statement = Statement(kind=FactKind.TIME, name=name, at=noticed, reference="log")
    centre.installation.ledger.facts.state(
        incident_id, statement, "dana", centre.installation.clock()
    )
    assert incident_time(centre.installation, incident_id) == noticed


def test_incident_time_is_the_earliest_known(centre: Centre) -> None:
    incident_id = centre.open("account-takeover", "agents:none")
    opened = centre.installation.ledger.incidents.get(incident_id).opened_at
    assert incident_time(centre.installation, incident_id) == opened
    happened = opened - timedelta(days=3)
    statement = Statement(kind=FactKind.TIME, name="occurrence", at=happened, reference="log")
    centre.installation.ledger.facts.state(
        incident_id, statement, "dana", centre.installation.clock()
    )
    assert incident_time(centre.installation, incident_id) == happened


def test_disabled_users_are_not_notified(centre: Centre) -> None:
    for name, is_active in (("ana", True), ("ben", False)):
        centre.scim._ask(
            "POST",
            "/Users",
            json={
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": name,
                "displayName": name.title(),
                "active": is_active,
                "emails": [{"value": f"{name}@example.com", "primary": True}],
            },
        )
    text = centre.config_file.read_text()
    centre.config_file.write_text(
        text + '\n[audiences.everybody]\nkind = "scim"\ndirectory = "agents"\nwhy = "works here"\n'
    )
    with installation_at(centre.config_file, token=centre.scim.token) as installation:
        found = installation.reading_adapters().audience("everybody")
    assert [(one.address, one.name) for one in found.recipients] == [("ana@example.com", "Ana")]
    assert [one.reason for one in found.rejected] == ["the account is disabled in the directory"]
    with centre.config_file.open("a") as file:
        file.write("includes_disabled = true\n")
    with installation_at(centre.config_file, token=centre.scim.token) as installation:
        found = installation.reading_adapters().audience("everybody")
    assert [one.name for one in found.recipients] == ["Ana", "Ben"]
    ben = found.recipients[1].key
    (centre.config_file.parent / "never.csv").write_text(
        f"who,why\nANA@example.com,asked\n{ben},\n"
    )
    with centre.config_file.open("a") as file:
        file.write('suppress = "never.csv"\n')
    with installation_at(centre.config_file, token=centre.scim.token) as installation:
        found = installation.reading_adapters().audience("everybody")
    assert (len(found.recipients), len(found.suppressed), found.ineffective_entries) == (0, 2, 0)
