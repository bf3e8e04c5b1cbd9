"""Replacements of files that died between two renames are completed."""

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


def test_failed_replacement_is_reversed_from_anywhere(tmp_path: Path) -> None:
    def at(name: str, *, aside: bool, placed: bool, linked: bool) -> None:
        folder = tmp_path / name
        folder.mkdir()
        crm, restored = replacement(folder), folder / "restored"
        old, new = (crm.set_aside if aside else crm.path), (crm.path if placed else restored)
        old.write_bytes(b"old")
        new.write_bytes(b"new")
        if linked and placed:
            restored.hardlink_to(crm.path)
        elif linked:
            crm.set_aside.hardlink_to(crm.path)
        for _ in range(2):  # the replacement may be repeated
            crm.revert(restored, had_data=True)
            assert (crm.path.read_bytes(), restored.read_bytes()) == (b"old", b"new"), name
            assert not crm.set_aside.exists(), name

    at("untouched", aside=False, placed=False, linked=False)
    at("setting aside", aside=False, placed=False, linked=True)
    at("set aside", aside=True, placed=False, linked=False)
    at("placing", aside=True, placed=True, linked=True)
    at("placed", aside=True, placed=True, linked=False)


def test_reversal_moves_no_foreign_file(tmp_path: Path) -> None:
    crm, restored = replacement(tmp_path), tmp_path / "restored"
    for path, content in ((crm.path, b"old"), (restored, b"new"), (crm.set_aside, b"foreign")):
        path.write_bytes(content)
    crm.revert(restored, had_data=True)
    assert (crm.path.read_bytes(), crm.set_aside.read_bytes()) == (b"old", b"foreign")


def test_withdrawal_continues_between_two_names(tmp_path: Path) -> None:
    crm = replacement(tmp_path)
    crm.path.write_bytes(b"new")
    crm.withdrawn.hardlink_to(crm.path)
    crm.set_aside.write_bytes(b"old")
    crm.undo(had_data=True)
    assert (crm.path.read_bytes(), crm.withdrawn.read_bytes()) == (b"old", b"new")
    crm.undo(had_data=True)
    assert crm.path.read_bytes() == b"old"
