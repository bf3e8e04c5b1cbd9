"""Spool of a restore, in memory or in a file."""

import tempfile
from contextlib import closing
from typing import IO

import pytest

from backup.restorer import spool
from backup.restorer.spool import Spool

VALUES = [(b"path %d" % number, b"\xff" * number) for number in range(100)]


@pytest.mark.parametrize("most", [1 << 20, 1000, 0])
def test_values_are_returned_by_position(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", most)
    made: list[IO[bytes]] = []
    make = tempfile.TemporaryFile

    def noted() -> IO[bytes]:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(spool, "TemporaryFile", noted)
    with closing(Spool[tuple[bytes, bytes]]()) as spooled:
        assert spooled.is_empty
        assert not list(spooled)
        positions = [spooled.add(value) for value in VALUES]
        assert not spooled.is_empty
        assert list(spooled) == list(spooled) == VALUES
        assert [spooled.at(position) for position in positions] == VALUES
    assert len(made) == (most < 1 << 20)
    assert all(file.closed for file in made)
