"""Replacements that died between the two names of a file continue."""

from pathlib import Path

from standfast.usecases.recovery.replacement import Replacement


def replacement(folder: Path) -> Replacement:
    return Replacement(path=folder / "crm.db", incident="inc-2026-0001", is_database=True)


def test_setting_aside_continues_between_two_names(tmp_path: Path) -> None:
    crm, restored = replacement(tmp_path), tmp_path / "restored"
    crm.path.write_bytes(b"old")
    crm.set_aside.hardlink_to(crm.path)
    restored.write_bytes(b"new")
    crm.put_in_place(restored, had_data=True)
    assert (crm.path.read_bytes(), crm.set_aside.read_bytes()) == (b"new", b"old")


def test_placing_continues_between_two_names(tmp_path: Path) -> None:
    crm, restored = replacement(tmp_path), tmp_path / "restored"
    crm.set_aside.write_bytes(b"old")
    restored.write_bytes(b"new")
    crm.path.hardlink_to(restored)
    crm.put_in_place(restored, had_data=True)
    assert (crm.path.read_bytes(), crm.set_aside.read_bytes()) == (b"new", b"old")
    assert not restored.exists()


def test_withdrawal_continues_between_two_names(tmp_path: Path) -> None:
    crm = replacement(tmp_path)
    crm.path.write_bytes(b"new")
    crm.withdrawn.hardlink_to(crm.path)
    crm.set_aside.write_bytes(b"old")
    crm.put_back(had_data=True)
    assert (crm.path.read_bytes(), crm.withdrawn.read_bytes()) == (b"old", b"new")
    crm.put_back(had_data=True)
    assert crm.path.read_bytes() == b"old"
