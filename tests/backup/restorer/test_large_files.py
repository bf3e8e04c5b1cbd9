"""Reservation of space for a restored file."""

import os
from pathlib import Path

from backup.restorer.large_files import reserve_space


def test_size_beyond_free_space_takes_no_block(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        disk = os.fstatvfs(file.fileno())
        reserve_space(file.fileno(), 2 * disk.f_bavail * disk.f_frsize)
        assert os.fstat(file.fileno()).st_blocks == 0


def test_reservation_keeps_the_size(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        reserve_space(file.fileno(), 1 << 20)
        assert os.fstat(file.fileno()).st_size == 0
