"""Frames: a stretch of at most 8 MiB, compressed as one, that lies on a tape of packs.

- One byte says how (0 as it is, 1 zstd), the rest is the content; the raw size stands in zstd's
  header.
- Whether a stretch is worth compressing can be asked of a sample before it is copied anywhere.
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
WORTHWHILE = 0.97


class Effort(IntEnum):
    """How hard to compress, for what content: the higher, the more work."""

    PAGE = 0  # of the manifest: what repeats in it is as long as an entry, and near
    DUMP = 1  # or a database: large, and read anew every night
    SMALL = 2  # files, many in a frame
    USUAL = 3


_SETTINGS: dict[Effort, dict[str, Any]] = {
    # As at level 1, but for a table of 2 ** 11 places instead of 2 ** 14: a third less work, and a
    # thirtieth less comes out.
    Effort.PAGE: {
        "compression_params": zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=11, chain_log=11, window_log=20
        )
    },
    # As at level 1, but for no match below 7 bytes and a table of 2 ** 15 places: a little less to
    # do, as little comes out, and a restore unpacks it in a twenty-fifth less time.
    Effort.DUMP: {
        "compression_params": zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=15, chain_log=13, window_log=19
        )
    },
    # As at level 2, but for a table of 2 ** 15 places instead of 2 ** 16: a twelfth less work, less
    # of the processor's cache, and of small files a fortieth more comes out.
    Effort.SMALL: {
        "compression_params": zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=6, hash_log=15, chain_log=13, window_log=20
        )
    },
    Effort.USUAL: {"level": 3},
}


class _Local(threading.local):
    """What must not be used by two threads at once; making a compressor costs a megabyte."""

    def __init__(self) -> None:
        self.compressors: dict[Effort, zstandard.ZstdCompressor] = {}
        # A frame may demand a window of its own size at most, however much its header claims.
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_RAW_BYTES)


_local = _Local()


def to_frame(
    raw: bytes | memoryview, effort: Effort = Effort.USUAL
) -> tuple[bytes, bytes | memoryview]:
    """Encode a stretch in two parts; never more than one byte longer than it was."""
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError(f"a frame holds at most {MAX_RAW_BYTES} bytes, not {len(raw)}")
    # No sample first: on what does not compress zstd is twenty times as fast as on what does.
    packed = compressed(raw, effort)
    if len(packed) < len(raw):
        return bytes([_ZSTD]), packed
    return bytes([AS_IS]), raw


def compresses(raw: bytes | memoryview) -> bool:
    """Whether a sample of it says that compressing it is worth the while."""
    if len(raw) <= 2 * _SAMPLE_BYTES:
        return True
    middle = (len(raw) - _SAMPLE_BYTES) // 2
    sample = raw[middle : middle + _SAMPLE_BYTES]
    return len(compressed(sample, Effort.DUMP)) < WORTHWHILE * len(sample)


def from_frame(data: bytes | memoryview, where: str) -> bytes | memoryview:
    """Decode a frame; refuses one that would grow beyond 8 MiB before it allocates anything."""
    raw = decoded(data)
    if raw is None:
        raise no_frame(where)
    return raw


def no_frame(where: str) -> Damaged:
    """What is to be said of something that `decoded` gives None for."""
    return Damaged(f"{where} holds a frame that does not decompress; verify the repository")


def decoded(data: bytes | memoryview) -> bytes | memoryview | None:
    """Decode a frame as `from_frame` does; None for what is none."""
    if not 0 < len(data) <= MAX_STORED_BYTES:
        return None
    kind, content = data[0], data[1:]
    if kind == AS_IS:
        return content
    if kind == _ZSTD:
        try:
            size = frame_content_size(content)
            if 0 <= size <= MAX_RAW_BYTES:
                # By place, which a call takes in half the time: nothing may stand behind it.
                raw: bytes = _local.decompressor.decompress(content, 0, False, False)
                return raw if len(raw) == size else None
        except zstandard.ZstdError:
            pass
    return None


def compressed(raw: bytes | memoryview, effort: Effort) -> bytes:
    """A stretch as zstd alone makes it."""
    compressors = _local.compressors
    if effort not in compressors:
        compressors[effort] = zstandard.ZstdCompressor(**_SETTINGS[effort])
    return compressors[effort].compress(raw)
