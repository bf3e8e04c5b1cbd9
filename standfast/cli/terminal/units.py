"""Text of byte sizes, ages and durations."""

from datetime import timedelta


def format_size(count: int) -> str:
    """Format a number of bytes: 512 B, 1.4 MiB."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def format_age(past: timedelta) -> str:
    """Format an age: 40 s, 12 min, 5 h, 3 days."""
    seconds = max(0, int(past.total_seconds()))
    for unit, length, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < most:
            return f"{seconds // length} {unit}"
    return f"{seconds // 86_400} days"


def format_time_left(ahead: timedelta) -> str:
    """Format the time that is left: 12 min, 71 h 55 min, 12 days.

    A time up to 96 hours is in hours, because laws count short limits in hours.
    """
    minutes = max(0, int(ahead.total_seconds())) // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes <= 96 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1_440} days"


def format_duration(milliseconds: int | None) -> str:
    """Format a measured time: 840 ms, 4 h 50 min; `never` for None."""
    from standfast.reports.report_sentences import duration

    if milliseconds is None:
        return "never"
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    return duration(timedelta(milliseconds=milliseconds))
