"""Restore with the vault, any copy of the key records, and an identity."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from standfast.adapters.factory import Adapters
from standfast.config import load
from standfast.secrets import SystemResolver
from standfast.usecases.core.installation import system_clock
from standfast.usecases.health.check_results import CheckInputs
from standfast.usecases.health.recovery_checks import CHECKS
from tests.backup.owner_site import new_person
from tests.backup.trees import describe
from tests.cli.desk import Desk

RECORDS = "keys/store/k/main/0000000000"
STAND_IN = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000"

[backup]
vault = "{vault}"
"""


@pytest.fixture
def owner_key(installation: Path) -> tuple[str, str]:
    return ("--owner-key", str(installation / "offline/owner.json"))


@pytest.fixture
def saved(desk: Desk, installation: Path) -> Path:
    """A folder with `vault` and `offline`, the rest of an installation."""
    assert desk.run("backup", "run").status == 0
    saved = desk.folder / "saved"
    saved.mkdir()
    for name in ("vault", "offline"):
        shutil.move(installation / name, saved / name)
    shutil.rmtree(installation)
    return saved


def recovery(desk: Desk) -> list[tuple[str, str]]:
    """Return the result of this part of the check alone.

    A whole check would take two seconds more.
    """
    config = load(desk.folder / "place/standfast.toml")
    inputs = CheckInputs(
        config=config,
        resolver=SystemResolver(env={}, base_dir=config.folder),
        clock=system_clock,
        ledger=None,
        adapters=cast("Adapters", None),
    )
    return [(one.verdict.value, one.found) for one in CHECKS["recovery"](inputs)]


def stick(desk: Desk, name: str) -> Path:
    """Return a new copy of the key records under a name."""
    folder = desk.folder / name
    desk.json("backup", "keys", "copy", folder, "--name", name)
    return folder


def test_break_glass_restores_from_vault_and_offline_folder(desk: Desk, saved: Path) -> None:
    command = [sys.executable, "-P", "break_glass.py", "../vault", ".", "identity.txt", "../out"]
    done = subprocess.run(command, cwd=saved / "offline", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert describe(saved / "out/source") == describe(desk.folder / "source")


def test_command_line_restores_from_vault_and_offline_folder(desk: Desk, saved: Path) -> None:
    stand_in = desk.folder / "stand-in/standfast.toml"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(vault=saved / "vault"))
    words = ("restore", "latest", "--to", "out", "--identity", saved / "offline/identity.txt")
    answer = desk.run("-c", stand_in, "backup", *words)
    assert answer.status == 0, answer
    assert describe(desk.folder / "out/source") == describe(desk.folder / "source")


