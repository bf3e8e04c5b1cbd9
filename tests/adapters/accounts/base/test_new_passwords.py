"""A connector sets a new password after it is on disk in a private file."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.records import Order

NOW = datetime(2026, 11, 25, 2, 13, tzinfo=UTC)
ORDER = Order(token="token-1", verb="accounts.rotate", target="ada")


def secrets_in(folder: Path) -> NewPasswords:
    return NewPasswords(folder, lambda plain: plain[::-1], lambda: NOW)


def test_created_folders_are_private(
    tmp_path: Path,
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    folder = there / "made" / "too" / "secrets"
    before = os.umask(0o022)
    try:
        place = secrets_in(folder).make("crm", ORDER).place
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (place, *place.parents[:4])]
    assert modes == [0o600, 0o700, 0o700, 0o700, 0o755]


def test_created_folders_are_synced_before_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    folder = tmp_path / "made" / "too"
    place = secrets_in(folder).make("crm", ORDER).place
    assert synced == [tmp_path, tmp_path / "made", place, folder]
