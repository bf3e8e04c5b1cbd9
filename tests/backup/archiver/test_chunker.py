"""Cutting of files into chunks, also across the reads of one file."""

import random
from itertools import pairwise

import pytest

from backup.archiver.chunker import windows
from backup.sources.chunk_sizes import (
    CHUNK_BYTES,
    EDITED_CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    MEDIA_CHUNK_BYTES,
    choose_chunk_bytes,
)


class Text:
    """Content that is read in pieces of any size."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.size = len(data) if size is None else size
        self._rest = data

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest), 700_001)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def chunks_of(data: bytes, average: int, size: int | None = None) -> list[bytes]:
    """Cut content through one reused buffer, as the pack writer does."""
    memory = memoryview(bytearray(3 * MAX_CHUNK_BYTES))
    found = []
    for window, ends in windows(Text(data, size), average, lambda size: memory[:size]):
        assert ends[-1] == len(window)
        found += [bytes(window[start:end]) for start, end in pairwise([0, *ends])]
        memory[:] = bytes(len(memory))  # the content must not depend on old bytes in the buffer
    return found


SIZES = (1, CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1, 11_000_000)


@pytest.mark.parametrize("average", [EDITED_CHUNK_BYTES, CHUNK_BYTES, MEDIA_CHUNK_BYTES])
@pytest.mark.parametrize("size", SIZES)
def test_chunks_put_together_are_the_content(size: int, average: int) -> None:
    data = random.Random(size).randbytes(size)
    chunks = chunks_of(data, average)
    assert b"".join(chunks) == data
    assert all(len(chunk) <= min(4 * average, MAX_CHUNK_BYTES) for chunk in chunks)
    # The length of a stream is known only at its end; it is cut like a file.
    assert chunks_of(data, average, size=0) == chunks


@pytest.mark.parametrize("average", [EDITED_CHUNK_BYTES, CHUNK_BYTES])
def test_prefix_changes_few_chunks(average: int) -> None:
    data = random.Random(1).randbytes(40 * average)
    before, after = chunks_of(data, average), chunks_of(b"a line more\n" + data, average)
    assert len(set(after) - set(before)) <= 3


def test_recordings_are_cut_by_length_and_dumps_finely() -> None:
    names = (b"a/call.WAV", b"crm.sql", b"notes.odt", b"no-suffix")
    assert [choose_chunk_bytes(name) for name in names] == [
        MEDIA_CHUNK_BYTES,
        EDITED_CHUNK_BYTES,
        CHUNK_BYTES,
        CHUNK_BYTES,
    ]
    data = random.Random(2).randbytes(2 * MAX_CHUNK_BYTES + 5)
    lengths = [len(chunk) for chunk in chunks_of(data, MEDIA_CHUNK_BYTES)]
    assert lengths == [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 5]
