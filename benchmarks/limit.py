"""Lower limit of a backup's time on this machine.

The limit applies to data that does not compress.

`python -m benchmarks.limit [FOLDER]` does only the work that the backup format requires, with 1 GiB
of noise. For each pack (a file of the backup store) it reads from the page cache, computes BLAKE3
for the ids of its pieces and again for the salt of its key, encrypts segments with AES-256-GCM, and
computes SHA-256 for its name. It writes past the page cache, and syncs. The program measures each
step by itself in one thread, then all steps together in one thread more than there are cores.
"""

import hashlib
import mmap
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backup.format.pack import CAPACITY, MAX_PACK_BYTES, SEGMENT_BYTES, SEGMENT_PAYLOAD

_PACKS = 64
_KEY = bytes(32)


class _Pack:
    """The buffer of one pack, and the operations on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._payload = memoryview(mmap.mmap(-1, CAPACITY))
        self._sealed = memoryview(mmap.mmap(-1, MAX_PACK_BYTES))
        self._cipher = AESGCM(_KEY)

    def read(self, number: int) -> None:
        with (self._folder / "source").open("rb", buffering=0) as file:
            file.seek(number % 4 * CAPACITY)
            file.readinto(self._payload)

    def hash(self, _: int) -> None:
        blake3(self._payload, key=_KEY).digest()

    def encrypt(self, number: int) -> None:
        self._sealed[:8] = number.to_bytes(8, "big")
        for index in range(CAPACITY // SEGMENT_PAYLOAD):
            place = 4096 + index * SEGMENT_BYTES
            self._cipher.encrypt_into(
                index.to_bytes(12, "big"),
                self._payload[index * SEGMENT_PAYLOAD : (index + 1) * SEGMENT_PAYLOAD],
                None,
                self._sealed[place : place + SEGMENT_BYTES],
            )

    def name(self, _: int) -> None:
        hashlib.sha256(self._sealed).digest()

    def write(self, number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_DIRECT", 0)
        descriptor = os.open(self._folder / str(number), flags, 0o600)
        try:
            os.write(descriptor, self._sealed)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def whole(self, number: int) -> None:
        for step in (self.read, self.hash, self.hash, self.encrypt, self.name, self.write):
            step(number)


def main(arguments: Sequence[str]) -> int:
    """Measure each step and all steps together; print the figures."""
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as made:
        folder = Path(made)
        (folder / "source").write_bytes(os.urandom(4 * CAPACITY))
        pack = _Pack(folder)
        pack.whole(0)
        steps: dict[str, Callable[[int], None]] = {
            "read, cached": pack.read,
            "BLAKE3 of blobs": pack.hash,
            "BLAKE3 for the salt": pack.hash,
            "AES-256-GCM": pack.encrypt,
            "SHA-256": pack.name,
            "write and sync": pack.write,
        }
        gigabytes = _PACKS * CAPACITY / 1e9
        for name, step in steps.items():
            wall, cpu = _timed(partial(_for_each_pack, step))
            print(f"{name:<22} {wall / gigabytes:6.2f} s a GB, {cpu / gigabytes:5.2f} of processor")
        threads = len(os.sched_getaffinity(0)) + 1
        packs = [_Pack(folder) for _ in range(threads)]

        def lane(number: int) -> None:
            for turn in range(number, _PACKS, threads):
                packs[number].whole(turn)

        with ThreadPoolExecutor(threads) as pool:
            wall, cpu = _timed(lambda: list(pool.map(lane, range(threads))))
        print(f"{'all, in threads':<22} {wall / gigabytes:6.2f} s a GB,", end="")
        print(f" {cpu / gigabytes:5.2f} of processor")
    return 0


def _for_each_pack(step: Callable[[int], None]) -> None:
    for number in range(_PACKS):
        step(number)


def _timed(act: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
