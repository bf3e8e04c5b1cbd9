"""Parser of bandwidth settings: "08:00-20:00" = "20 MB/s".

`backup/stores/bandwidth_limit.py` applies the limits.

Rules
- A span of hours, such as `08:00-20:00`, excludes its end. A span whose end is before its start
  includes midnight. 24:00 is midnight.
- KB, MB and GB are powers of a thousand, as is usual for networks.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator

_SPAN = r"(?a)([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)"
_RATE = r"(?a)(\d{1,6})(?:\.(\d{1,3}))? ?(KB|MB|GB)/s"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_DAY = 24 * 60
_SLOWEST = 100 * 10**3


def span_minutes(text: str) -> tuple[int, int]:
    """Return start and end of a span in minutes after midnight.

    The end is from 1 to 1,440.
    """
    found = re.fullmatch(_SPAN, text)
    if found is None:
        raise ValueError("hours are written as HH:MM-HH:MM, from 00:00 to 24:00")
    start = int(found[1]) * 60 + int(found[2])
    end = _DAY if found[3] is None else int(found[3]) * 60 + int(found[4])
    end = end or _DAY
    if start == end:
        raise ValueError("these hours end where they begin; write 00:00-24:00 for the whole day")
    return start, end


def bytes_per_second(text: str) -> int:
    """Return a rate in bytes per second."""
    found = re.fullmatch(_RATE, text)
    if found is None:
        raise ValueError("a bandwidth is written as a number and KB/s, MB/s or GB/s: 20 MB/s")
    rate = int(found[1] + (found[2] or "").ljust(3, "0")) * _UNITS[found[3]] // 1000
    if rate < _SLOWEST:
        raise ValueError("a bandwidth is 100 KB/s at least; with less no backup ends")
    return rate


def overlapping(spans: Iterable[str]) -> tuple[str, str] | None:
    """Return two spans that overlap, or None."""
    taken: dict[int, str] = {}
    for span in spans:
        start, end = span_minutes(span)
        for minute in range(start, end if end > start else end + _DAY):
            other = taken.setdefault(minute % _DAY, span)
            if other != span:
                return other, span
    return None


def _as_span(text: str) -> str:
    span_minutes(text)
    return text


def _as_rate(text: str) -> str:
    bytes_per_second(text)
    return text


def _refuse_overlap(bandwidth: Mapping[str, str]) -> Mapping[str, str]:
    if both := overlapping(bandwidth):
        raise ValueError(
            f"the hours {both[0]} and {both[1]} overlap; each minute can have only one limit"
        )
    return bandwidth


HourSpan = Annotated[str, AfterValidator(_as_span)]
Rate = Annotated[str, AfterValidator(_as_rate)]
Bandwidth = Annotated[Mapping[HourSpan, Rate], AfterValidator(_refuse_overlap)]
