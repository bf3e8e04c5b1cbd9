"""Whether a night's backup changed far more than those before: ransomware shows so. Pure.

A night is measured by five shares, each against what the same set usually shows:
- changed: files with other content, of the files that were there the night before;
- renamed: as many files new as gone, as when each gets another suffix;
- gone: files for which no new ones came, as when something is deleted, or not mounted any more;
- new content: bytes that were never stored before, of all bytes;
- incompressible: those of them that hardly compress, as what is encrypted does not.

Rules
- What is usual is the median of the last nights, and how far they stray from it is their median
  absolute deviation: a few wild nights, or the attack itself, move neither.
- A night on which everything was sent anew (a lost memory, a new epoch) has no such shares: it is
  neither judged nor judged by, and the run says so.
- Nothing is judged before five nights, nor below a tenth of the set, nor about a handful of files.
- An attacker who is patient enough to change a little every night is not seen by this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Measured = Literal["changed", "renamed", "gone", "new content", "incompressible"]

NIGHTS = 30  # that are compared with
_FEWEST_NIGHTS = 5
_WHOLE = 1_000_000  # shares are in millionths
_LEAST_RISE = _WHOLE // 10
_DEVIATIONS = 6
_SIGMA = 14_826  # in ten-thousandths: makes a median absolute deviation a standard one
_FEWEST_FILES = 20
_FEWEST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one backup of a set counted."""

    files: int
    files_new: int
    files_changed: int
    bytes_total: int
    bytes_changed: int
    bytes_incompressible: int

    @staticmethod
    def of(counts: Mapping[str, Any]) -> "Night | None":
        """Read a run's counts; None for one that did not count all of this, or sent all anew."""
        names = Night.__dataclass_fields__
        if counts.get("sent_anew") or not all(isinstance(counts.get(name), int) for name in names):
            return None
        return Night(**{name: counts[name] for name in names})


@dataclass(frozen=True, kw_only=True)
class BackupAnomaly:
    """One share that is far above what is usual; in thousandths."""

    what: Measured
    permille: int
    usual_permille: int

    @property
    def sentence(self) -> str:
        """Say it for people."""
        subject = {
            "changed": "of the files have other content",
            "renamed": "of the files are gone and as many are new",
            "gone": "of the files are gone and no others came: see that everything is mounted",
            "new content": "of the content was never stored before",
            "incompressible": "of the content is new and hardly compresses, as if encrypted",
        }[self.what]
        return f"{self.permille / 10:g} % {subject}; usual are {self.usual_permille / 10:g} %"


@dataclass(frozen=True, kw_only=True)
class _Share:
    share: int  # in millionths
    is_weighty: bool  # not about a handful


def jumps(
    before: Sequence[Night], tonight: Night, *, sheds: bool = False
) -> tuple[BackupAnomaly, ...]:
    """Name what jumped tonight; `before` are the set's earlier nights, oldest first.

    `sheds`: the set lets go of most of its files whenever something else has them.
    """
    nights = before[-NIGHTS:]
    if len(nights) < _FEWEST_NIGHTS:
        return ()
    usual = [_shares(night, earlier) for earlier, night in pairwise(nights)]
    found = []
    for what, measured in _shares(tonight, nights[-1]).items():
        shares = [one[what].share for one in usual]
        middle = _median(shares)
        stray = _median([abs(share - middle) for share in shares])
        rise = max(_DEVIATIONS * _SIGMA * stray // 10_000, _LEAST_RISE)
        if sheds and what == "gone":
            continue
        if measured.is_weighty and measured.share > middle + rise:
            found.append(
                BackupAnomaly(
                    what=what,
                    permille=measured.share * 1000 // _WHOLE,
                    usual_permille=middle * 1000 // _WHOLE,
                )
            )
    return tuple(found)


def _shares(night: Night, earlier: Night) -> dict[Measured, _Share]:
    gone = max(earlier.files + night.files_new - night.files, 0)
    renamed = min(night.files_new, gone)
    return {
        "changed": _of_files(night.files_changed, earlier),
        "renamed": _of_files(renamed, earlier),
        "gone": _of_files(gone - renamed, earlier),
        "new content": _of_bytes(night.bytes_changed, night),
        "incompressible": _of_bytes(night.bytes_incompressible, night),
    }


def _median(values: Sequence[int]) -> int:
    # Importing `statistics` takes a twenty-fifth of what a night without news takes.
    ordered = sorted(values)
    half = len(ordered) // 2
    return (ordered[half] + ordered[~half]) // 2


def _of_files(count: int, earlier: Night) -> _Share:
    return _Share(share=_share(count, earlier.files), is_weighty=count >= _FEWEST_FILES)


def _of_bytes(size: int, night: Night) -> _Share:
    return _Share(share=_share(size, night.bytes_total), is_weighty=size >= _FEWEST_BYTES)


def _share(part: int, whole: int) -> int:
    return min(part * _WHOLE // max(whole, 1), _WHOLE)
