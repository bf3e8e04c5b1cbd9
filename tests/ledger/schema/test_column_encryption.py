"""Sealed columns: bound to their row, with keys outside the ledger."""

import os
import stat
import threading
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError, Damaged, Unavailable
from standfast.ledger import Ledger
from standfast.ledger.schema.column_encryption import INSTALLATION, ColumnCipher
from standfast.ledger.schema.tables import effect, incident
from standfast.records import JsonObject
from tests.ledger import story
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import REVOKE, begin, drafts, open_incident
from tests.servers import refused_to_root
from tests.usecases.backup_installation import full_disk


@pytest.fixture
def cipher(tmp_path: Path) -> ColumnCipher:
    cipher = ColumnCipher(tmp_path / "keys")
    cipher.create(INSTALLATION)
    return cipher


def test_sealed_value_opens_in_its_context(cipher: ColumnCipher) -> None:
    value: JsonObject = {
        "target": "agents:zoë",
        "details": {"minutes": 5, "none": None, "list": [True]},
    }
    assert cipher.open(INSTALLATION, "effect", cipher.seal(INSTALLATION, "effect", value)) == value


def test_sealing_twice_never_looks_the_same(cipher: ColumnCipher) -> None:
    assert cipher.seal(INSTALLATION, "c", {"a": 1}) != cipher.seal(INSTALLATION, "c", {"a": 1})


def test_value_opens_only_in_its_column(cipher: ColumnCipher) -> None:
    with pytest.raises(Damaged, match="audit verify"):
        cipher.open(INSTALLATION, "effect.prior", cipher.seal(INSTALLATION, "effect", {"a": 1}))


def test_value_opens_only_under_its_key(cipher: ColumnCipher) -> None:
    cipher.create("inc-1")
    with pytest.raises(Damaged, match="'inc-1'"):
        cipher.open("inc-1", "effect", cipher.seal(INSTALLATION, "effect", {"a": 1}))


def test_changed_or_cut_value_does_not_open(
    cipher: ColumnCipher,
) -> None:
    sealed = cipher.seal(INSTALLATION, "effect", {"a": 1})
    broken = [sealed[:cut] for cut in range(len(sealed))]
    broken += [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))
    ]
    for value in broken:
        with pytest.raises(Damaged):
            cipher.open(INSTALLATION, "effect", value)


def test_handle_finds_a_name_under_its_key(
    cipher: ColumnCipher,
) -> None:
    cipher.create("inc-1")
    assert cipher.handle(INSTALLATION, "alice") == cipher.handle(INSTALLATION, "alice")
    others = {cipher.handle(INSTALLATION, "alicf"), cipher.handle("inc-1", "alice")}
    assert cipher.handle(INSTALLATION, "alice") not in others


def test_key_files_are_for_their_owner_alone(ledger: Ledger, place: Place) -> None:
    open_incident(ledger)
    files = sorted(place.keys.iterdir())
    assert [path.name for path in files] == ["inc-2026-0001.key", "installation.key"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert stat.S_IMODE(place.keys.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_key_created_by_root_belongs_to_user(cipher: ColumnCipher, tmp_path: Path) -> None:
    os.chown(tmp_path / "keys", 65534, 65533)
    cipher.create("inc-1")
    made = (tmp_path / "keys" / "inc-1.key").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (65534, 65533, 0o600)


def test_key_is_created_once(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        together = threading.Barrier(4)
        ciphers = [ColumnCipher(folder) for _ in range(4)]

        def make(cipher: ColumnCipher, together: threading.Barrier = together) -> None:
            together.wait(timeout=60)
            cipher.create(INSTALLATION)

        threads = [threading.Thread(target=make, args=(cipher,)) for cipher in ciphers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [path.name for path in folder.iterdir()] == ["installation.key"]
        assert len({cipher.handle(INSTALLATION, "alice") for cipher in ciphers}) == 1


def test_missing_or_cut_key_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with pytest.raises(ConfigurationError, match=r"`ledger\.keys`"):
        ColumnCipher(folder).handle(INSTALLATION, "alice")
    ColumnCipher(folder).create(INSTALLATION)
    (folder / "installation.key").write_bytes(b"short")
    with pytest.raises(Damaged, match=r"incomplete. Restore the file installation\.key"):
        ColumnCipher(folder).handle(INSTALLATION, "alice")


def test_full_disk_leaves_no_half_key(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with full_disk(folder, "16k") as is_full:
        if not is_full:
            refused_to_root("no file system may be mounted here")
        cipher = ColumnCipher(folder)
        with pytest.raises(OSError, match="No space"):
            (folder / "fill").write_bytes(bytes(32 * 1024))
        with pytest.raises(Unavailable, match="No space left on device"):
            cipher.create("inc-1")
        assert [path.name for path in folder.iterdir()] == ["fill"]
        (folder / "fill").unlink()
        cipher.create("inc-1")
        assert cipher.handle("inc-1", "alice")


@pytest.mark.parametrize("scope", ["", "../other", "a/b", "A", "x" * 65])
def test_invalid_scope_is_refused(cipher: ColumnCipher, scope: str) -> None:
    with pytest.raises(ValueError, match="not a scope"):
        cipher.create(scope)


def test_erased_key_erases_only_its_customers(ledger: Ledger, place: Place) -> None:
    told = story.tell(ledger)
    other = open_incident(ledger)
    ledger.steps.expand(other, "tell", 1, story.EXPANSION, "olga", NOW)
    ledger.cipher.erase(told)
    assert ledger.audit.verify().findings == ()
    customers = effect.c.incident == told, effect.c.verb == "notices.send"
    accounts = effect.c.incident == told, effect.c.verb == "accounts.lock"
    with pytest.raises(ConfigurationError, match="erased"):
        ledger.effects.find(*customers)
    with place.opened() as again, pytest.raises(ConfigurationError, match="erased"):
        again.effects.find(*customers)
    assert {row.target.partition(":")[2] for row in ledger.effects.find(*accounts)} == {
        story.PERSONAL["account"],
        story.PERSONAL["unknown account"],
    }
    assert ledger.effects.of_incident(other)[0].target == f"mail:{story.PERSONAL['customer']}"


def test_target_copied_to_another_row_stays_sealed(ledger: Ledger, intruder: Intruder) -> None:
    """Otherwise an intruder could point an approved step at another person."""
    incident_id = open_incident(ledger)
    begin(ledger, incident_id, drafts(REVOKE, "alice", "bob"))
    one, other = intruder.rows(effect)
    intruder.set(effect, one, sealed=other["sealed"])
    with pytest.raises(Damaged, match="audit verify"):
        ledger.effects.of_incident(incident_id)


def test_inputs_copied_into_another_incident_do_not_open(
    ledger: Ledger, intruder: Intruder
) -> None:
    for _ in range(2):
        open_incident(ledger)
    one, other = intruder.rows(incident)
    intruder.set(incident, one, sealed_inputs=other["sealed_inputs"])
    with pytest.raises(Damaged, match="audit verify"):
        ledger.incidents.get(one["id"])