def test_readable_identity_is_warned_of(
    desk: Desk, installation: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk.run("backup", "run")
    identity = installation / "offline/identity.txt"
    words = ("backup", "ls", "latest", "--identity", identity)
    assert (desk.run(*words).status, caplog.records) == (0, [])
    identity.chmod(0o644)
    assert desk.run(*words).status == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_backup_without_its_key_record_ends_damaged(desk: Desk, installation: Path) -> None:
    (record,) = (installation / RECORDS).iterdir()
    record.unlink()
    document = desk.json("backup", "run")
    assert document["exit_status"] == 6
    (made,) = document["backups"]
    assert (made["point"], made["is_key_missing"]) == ("host-1/0000000001", True)
    assert "fail" in dict(recovery(desk))
    restored = desk.json("backup", "keys", "copy", installation / "offline")["restored"]
    assert restored == ["k/main/0000000000/0000000000"]
    assert desk.json("backup", "run")["exit_status"] == 0


def test_damaged_key_record_is_replaced_from_a_copy(desk: Desk, installation: Path) -> None:
    (record,) = (installation / RECORDS).iterdir()
    record.chmod(0o600)
    record.write_bytes(record.read_bytes()[:-1])
    assert desk.json("backup", "run")["exit_status"] == 6
    assert desk.json("backup", "keys", "copy", installation / "offline")["restored"]
    assert desk.json("backup", "run")["exit_status"] == 0


def test_owner_operation_updates_copy_beside_its_key(
    desk: Desk, installation: Path, owner_key: tuple[str, str]
) -> None:
    desk.json("backup", "owner", "add-domain", "hr", *owner_key)
    desk.json("backup", "owner", "new-generation", "main", *owner_key)
    store, offline = describe(installation / "keys/store/k"), describe(installation / "offline/k")
    records = [path for path in store if not path.startswith(b".") and b"000" in path]
    assert len([path for path in records if path.count(b"/") == 2]) == 3
    assert set(records) <= set(offline)


def test_copy_that_lags_behind_is_named(
    desk: Desk, installation: Path, owner_key: tuple[str, str]
) -> None:
    safe = stick(desk, "safe")
    away = safe.rename(desk.folder / "away")
    assert not [found for _, found in recovery(desk) if "copy safe" in found]
    desk.json("backup", "owner", "new-generation", "main", *owner_key)
    (lagging,) = [
        found for verdict, found in recovery(desk) if verdict == "warn" and "safe" in found
    ]
    assert "main/1" in lagging
    assert desk.json("backup", "keys", "copy", away)["copy"] == "safe"
    assert not [found for verdict, found in recovery(desk) if verdict == "warn" and "safe" in found]


def test_one_known_copy_is_a_warning(desk: Desk, installation: Path) -> None:
    assert not [found for _, found in recovery(desk) if "only one copy" in found]
    shutil.rmtree(installation / "offline")
    desk.json("backup", "keys", "forget", "offline")
    assert [verdict for verdict, found in recovery(desk) if "only one copy" in found] == ["warn"]
    stick(desk, "safe")
    assert not [found for _, found in recovery(desk) if "only one copy" in found]


def test_three_things_are_named_for_a_restore(desk: Desk, installation: Path) -> None:
    copies = ["key store of host-1", "offline"]
    assert desk.json("status")["restore_takes"] == {
        "vault": str(installation / "vault"),
        "key_records": copies,
        "identity": "a custodian's",
    }
    (card,) = [desk.json("backup", "card")]
    named = [one["store"].strip() for one in card["stores"]]
    assert [name for name in named if "copy" in name] == ["copy: offline"]
    assert [name[:2] for name in named if name[0].isdigit()] == ["1.", "2.", "3."]
    ((verdict, found),) = [one for one in recovery(desk) if "three things" in one[1]]
    assert (verdict, all(name in found for name in (*copies, str(installation / "vault")))) == (
        "ok",
        True,
    )


def test_erasure_names_copies_with_the_keys(
    desk: Desk, installation: Path, owner_key: tuple[str, str]
) -> None:
    desk.json("backup", "owner", "add-domain", "hr", *owner_key)
    away = stick(desk, "safe").rename(desk.folder / "away")
    with (installation / "standfast.toml").open("a") as config:
        config.write('[backup.copies.paris]\nvault = "../paris"\nkeys = "../not-mounted"\n')
    identity = ("--identity", installation / "offline/identity.txt")
    order = ("--ordered-by", "dana", "--reason", "over", "--to", "order")
    desk.json("backup", "owner", "order-erasure", "hr", *order, *owner_key)
    attestation = ("--yes", "--as", "lee", "--to", "attestation")
    desk.json("backup", "custodian", "attest", "order", *attestation, *identity)
    words = ("hr", "order", "attestation", "--certificate", "erased.json")
    erased = desk.json("backup", "owner", "erase", *words, *owner_key)
    assert [one["copy"] for one in erased["copies_to_destroy"]] == ["safe", "paris"]
    certificate = (desk.folder / "erased.json.txt").read_text()
    assert all(name in certificate for name in ("safe", "paris"))
    assert not [*(installation / "offline/k").glob("hr/*/*")]
    assert not [*(installation / "keys/store/k").glob("hr/*/*")]
    assert [verdict for verdict, found in recovery(desk) if "hr/0" in found] == ["warn"]
    assert desk.json("backup", "keys", "copy", away)["removed"] == ["k/hr/0000000000/0000000000"]
    assert not [found for _, found in recovery(desk) if "hr/0" in found]


def test_new_copy_needs_a_name(desk: Desk, installation: Path) -> None:
    assert desk.run("backup", "keys", "copy", "stick").status == 2
    assert not (desk.folder / "stick").exists()
    assert (
        desk.run("backup", "keys", "copy", installation / "keys/store", "--name", "x").status == 2
    )


def test_copy_on_disk_cannot_be_forgotten(desk: Desk, installation: Path) -> None:
    assert desk.run("backup", "keys", "forget", "nothing").status == 2
    assert desk.run("backup", "keys", "forget", "key store of host-1").status == 2


def test_copies_are_listed_with_missing_records(
    desk: Desk, installation: Path, owner_key: tuple[str, str]
) -> None:
    stick(desk, "safe").rename(desk.folder / "away")
    desk.json("backup", "owner", "add-domain", "hr", *owner_key)
    listed = {one["copy"]: one["lacks"] for one in desk.json("backup", "keys", "list")["copies"]}
    assert listed == {"key store of host-1": [], "offline": [], "safe": ["hr/0"]}


def test_leaving_of_a_custodian_names_copies_to_clean(
    desk: Desk, installation: Path, owner_key: tuple[str, str]
) -> None:
    lee, identity = new_person("Lee")[0], ("--identity", installation / "offline/identity.txt")
    words = ("add-custodian", "--recipient", lee.recipient, "--name", "Lee", *identity)
    desk.json("backup", "owner", *words, *owner_key)
    stick(desk, "safe").rename(desk.folder / "away")
    gone = desk.json("backup", "owner", "retire-custodian", "Lee", *identity, *owner_key)
    assert gone["copies_to_clean"] == ["safe"]
    removed = desk.json("backup", "keys", "copy", desk.folder / "away")["removed"]
    assert removed == ["k/main/0000000000/0000000001"]


def test_second_site_is_a_copy(desk: Desk, installation: Path) -> None:
    with (installation / "standfast.toml").open("a") as config:
        config.write('[backup.copies.paris]\nvault = "../paris"\nkeys = "../paris-keys"\n')
    desk.json("backup", "copy", "--to", "paris", "--keys")
    assert "paris" in [one["copy"] for one in desk.json("backup", "keys", "list")["copies"]]


def test_second_host_is_a_copy(desk: Desk, installation: Path) -> None:
    second = desk.folder / "two/standfast.toml"
    second.parent.mkdir()
    text = STAND_IN.format(vault=installation / "vault")
    second.write_text(text + 'writer = "desk-2"\n')
    taken = desk.json("-c", second, "backup", "keys", "copy", installation / "offline")
    assert taken["restored"] == ["k/main/0000000000/0000000000"]
    desk.json("backup", "keys", "copy", installation / "offline")
    listed = [one["copy"] for one in desk.json("backup", "keys", "list")["copies"]]
    assert "key store of desk-2" in listed
