"""Layout of boxes and arrows in rows, as one SVG file.

The drawing is readable in light and dark mode, and without colour.

Rules
- Boxes are in rows, each box below the boxes that it needs. A row reserves a place for each arrow
  that crosses it.
- The file loads no other file. The same graph always results in the same file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal
from xml.sax.saxutils import escape

_BOX = 224  # the width of a box, in pixels
_GAP = 28  # between boxes, and around an arrow that passes between them
_PASSING = 14  # the width of a place through which an arrow passes
_BETWEEN = 46  # between rows
_LINE = 16
EDGE = 24
_SWEEPS = 8

_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1b1f24}
.kind{font-size:11px;letter-spacing:.04em;fill:#424a53}
.title{font-weight:600}
.head{font-size:18px;font-weight:600}
.box{stroke:#1b1f24;stroke-width:1.4;fill:#fff}
.do .box{fill:#e2ecfa;stroke-width:2}
.manual .box{fill:#fff}
.decide .box{fill:#fdf1cf}
.wait .box{fill:#eef0f2;stroke-dasharray:5 4}
.stamp{fill:none;stroke:#1b1f24;stroke-width:1.4}
.arrow{fill:none;stroke:#57606a;stroke-width:1.4}
.tip{fill:#57606a}
.paper{fill:#fff}
@media (prefers-color-scheme:dark){
text{fill:#f0f3f6}.kind{fill:#c2cad3}
.box{stroke:#f0f3f6;fill:#161b22}
.do .box{fill:#17304f}.manual .box{fill:#161b22}.decide .box{fill:#4a3a0c}.wait .box{fill:#2b313a}
.stamp{stroke:#f0f3f6}.arrow{stroke:#9aa4af}.tip{fill:#9aa4af}.paper{fill:#0d1117}
}
@media print{.paper{fill:none}}
""".strip()


Shape = Literal["square", "rounded", "pill", "hexagon"]


@dataclass(frozen=True, kw_only=True)
class Box:
    """One node of the graph."""

    name: str
    style: str  # CSS class of its colour
    shape: Shape
    lines: Sequence[tuple[str, str]]  # CSS class and text of each line
    has_frame: bool = False  # the box has a second edge


@dataclass
class _Spot:
    """A box, or the place in a row through which an arrow passes."""

    row: int
    box: Box | None = None
    above: "list[_Spot]" = field(default_factory=list)
    below: "list[_Spot]" = field(default_factory=list)
    x: float = 0  # horizontal position of its middle
    y: float = 0  # vertical position of its upper edge

    @property
    def width(self) -> int:
        return _BOX if self.box else _PASSING

    @property
    def height(self) -> int:
        return _LINE * len(self.box.lines) + 20 if self.box else 0


def draw(
    boxes: Sequence[Box],
    needs: Mapping[str, Collection[str]],
    *,
    title: str,
    description: str,
    legend: Sequence[str] = (),
) -> str:
    """Return the SVG text of a graph; it ends with a new line.

    `boxes` lists each box after the boxes that it needs.
    """
    rows = _rows(boxes, needs)
    _sort(rows)
    width, height = _place(rows)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="t">'
        ),
        f'<title id="t">{escape(title)}: {escape(description)}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<text class="head" x="{EDGE}" y="{EDGE + 12}">{escape(title)}</text>',
        *legend,
    ]
    spots = [spot for row in rows for spot in row]
    parts += [_arrow(spot, below) for spot in spots if spot.box for below in spot.below]
    parts += [_draw_box(spot, spot.box) for spot in spots if spot.box]
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend_entry(style: str, shape: Shape, label: str, x: int) -> str:
    """Draw one entry of the legend, `x` pixels from the left."""
    mark = {
        "square": '<rect class="box" width="22" height="14"/>',
        "rounded": '<rect class="box" width="22" height="14" rx="5"/>',
        "hexagon": '<polygon class="box" points="0,7 5,0 17,0 22,7 17,14 5,14"/>',
        "pill": '<rect class="box" width="22" height="14" rx="7"/>',
    }[shape]
    return (
        f'<g class="{style}" transform="translate({x} {EDGE + 28})">{mark}'
        f'<text class="kind" x="28" y="11">{escape(label)}</text></g>'
    )


# positions


