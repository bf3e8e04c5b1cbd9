"""Clock offset of this host, as chrony or another service reports it.

The times in a log come from the clock of the host that wrote it. Therefore the manifest of evidence
records the offset of this clock, the program that reported it, and the whole output of the program.

Rules
- The first program that reports an offset is used. This module sends no query over the network.
- A time service is ignored if it is not synchronised, or if its reference is this host itself.
- If the offset is unknown, the evidence is still collected, and the manifest contains the reason.
- Offsets are whole microseconds, because canonical JSON has no fractions.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PATIENCE_SECONDS = 3.0
LONGEST_ANSWER = 4_000

_CHRONY = re.compile(r"^System time\s*: (\d+\.\d+) seconds (slow|fast) of NTP time$", re.M)
_TIMESYNCD = re.compile(r"^\s*Offset: ([+-])(\S.*)$", re.M)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|μs|ms|s|min|h|d)\b")
_SPAN_MICROSECONDS = {
    "us": 1, "μs": 1, "ms": 1_000, "s": 10**6, "min": 60 * 10**6, "h": 3_600 * 10**6,
    "d": 86_400 * 10**6,
}  # fmt: skip
_NTP = re.compile(r"\boffset=([+-]?\d+(?:\.\d+)?)")
# The names that chrony and ntpd use for a host that is its own reference.
_ITSELF = re.compile(r"Reference ID\s*: 7F7F|refid=(?:LOCL|LOCAL|127\.127\.1\.)")
_NOT_SYNCHRONISED = re.compile(r"Not synchronised|leap_alarm|leap_unsync|sync_unspec")


@dataclass(frozen=True, kw_only=True)
class HostClock:
    """Offset of the host's clock at the time when the copies were complete."""

    offset_microseconds: int | None  # positive: ahead of its reference; None: unknown
    known_by: str  # the command that reported it; if unknown, the reason
    answer: str = ""  # the whole output of the command: reference, time, uncertainty


Run = Callable[[Sequence[str]], str]


def read_host_clock(run: Run | None = None) -> HostClock:
    """Return the offset of the clock, from the first program that knows it.

    This function never raises. Each program has PATIENCE_SECONDS to answer.
    """
    why = []
    for command, read in _PROGRAMS.items():
        name = command[0]
        try:
            answer = (run or _run)(command)
        except FileNotFoundError:
            continue
        except subprocess.TimeoutExpired:
            why.append(f"{name} did not answer within {PATIENCE_SECONDS:.0f} s")
            continue
        except (OSError, subprocess.SubprocessError):
            why.append(f"{name} reached no time service")
            continue
        offset = read(answer)
        if _ITSELF.search(answer):
            why.append(f"{name} compares this host with itself")
        elif offset is None or _NOT_SYNCHRONISED.search(answer):
            why.append(f"{name} reports no synchronised clock")
        else:
            return HostClock(
                offset_microseconds=offset,
                known_by=" ".join(command),
                answer=answer[:LONGEST_ANSWER],
            )
    names = ", ".join(command[0] for command in _PROGRAMS)
    return HostClock(offset_microseconds=None, known_by="; ".join(why) or f"there is no {names}")


def offset_in_words(microseconds: int | None) -> str:
    """Return an offset in words, such as "3.2 ms fast"."""
    if microseconds is None:
        return "unknown"
    milliseconds = abs(microseconds) / 1000
    size = f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.3f} s"
    return f"{size} {'slow' if microseconds < 0 else 'fast'}"


def _run(command: Sequence[str]) -> str:
    return subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    ).stdout.decode("utf-8", "replace")


def _chrony(answer: str) -> int | None:
    found = _CHRONY.search(answer)
    return found and round(float(found[1]) * 10**6) * (-1 if found[2] == "slow" else 1)


def _timesyncd(answer: str) -> int | None:
    """Parse the offset: the time of the server minus the time of the host."""
    found = _TIMESYNCD.search(answer)
    spans = _SPAN.findall(found[2]) if found else []
    if not found or not spans:
        return None
    offset = round(sum(float(number) * _SPAN_MICROSECONDS[unit] for number, unit in spans))
    return offset if found[1] == "-" else -offset


def _ntpd(answer: str) -> int | None:
    """Parse `offset`: milliseconds, the server's time minus the host's time."""
    found = _NTP.search(answer)
    return found and round(-float(found[1]) * 1000)


_PROGRAMS: Mapping[tuple[str, ...], Callable[[str], int | None]] = {
    ("chronyc", "-n", "tracking"): _chrony,
    ("timedatectl", "timesync-status", "--no-pager"): _timesyncd,
    ("ntpq", "-n", "-c", "readvar"): _ntpd,
}
