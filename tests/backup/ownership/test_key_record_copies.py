"""Copies of the key records: copying, restoring and removal of records."""

import os
from pathlib import Path
from typing import Any

import pytest

from backup.errors import Damaged, NotFound, UsageError
from backup.format.root_record import RootRecord
from backup.ownership.key_copy_list import read_copy_list
from backup.ownership.key_record_copies import KeyFolder, record_destroyed, record_seen, synchronize
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.domains import new_generation
from tests.backup.owner_site import KeyDrawer, OwnedSite, new_person, owned_site

FIRST, SECOND = (f"k/main/0000000000/000000000{number}" for number in (0, 1))


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    return owned_site(tmp_path / "site")


@pytest.fixture
def copy() -> KeyDrawer:
    return KeyDrawer()


def root_of(owned: OwnedSite) -> RootRecord:
    return owned.office.load_trust().root


def test_copy_gets_the_newest_valid_record(owned: OwnedSite, copy: KeyDrawer) -> None:
    person, _ = new_person("Lee")
    add_custodian(owned.office, custodian=person, identity=owned.identity)
    owned.keys.put("k/main/0000000000/0000000009", b"junk")
    done = synchronize(root_of(owned), owned.keys, copy)
    assert done.added == (SECOND,)
    assert copy.names() == [SECOND]
    assert synchronize(root_of(owned), owned.keys, copy).added == ()


def test_key_store_recovers_lost_records(owned: OwnedSite, copy: KeyDrawer) -> None:
    new_generation(owned.office, domain="main")
    synchronize(root_of(owned), owned.keys, copy)
    whole = {name: owned.keys.get(name) for name in owned.keys.names()}
    owned.keys.remove(FIRST)
    (other,) = owned.keys.names()
    owned.keys.replace(other, b"damaged")
    assert sorted(synchronize(root_of(owned), owned.keys, copy).restored) == sorted(whole)
    assert {name: owned.keys.get(name) for name in owned.keys.names()} == whole


def test_record_of_a_retired_custodian_leaves_the_copy(owned: OwnedSite, copy: KeyDrawer) -> None:
    person, _ = new_person("Lee")
    add_custodian(owned.office, custodian=person, identity=owned.identity)
    synchronize(root_of(owned), owned.keys, copy)
    retire_custodian(owned.office, name="Lee", identity=owned.identity)
    assert synchronize(root_of(owned), owned.keys, copy).removed == (SECOND,)
    assert set(copy.names()) == set(owned.keys.names())


def test_two_signed_records_of_one_name_are_damage(owned: OwnedSite, copy: KeyDrawer) -> None:
    first, second = new_person("Lee")[0], new_person("Ann")[0]
    before = owned.keys.copy()
    add_custodian(owned.office, custodian=first, identity=owned.identity)
    copy.put(SECOND, owned.keys.get(SECOND))
    owned.keys.replace(SECOND, b"")
    owned.keys.remove(SECOND)
    assert owned.keys.names() == before.names()
    add_custodian(owned.office, custodian=second, identity=owned.identity)
    held = copy.get(SECOND), owned.keys.get(SECOND)
    with pytest.raises(Damaged):
        synchronize(root_of(owned), owned.keys, copy)
    assert (copy.get(SECOND), owned.keys.get(SECOND)) == held


def test_record_missing_in_both_is_named(owned: OwnedSite, copy: KeyDrawer) -> None:
    owned.keys.remove(FIRST)
    assert synchronize(root_of(owned), owned.keys, copy).lacking == ("main/0",)


def test_copy_works_without_hard_links(
    owned: OwnedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    stick = KeyFolder(tmp_path / "stick")
    synchronize(root_of(owned), owned.keys, stick)
    assert stick.get(FIRST) == owned.keys.get(FIRST)


def test_link_on_a_stick_removes_nothing(owned: OwnedSite, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "0000000007").write_text("untouched")
    stick = tmp_path / "stick"
    (stick / "k/main").mkdir(parents=True)
    (stick / "k/main/0000000000").symlink_to(precious)
    with pytest.raises(UsageError):
        synchronize(root_of(owned), owned.keys, KeyFolder(stick))
    assert (precious / "0000000007").read_text() == "untouched"


def test_copies_know_each_other(owned: OwnedSite, tmp_path: Path) -> None:
    root, one, other = root_of(owned), tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        synchronize(root, owned.keys, KeyFolder(folder))
    now = owned.clock()
    record_seen(root, {"one": one}, now)
    record_seen(root, {"one": one, "other": other}, owned.clock())
    assert [copy.name for copy in read_copy_list(other).known] == ["one", "other"]
    assert read_copy_list(one).copies["other"].keys == {"main/0": 0}
    record_destroyed({"one": one}, "other", owned.clock())
    assert [copy.name for copy in read_copy_list(one).known] == ["one"]
    with pytest.raises(NotFound):
        record_destroyed({"one": one}, "other", owned.clock())


@pytest.mark.parametrize(
    "written",
    ["", "[]", '{"name": "x"}', '{"name": "x", "copies": {"\\u001b[2J": {}}}',
     '{"name": "x", "copies": {"y": {"seen": "2026-01-01", "keys": {}, "destroyed": 0}}}'],
)  # fmt: skip
def test_list_that_is_unreadable_is_damaged(tmp_path: Path, written: str) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k/.copies.json").write_text(written)
    with pytest.raises(Damaged):
        read_copy_list(tmp_path)
