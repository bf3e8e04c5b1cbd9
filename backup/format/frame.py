"""Frames: a stretch of at most 8 MiB, compressed as one, that lies on a tape of packs.

- One byte says how (0 as it is, 1 zstd), the rest is the content; the raw size stands in zstd's
  header.
- Compression is tried on a sample first: compressing what does not compress is the dearest step.
"""

import threading

import zstandard

from backup.errors import Damaged

LARGEST_RAW = 8 * 1024 * 1024
LARGEST_STORED = LARGEST_RAW + 1

_AS_IS = 0
_ZSTD = 1
_LEVEL = 3
_SAMPLE_BYTES = 64 * 1024
_WORTHWHILE = 0.97

_local = threading.local()


def to_frame(raw: bytes) -> bytes:
    """Encode a stretch; never more than one byte longer than it was."""
    if len(raw) > LARGEST_RAW:
        raise ValueError(f"a frame holds at most {LARGEST_RAW} bytes, not {len(raw)}")
    if _compresses(raw):
        packed = _compressor().compress(raw)
        if len(packed) < len(raw):
            return bytes([_ZSTD]) + packed
    return bytes([_AS_IS]) + raw


def from_frame(data: bytes, where: str) -> bytes:
    """Decode a frame; refuses one that would grow beyond 8 MiB before it allocates anything."""
    if not data or len(data) > LARGEST_STORED:
        raise Damaged(f"{where} holds no frame where one belongs; verify the repository")
    kind, content = data[0], data[1:]
    if kind == _AS_IS:
        return content
    try:
        if kind == _ZSTD:
            size = zstandard.frame_content_size(content)
            if 0 <= size <= LARGEST_RAW:
                raw = _decompressor().decompress(content, allow_extra_data=False)
                if len(raw) == size:
                    return raw
    except zstandard.ZstdError:
        pass
    raise Damaged(f"{where} holds a frame that does not decompress; verify the repository")


def _compresses(raw: bytes) -> bool:
    if len(raw) <= 2 * _SAMPLE_BYTES:
        return True
    middle = (len(raw) - _SAMPLE_BYTES) // 2
    sample = raw[middle : middle + _SAMPLE_BYTES]
    return len(_compressor().compress(sample)) < _WORTHWHILE * len(sample)


def _compressor() -> zstandard.ZstdCompressor:
    # A compressor must not be used by two threads at once, and making one costs a megabyte.
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    compressor: zstandard.ZstdCompressor = _local.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