def _rows(boxes: Sequence[Box], needs: Mapping[str, Collection[str]]) -> list[list[_Spot]]:
    """Assign each box to the first row below the boxes that it needs.

    Each row between a box and a needed box gets a spot through which the arrow passes.
    """
    spots: dict[str, _Spot] = {}
    for box in boxes:
        known = [spots[need].row for need in needs[box.name] if need in spots]
        spots[box.name] = _Spot(row=max(known, default=-1) + 1, box=box)
    rows: list[list[_Spot]] = [[] for _ in range(max(s.row for s in spots.values()) + 1)]
    for spot in spots.values():
        rows[spot.row].append(spot)
    for name, spot in spots.items():
        for need in sorted(needs[name], key=list(spots).index):
            upper = spots.get(need)
            if upper is None or upper.row >= spot.row:
                continue  # a cycle, which `validation` reports
            for row in range(upper.row + 1, spot.row):
                passing = _Spot(row=row, above=[upper])
                upper.below.append(passing)
                rows[row].append(passing)
                upper = passing
            upper.below.append(spot)
            spot.above.append(upper)
    return rows


def _sort(rows: Sequence[list[_Spot]]) -> None:
    """Order each row to reduce crossings of arrows.

    Sort the spots of a row by the mean position of the spots with which they are connected. Go down
    through the rows and use the spots in the row above, then go up and use those in the row below.
    """
    for _ in range(_SWEEPS):
        for row in rows[1:]:
            _by_neighbours(row, rows, is_down=True)
        for row in reversed(rows[:-1]):
            _by_neighbours(row, rows, is_down=False)


def _by_neighbours(row: list[_Spot], rows: Sequence[list[_Spot]], *, is_down: bool) -> None:
    places = {id(spot): place / len(other) for other in rows for place, spot in enumerate(other)}

    def middle(spot: _Spot) -> float:
        near = spot.above if is_down else spot.below
        if not near:
            return places[id(spot)]
        return sum(places[id(node)] for node in near) / len(near)

    row.sort(key=middle)


def _place(rows: Sequence[Sequence[_Spot]]) -> tuple[int, int]:
    """Set the place of every spot; return the width and height in total."""
    widths = [sum(spot.width for spot in row) + _GAP * (len(row) - 1) for row in rows]
    width = max(*widths, 3 * _BOX)
    y = EDGE + 70.0
    for row, its_width in zip(rows, widths, strict=True):
        x = EDGE + (width - its_width) / 2
        tallest = max(spot.height for spot in row)
        for spot in row:
            spot.x, spot.y = x + spot.width / 2, y
            x += spot.width + _GAP
        y += tallest + _BETWEEN
    return round(width + 2 * EDGE), round(y - _BETWEEN + EDGE)


# appearance


def _draw_box(spot: _Spot, box: Box) -> str:
    left, top, height = spot.x - _BOX / 2, spot.y, spot.height
    lines = "".join(
        f'<text class="{kind}" x="{spot.x:g}" y="{top + 22 + _LINE * place:g}" '
        f'text-anchor="middle">{escape(text)}</text>'
        for place, (kind, text) in enumerate(box.lines)
    )
    stamp = ""
    if box.has_frame:
        stamp = (
            f'<rect class="stamp" x="{left - 5:g}" y="{top - 5:g}" width="{_BOX + 10}" '
            f'height="{height + 10}" rx="3"/>'
        )
    return f'<g class="{box.style}">{stamp}{_outline(box.shape, left, top, height)}{lines}</g>'


def _outline(shape: Shape, left: float, top: float, height: float) -> str:
    if shape == "hexagon":
        right, middle, slant = left + _BOX, top + height / 2, 12
        points = [
            (left - slant / 2, middle),
            (left + slant, top),
            (right - slant, top),
            (right + slant / 2, middle),
            (right - slant, top + height),
            (left + slant, top + height),
        ]
        drawn = " ".join(f"{x:g},{y:g}" for x, y in points)
        return f'<polygon class="box" points="{drawn}"/>'
    round_ = {"square": 0, "rounded": 14, "pill": min(height / 2, 26)}[shape]
    return (
        f'<rect class="box" x="{left:g}" y="{top:g}" width="{_BOX}" height="{height:g}" '
        f'rx="{round_:g}"/>'
    )


def _arrow(start: _Spot, towards: _Spot) -> str:
    """Draw the path between two boxes, through its spots in the rows between."""
    points = [(start.x, start.y + start.height)]
    spot = towards
    while spot.box is None:
        points += [(spot.x, spot.y - 6), (spot.x, spot.y + _row_height(spot))]
        spot = spot.below[0]
    end = (spot.x, spot.y - (6 if spot.box.has_frame else 0))
    points.append((end[0], end[1] - 7))
    drawn = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x1, y1), (x2, y2) in pairwise(points):
        half = (y1 + y2) / 2
        drawn += f"C{x1:g} {half:g} {x2:g} {half:g} {x2:g} {y2:g}"
    x, y = end
    return f'<path class="arrow" d="{drawn}"/><path class="tip" d="M{x:g} {y:g}l-4.5 -9h9z"/>'


def _row_height(spot: _Spot) -> float:
    """Return the height of a row through which an arrow passes."""
    return max(spot.below[0].y - spot.y - _BETWEEN + 6, 0)
