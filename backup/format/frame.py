"""Frames: parts of a pack, at most 8 MiB of content, compressed with zstd.

- A frame contains one or more blobs. The compression settings depend on the content (`Effort`).
- The first byte of a frame is its encoding: 0 for uncompressed, 1 for zstd. The other bytes are the
  content. The header of zstd contains the raw (uncompressed) size.
- `is_compressible` compresses a sample of the content. A caller can test this first, and write
  incompressible content to its place in the pack without copying it.
"""

import threading
from enum import IntEnum
from typing import Any

import zstandard
from zstandard import frame_content_size

from backup.errors import Damaged

MAX_RAW_BYTES = 8 * 1024 * 1024
MAX_STORED_BYTES = MAX_RAW_BYTES + 1

AS_IS = 0
_ZSTD = 1
_SAMPLE_BYTES = 64 * 1024
WORTHWHILE_RATIO = 0.97  # compressed size / raw size; compression is worthwhile if it is lower


class Effort(IntEnum):
    """Compression effort for a type of content; a higher value is more work."""

    PAGE = 0  # manifest page: the repeated parts are long and near each other
    DUMP = 1  # dump or database: large, and read again in every run
    SMALL = 2  # small files, many per frame
    USUAL = 3  # all other content


_SETTINGS: dict[Effort, dict[str, Any]] = {
    # Level 1 with a table of 2 ** 11 entries instead of 2 ** 14: a third less work, and the output
    # is a thirtieth smaller.
    Effort.PAGE: {
        "compression_params": zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=11, chain_log=11, window_log=20
        )
    },
    # Level 1 with matches of at least 7 bytes and a table of 2 ** 15 entries: a little less work,
    # output of equal size, and a restore needs a twenty-fifth less time to decompress it.
    Effort.DUMP: {
        "compression_params": zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=15, chain_log=13, window_log=19
        )
    },
    # Level 2 with a table of 2 ** 15 entries instead of 2 ** 16: a twelfth less work and less
    # processor cache; the output for small files is a fortieth larger.
    Effort.SMALL: {
        "compression_params": zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=6, hash_log=15, chain_log=13, window_log=20
        )
    },
    Effort.USUAL: {"level": 3},
}


class _Local(threading.local):
    """Compressors of each thread, reused because each needs a megabyte."""

    def __init__(self) -> None:
        self.compressors: dict[Effort, zstandard.ZstdCompressor] = {}
        # Limit the window, because the header of a frame may claim any size.
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_RAW_BYTES)


_local = _Local()


def to_frame(
    raw: bytes | memoryview, effort: Effort = Effort.USUAL
) -> tuple[bytes, bytes | memoryview]:
    """Return the frame's first byte and its content.

    The frame is at most one byte longer than `raw`.
    """
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError(f"a frame contains at most {MAX_RAW_BYTES} bytes, not {len(raw)}")
    # A test of a sample would save no time: on incompressible content, zstd is twenty times faster
    # than on other content.
    packed = compress(raw, effort)
    if len(packed) < len(raw):
        return bytes([_ZSTD]), packed
    return bytes([AS_IS]), raw


def is_compressible(raw: bytes | memoryview) -> bool:
    """Return whether a sample shows that compression is worthwhile."""
    if len(raw) <= 2 * _SAMPLE_BYTES:
        return True
    middle = (len(raw) - _SAMPLE_BYTES) // 2
    sample = raw[middle : middle + _SAMPLE_BYTES]
    return len(compress(sample, Effort.DUMP)) < WORTHWHILE_RATIO * len(sample)


def from_frame(data: bytes | memoryview, where: str) -> bytes | memoryview:
    """Decode a frame; raise `Damaged` if it is invalid or larger than 8 MiB."""
    raw = try_decode(data)
    if raw is None:
        raise frame_error(where)
    return raw


def frame_error(where: str) -> Damaged:
    """Return the error for a frame that cannot be decoded."""
    return Damaged(f"{where} has a frame that does not decompress. Verify the vault")


def try_decode(data: bytes | memoryview) -> bytes | memoryview | None:
    """Decode a frame like `from_frame`, but return None if it is invalid."""
    if not 0 < len(data) <= MAX_STORED_BYTES:
        return None
    kind, content = data[0], data[1:]
    if kind == AS_IS:
        return content
    if kind == _ZSTD:
        try:
            size = frame_content_size(content)
            if 0 <= size <= MAX_RAW_BYTES:
                # Positional arguments take half the time. The last argument, `allow_extra_data`,
                # forbids bytes after the zstd frame.
                raw: bytes = _local.decompressor.decompress(content, 0, False, False)
                return raw if len(raw) == size else None
        except zstandard.ZstdError:
            pass
    return None


def compress(raw: bytes | memoryview, effort: Effort) -> bytes:
    """Return content compressed by zstd, without the frame's first byte."""
    compressors = _local.compressors
    if effort not in compressors:
        compressors[effort] = zstandard.ZstdCompressor(**_SETTINGS[effort])
    return compressors[effort].compress(raw)
