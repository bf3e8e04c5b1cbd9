"""Content of a local file that changed since it was opened."""

import os
from pathlib import Path

import pytest

from backup.sources.files.file_content import FileContent
from tests.backup.trees import KIB, noise


def test_hole_ends_at_the_opened_size(tmp_path: Path) -> None:
    path = tmp_path / "grows"
    path.write_bytes(noise(64 * KIB))
    os.truncate(path, 1000 * KIB)
    with path.open("r+b") as file:
        opened = os.fstat(file.fileno())
        os.pwrite(file.fileno(), b"more", 2000 * KIB)
        content = FileContent(file.fileno(), opened)
        assert (content.size, content.holes) == (1000 * KIB, ((64 * KIB, 936 * KIB),))
        buffer = memoryview(bytearray(1000 * KIB))
        assert content.readinto(buffer) == 64 * KIB
        assert content.readinto(buffer) == 0
        assert content.changed() == "changed while it was read"


def test_largest_holes_are_kept_others_read_as_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.sources.files.file_content.MOST_HOLES", 2)
    path = tmp_path / "sparse"
    # Ends of holes, each followed by 4 KiB of data.
    ends = [64 * KIB, 512 * KIB, 640 * KIB, 960 * KIB]
    with path.open("wb") as file:
        for end in ends:
            file.seek(end)
            file.write(noise(4 * KIB, end))
    with path.open("rb") as file:
        content = FileContent(file.fileno(), os.fstat(file.fileno()))
        assert content.holes == ((68 * KIB, 444 * KIB), (644 * KIB, 316 * KIB))
        read = bytearray(content.size)
        buffer = memoryview(bytearray(KIB * KIB))
        for start, end in ((0, 68), (512, 644), (960, 964)):
            assert content.readinto(buffer) == (end - start) * KIB
            read[start * KIB : end * KIB] = buffer[: (end - start) * KIB]
        assert content.readinto(buffer) == 0
    assert read == path.read_bytes()
