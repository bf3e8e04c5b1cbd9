"""The table that people read."""

from collections.abc import Mapping, Sequence

from benchmarks.measure import Row

_HEADINGS = ("metric", "program", "unit", "min", "median", "max", "n", "ours ÷ this")
_LEGEND = (
    "`ours ÷ this`: standfast's time over that of the row, by medians; 2.0 = standfast takes twice"
    " as long, 0.5 = half."
)


def render(machine: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Give the whole page: the machine, then every benchmark's rows."""
    width = max(len(name) for name in machine)
    lines = [f"{name:<{width}}  {value}" for name, value in machine.items()]
    cells = [_cells(row) for row in rows]
    widths = [
        max(len(line[column]) for line in (_HEADINGS, *cells)) for column in range(len(_HEADINGS))
    ]
    benchmark = ""
    for row, line in zip(rows, cells, strict=True):
        if row.benchmark != benchmark:
            benchmark = row.benchmark
            lines += ["", benchmark.upper(), _line(_HEADINGS, widths)]
        lines.append(_line(line, widths) + (f"  {row.note}" if row.note else ""))
    return "\n".join([*lines, "", _LEGEND])


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.1e}"


def _cells(row: Row) -> tuple[str, ...]:
    if not row.values:
        return (row.metric, row.subject, row.unit, "-", "-", "-", "0", "")
    figures = (min(row.values), row.median, max(row.values))
    ratio = "" if row.ours_to_this is None else f"{row.ours_to_this:.2f}"
    written = (number(value) for value in figures)
    return (row.metric, row.subject, row.unit, *written, str(len(row.values)), ratio)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    words = [
        f"{cell:<{width}}" if column < 3 else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(words).rstrip()
