"""Aims of the backup engine, as ratios to restic.

restic runs at its default settings, on two cores.

- Our figure is that of Standfast. `times_faster` is a minimum of restic's time divided by ours; in
  addition, our time must be less than borg's. `share` is a maximum of our size divided by restic's.
  Shares are compared with two decimals, because encryption always adds some bytes.
- `at_most` is the maximum of our figure alone.
"""

from dataclasses import dataclass

from benchmarks.corpora import NAMES


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One aim: exactly one of the three fields is set."""

    times_faster: float | None = None
    share: float | None = None
    at_most: float | None = None

    @property
    def text(self) -> str:
        """Return the text of the aim for the table."""
        if self.times_faster is not None:
            return f"≥ {self.times_faster:g}× restic, > borg"
        if self.share is not None:
            return f"≤ {self.share:g}× restic"
        return f"≤ {self.at_most:.0f}"

    def is_reached(
        self, ours: float | None, restic: float | None, borg: float | None
    ) -> bool | None:
        """Return whether the medians reach the aim.

        None if a figure that the aim needs was not measured.
        """
        if ours is None:
            return None
        if self.at_most is not None:
            return ours <= self.at_most
        if restic is None:
            return None
        if self.share is not None:
            return round(ours / restic, 2) <= self.share
        if self.times_faster is None:
            return None
        return ours * self.times_faster <= restic and (borg is None or ours < borg)


_TIMES_FASTER = {
    ("recordings", "first backup"): 4.0,
    ("recordings", "unchanged"): 2.0,
    ("recordings", "next day"): 1.0,
    ("recordings", "restore"): 2.5,
    ("files", "first backup"): 3.0,
    ("files", "unchanged"): 4.0,
    ("files", "next day"): 1.0,
    ("files", "restore"): 2.5,
    ("dump", "first backup"): 3.0,
    ("dump", "unchanged"): 2.0,
    ("dump", "next day"): 1.0,
    ("dump", "restore"): 2.5,
}
_SHARES = {
    ("recordings", "repository"): 1.0,
    ("files", "repository"): 0.6,
    ("dump", "added, next day"): 0.7,
}
_STEPS = ("first backup", "unchanged", "next day", "restore")
_MEMORY_MB = 256 * 1.048576  # 256 MiB in MB, the unit of the table

AIMS = {
    **{
        (corpus, metric, "s"): Aim(times_faster=aim)
        for (corpus, metric), aim in _TIMES_FASTER.items()
    },
    **{(corpus, metric, "MB"): Aim(share=share) for (corpus, metric), share in _SHARES.items()},
    **{
        (corpus, metric, "peak MB"): Aim(at_most=_MEMORY_MB)
        for corpus in NAMES
        for metric in _STEPS
    },
}
"""The aims by corpus (set of test files), measured step and unit."""
