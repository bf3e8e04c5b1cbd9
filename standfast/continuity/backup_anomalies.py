"""Anomalies: a backup that changed far more than earlier ones; thresholds.

Ransomware causes such changes. Five shares of a backup are computed. Each share is compared with
its usual value in backups of the same backup set:
- changed: files with changed content, as a share of the files of the previous backup;
- renamed: pairs of a new and a removed file, as when each file gets another suffix;
- gone: removed files beyond the number of new files, as after a deletion or with an unmounted disk;
- new content: bytes that were never stored before, as a share of all bytes;
- incompressible: new content that hardly compresses, such as encrypted data, as a share of all
  bytes.

Rules
- The usual value is the median of the last backups, and its spread is the median absolute
  deviation. A few extreme backups change neither of them, even if an attack caused the extremes.
- Sometimes a backup uploads everything again, for example after the loss of its cache. Such a
  backup has no shares. It is neither compared nor used for the usual value, and its result states
  this.
- A share can be an anomaly only after five earlier backups. It must exceed its usual value by at
  least 10 percentage points, and concern at least 20 files or 8 MiB.
- An attacker that changes only a few files before every backup is not detected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Measured = Literal["changed", "renamed", "gone", "new content", "incompressible"]

COMPARED_RUNS = 30
_FEWEST_RUNS = 5
_WHOLE = 1_000_000  # shares are in millionths
_LEAST_RISE = _WHOLE // 10
_DEVIATIONS = 6  # rise above the usual value, in standard deviations
_SIGMA = 14_826  # factor from median absolute deviation to standard deviation, times 10,000
_FEWEST_FILES = 20
_FEWEST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class RunCounts:
    """The counts of one backup of a set."""

    files: int
    files_new: int
    files_changed: int
    bytes_total: int
    bytes_changed: int
    bytes_incompressible: int

    @staticmethod
    def of(counts: Mapping[str, Any]) -> "RunCounts | None":
        """Return a run's counts; None if incomplete or if everything was uploaded."""
        names = RunCounts.__dataclass_fields__
        if counts.get("sent_anew") or not all(isinstance(counts.get(name), int) for name in names):
            return None
        return RunCounts(**{name: counts[name] for name in names})


@dataclass(frozen=True, kw_only=True)
class BackupAnomaly:
    """One share far above its usual value, both in thousandths."""

    measure: Measured
    permille: int
    usual_permille: int

    @property
    def sentence(self) -> str:
        """The anomaly in words."""
        subject = {
            "changed": "of the files have other content",
            "renamed": "of the files are gone, and the same number of files is new",
            "gone": (
                "of the files are gone, and no new files exist: check that every disk is mounted"
            ),
            "new content": "of the content was never stored before",
            "incompressible": (
                "of the content is new and almost incompressible, like encrypted data"
            ),
        }[self.measure]
        return f"{self.permille / 10:g} % {subject}; usually {self.usual_permille / 10:g} %"


@dataclass(frozen=True, kw_only=True)
class _Share:
    share: int  # in millionths
    is_weighty: bool  # at least 20 files or 8 MiB


def jumps(
    before: Sequence[RunCounts], newest: RunCounts, *, removes_stored_files: bool = False
) -> tuple[BackupAnomaly, ...]:
    """Return the anomalies of the newest backup.

    `before` are the earlier backups, the oldest first. With `removes_stored_files`, removed files
    are not an anomaly, because the source removes its files after they were backed up.
    """
    compared = before[-COMPARED_RUNS:]
    if len(compared) < _FEWEST_RUNS:
        return ()
    usual = [_shares(run, earlier) for earlier, run in pairwise(compared)]
    found = []
    for measure, measured in _shares(newest, compared[-1]).items():
        shares = [shares_of_run[measure].share for shares_of_run in usual]
        middle = _median(shares)
        stray = _median([abs(share - middle) for share in shares])
        rise = max(_DEVIATIONS * _SIGMA * stray // 10_000, _LEAST_RISE)
        if removes_stored_files and measure == "gone":
            continue
        if measured.is_weighty and measured.share > middle + rise:
            found.append(
                BackupAnomaly(
                    measure=measure,
                    permille=measured.share * 1000 // _WHOLE,
                    usual_permille=middle * 1000 // _WHOLE,
                )
            )
    return tuple(found)


def _shares(run: RunCounts, earlier: RunCounts) -> dict[Measured, _Share]:
    gone = max(earlier.files + run.files_new - run.files, 0)
    renamed = min(run.files_new, gone)
    return {
        "changed": _of_files(run.files_changed, earlier),
        "renamed": _of_files(renamed, earlier),
        "gone": _of_files(gone - renamed, earlier),
        "new content": _of_bytes(run.bytes_changed, run),
        "incompressible": _of_bytes(run.bytes_incompressible, run),
    }


def _median(values: Sequence[int]) -> int:
    # `statistics` is not used, because its import takes 4 % of a backup without changes.
    ordered = sorted(values)
    half = len(ordered) // 2
    return (ordered[half] + ordered[~half]) // 2


def _of_files(count: int, earlier: RunCounts) -> _Share:
    return _Share(share=_share(count, earlier.files), is_weighty=count >= _FEWEST_FILES)


def _of_bytes(size: int, run: RunCounts) -> _Share:
    return _Share(share=_share(size, run.bytes_total), is_weighty=size >= _FEWEST_BYTES)


def _share(part: int, whole: int) -> int:
    return min(part * _WHOLE // max(whole, 1), _WHOLE)
