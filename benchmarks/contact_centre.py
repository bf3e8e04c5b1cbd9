"""What is backed up: recordings of calls and a CRM, the same in every run.

A recording is PCM, 16 bit, 8 kHz, one channel: a few voices' worth of tones in random order, with
noise of its own in the low bits of every sample, as a telephone line has. So no two recordings
share a chunk, and they compress about as little as real ones do.
"""

import array
import hashlib
import math
import random
import sqlite3
import struct
import sys
from contextlib import closing
from pathlib import Path

from benchmarks.measure import expect

_RATE = 8000
_SECONDS = 60
_SNIPPETS = 32
_NOISE = 0x003F  # the low bits of a sample that are noise
_CUSTOMERS = 2_000
_CONTACTS = 20_000


def make_recordings(folder: Path, size_bytes: int) -> int:
    """Fill the folder with one file a call, a folder a day; give the bytes written."""
    chance = random.Random(17)
    snippets = [_snippet(chance) for _ in range(_SNIPPETS)]
    mask = int.from_bytes(struct.pack("<H", _NOISE) * _RATE * _SECONDS, "little")
    written = 0
    number = 0
    while written < size_bytes:
        day = folder / f"2026-11-{1 + number // 40:02}"
        day.mkdir(parents=True, exist_ok=True)
        speech = b"".join(chance.choice(snippets) for _ in range(_SECONDS))
        noise = int.from_bytes(chance.randbytes(len(speech)), "little") & mask
        samples = (int.from_bytes(speech, "little") ^ noise).to_bytes(len(speech), "little")
        written += (day / f"call-{number:05}.wav").write_bytes(_header(len(samples)) + samples)
        number += 1
    return written


def make_crm(file: Path) -> int:
    """Write the database of customers and their contacts; give its size in bytes."""
    chance = random.Random(18)
    with closing(sqlite3.connect(file)) as crm, crm:
        crm.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name, email, language)")
        crm.execute("CREATE TABLE contacts (id INTEGER PRIMARY KEY, customer, at, note)")
        crm.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?)",
            (
                (n, f"Customer {n}", f"customer{n}@example.net", ("en", "es", "fr", "de")[n % 4])
                for n in range(_CUSTOMERS)
            ),
        )
        crm.executemany(
            "INSERT INTO contacts VALUES (?, ?, ?, ?)",
            (
                (n, chance.randrange(_CUSTOMERS), 1_790_000_000 + n, chance.randbytes(60).hex())
                for n in range(_CONTACTS)
            ),
        )
    return file.stat().st_size


def expect_same_recordings(source: Path, restored: Path) -> None:
    """Raise Wrong unless both folders hold the same files, with content, mode and time."""
    wanted, found = _listing(source), _listing(restored)
    differing = [name for name, facts in wanted.items() if found.get(name) != facts]
    expect(not differing, f"every recording came back as it was: {differing[:3]}")
    expect(found.keys() == wanted.keys(), "nothing came back that was not there")


def expect_same_crm(source: Path, restored: Path) -> None:
    """Raise Wrong unless both databases hold the same rows."""
    dumps = []
    for file in (source, restored):
        with closing(sqlite3.connect(file)) as crm:
            dumps.append(list(crm.iterdump()))
    expect(dumps[0] == dumps[1], "every row of the CRM came back")


def _listing(folder: Path) -> dict[str, tuple[int, int, str]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def _snippet(chance: random.Random) -> bytes:
    """One second of something like speech: three tones that swell and fade four times."""
    tones = [(chance.uniform(120, 2400), chance.uniform(500, 3000)) for _ in range(3)]
    samples = array.array("h")
    for place in range(_RATE):
        moment = place / _RATE
        swell = abs(math.sin(4 * math.pi * moment))
        level = sum(height * math.sin(2 * math.pi * pitch * moment) for pitch, height in tones)
        samples.append(int(level * swell))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _header(size_bytes: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + size_bytes, b"WAVE", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16,
        b"data", size_bytes,
    )  # fmt: skip
