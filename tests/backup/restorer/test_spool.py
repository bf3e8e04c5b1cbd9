"""What a restore leaves for later, in memory or not."""

import tempfile
from contextlib import closing
from typing import IO

import pytest

from backup.restorer import spool
from backup.restorer.spool import LeftOver

VALUES = [(b"path %d" % number, b"\xff" * number) for number in range(100)]


@pytest.mark.parametrize("most", [1 << 20, 1000, 0])
def test_what_is_left_comes_back_in_its_order_as_often_as_asked(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY_BYTES", most)
    made: list[IO[bytes]] = []
    make = tempfile.TemporaryFile

    def noted() -> IO[bytes]:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    with closing(LeftOver[tuple[bytes, bytes]]()) as left:
        assert left.is_empty
        assert not list(left)
        for value in VALUES:
            left.add(value)
        assert not left.is_empty
        assert list(left) == list(left) == VALUES
    assert len(made) == (most < 1 << 20)
    assert all(file.closed for file in made)
