"""Telephone recordings that compress like speech, made at disk speed.

Rules
- A file has 16 bit, 8 kHz and one channel, as files of telephone systems have. The same seed gives
  the same bytes.
- Each recording has its own noise in its nine low bits, as a real line has: neither compression nor
  deduplication finds one recording in another, so the measured backup is realistic.
- A recording is assembled from "syllables". The noise is added to all samples at once, as one
  addition of two integers with millions of bits. Each sample is 16 bits of such an integer. The sum
  of a sample and its noise needs at most 16 bits, so that samples do not affect each other.
"""

import math
import random
import struct
from dataclasses import dataclass
from pathlib import Path

RATE = 8000
_SAMPLE_BYTES = 2
_TABLE = 1024
_SYLLABLES = 24
_PEAK = 9000  # the loudest sample of a voice; the scale ends at 32,768
_NOISE_MASK = b"\xff\x01"  # nine bits
_MIDDLE = 0x8000 - 0x100  # the resting value of the voice, so that the noise is centred


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker: syllables and pauses, as unsigned samples around the middle."""

    syllables: tuple[bytes, ...]
    pauses: tuple[bytes, ...]


def voice(seed: int) -> Voice:
    """Return a new speaker; this takes a few hundredths of a second."""
    dice = random.Random(seed)
    pitch = dice.uniform(95, 230)
    syllables = []
    for _ in range(_SYLLABLES):
        weights = [dice.uniform(0.1, 1) / number for number in range(1, 9)]
        wave = _one_period(weights)
        length = dice.randrange(RATE // 10, RATE // 3)
        step = pitch * dice.uniform(0.85, 1.2) * _TABLE / RATE
        rise = math.pi / length
        syllables.append(
            struct.pack(
                f"<{length}H",
                *(
                    _MIDDLE + int(wave[int(place * step) % _TABLE] * math.sin(place * rise))
                    for place in range(length)
                ),
            )
        )
    rest = struct.pack("<H", _MIDDLE)
    pauses = tuple(rest * dice.randrange(RATE // 12, RATE) for _ in range(6))
    return Voice(syllables=tuple(syllables), pauses=pauses)


def _one_period(weights: list[float]) -> list[float]:
    loudest = sum(weights)
    return [
        _PEAK
        * sum(
            weight * math.sin(2 * math.pi * (number + 1) * place / _TABLE)
            for number, weight in enumerate(weights)
        )
        / loudest
        for place in range(_TABLE)
    ]


def record(path: Path, seconds: int, caller: Voice, agent: Voice, seed: int) -> int:
    """Write one call between two speakers as a WAV file; return its size."""
    dice = random.Random(seed)
    wanted = seconds * RATE * _SAMPLE_BYTES
    parts: list[bytes] = []
    have, speaker = 0, caller
    while have < wanted:
        if dice.random() < 0.06:
            speaker = agent if speaker is caller else caller
        part = dice.choice(speaker.pauses if dice.random() < 0.15 else speaker.syllables)
        parts.append(part)
        have += len(part)
    spoken = b"".join(parts)[:wanted]
    samples = wanted // _SAMPLE_BYTES
    noise = int.from_bytes(dice.randbytes(wanted), "little")
    noise &= int.from_bytes(_NOISE_MASK * samples, "little")
    # Flipping the top bit of each sample converts it to two's complement.
    signs = int.from_bytes(b"\x00\x80" * samples, "little")
    sound = (int.from_bytes(spoken, "little") + noise) ^ signs
    content = _header(wanted) + sound.to_bytes(wanted, "little")
    path.write_bytes(content)
    return len(content)


def _header(data_bytes: int) -> bytes:
    """Return the 44 bytes before PCM samples (RIFF WAVE, format 1)."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + data_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        RATE,
        RATE * _SAMPLE_BYTES,
        _SAMPLE_BYTES,
        16,
        b"data",
        data_bytes,
    )
