"""Graph of a playbook as one SVG file.

It is readable in light and dark mode, and without colour.

Rules
- Steps are in rows, each below its needs. An arrow that passes a row has a place in it.
- The executor of a step is shown by the shape, by a word in the box and by the colour.
- The file loads nothing, and the same playbook gives the same file.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

from standfast.playbook.model import Playbook, Step, StepKind
from standfast.playbook.rendering.step_labels import condition, length, who_acts
from standfast.playbook.step_graph import direct_needs, in_order

_BOX = 224  # width
_GAP = 28  # between boxes, and for an arrow that passes
_PASSING = 14  # the width of a place through which an arrow passes
_BETWEEN = 46  # rows
_LINE = 16
_EDGE = 24
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


@dataclass
class _Spot:
    """A box, or the place in a row through which an arrow passes."""

    row: int
    step: Step | None = None
    above: "list[_Spot]" = field(default_factory=list)
    below: "list[_Spot]" = field(default_factory=list)
    x: float = 0  # of its middle
    y: float = 0  # of its upper edge

    @property
    def width(self) -> int:
        return _BOX if self.step else _PASSING

    @property
    def height(self) -> int:
        return _LINE * len(_lines(self.step)) + 20 if self.step else 0


def as_svg(playbook: Playbook) -> str:
    """Draw the playbook; the text ends with a new line."""
    rows = _rows(playbook)
    _sort(rows)
    width, height = _place(rows)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="t">'
        ),
        f'<title id="t">{escape(playbook.title)}: the steps and what waits for what</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<text class="head" x="{_EDGE}" y="{_EDGE + 12}">{escape(playbook.title)}</text>',
        *_legend(playbook),
    ]
    spots = [spot for row in rows for spot in row]
    parts += [_arrow(spot, below) for spot in spots if spot.step for below in spot.below]
    parts += [_box(spot, spot.step) for spot in spots if spot.step]
    return "\n".join([*parts, "</svg>"]) + "\n"


# positions


def _rows(playbook: Playbook) -> list[list[_Spot]]:
    """Assign each step to the first row below its needs.

    Arrows use the rows between.
    """
    needs = direct_needs(playbook)
    spots: dict[str, _Spot] = {}
    for step in in_order(playbook):
        known = [spots[need].row for need in needs[step.name] if need in spots]
        spots[step.name] = _Spot(row=max(known, default=-1) + 1, step=step)
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

    Use the mean position of the row above, then of the row below.
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
    y = _EDGE + 70.0
    for row, its_width in zip(rows, widths, strict=True):
        x = _EDGE + (width - its_width) / 2
        tallest = max(spot.height for spot in row)
        for spot in row:
            spot.x, spot.y = x + spot.width / 2, y
            x += spot.width + _GAP
        y += tallest + _BETWEEN
    return round(width + 2 * _EDGE), round(y - _BETWEEN + _EDGE)


# appearance


def _lines(step: Step) -> list[tuple[str, str]]:
    """Return class and text of each line in a step's box."""
    kind = f"WAIT {length(step.wait_seconds)}" if step.kind is StepKind.WAIT else who_acts(step)
    first = kind[:1].upper() + kind[1:]
    found = [("kind", part) for part in textwrap.wrap(first, 34)]
    found += [("title", part) for part in textwrap.wrap(step.title, 27)]
    if step.options:
        found += [("kind", part) for part in textwrap.wrap(" / ".join(step.options), 34)]
    if step.approval:
        roles = " or ".join(step.approval.roles) or "anyone else"
        label = f"✍ {step.approval.count} approval: {roles}"
        found += [("kind", part) for part in textwrap.wrap(label, 34)]
    if step.when:
        found += [("kind", part) for part in textwrap.wrap(f"Only if {condition(step.when)}", 34)]
    return found


def _box(spot: _Spot, step: Step) -> str:
    left, top, height = spot.x - _BOX / 2, spot.y, spot.height
    lines = "".join(
        f'<text class="{kind}" x="{spot.x:g}" y="{top + 22 + _LINE * place:g}" '
        f'text-anchor="middle">{escape(text)}</text>'
        for place, (kind, text) in enumerate(_lines(step))
    )
    stamp = ""
    if step.approval:  # a second edge: a second person
        stamp = (
            f'<rect class="stamp" x="{left - 5:g}" y="{top - 5:g}" width="{_BOX + 10}" '
            f'height="{height + 10}" rx="3"/>'
        )
    return f'<g class="{step.kind}">{stamp}{_shape(step.kind, left, top, height)}{lines}</g>'


def _shape(kind: StepKind, left: float, top: float, height: float) -> str:
    if kind is StepKind.DECIDE:
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
    round_ = {StepKind.DO: 0, StepKind.MANUAL: 14, StepKind.WAIT: min(height / 2, 26)}[kind]
    return (
        f'<rect class="box" x="{left:g}" y="{top:g}" width="{_BOX}" height="{height:g}" '
        f'rx="{round_:g}"/>'
    )


def _arrow(start: _Spot, towards: _Spot) -> str:
    """Draw the path between two boxes, through the places of the rows between."""
    points = [(start.x, start.y + start.height)]
    spot = towards
    while spot.step is None:
        points += [(spot.x, spot.y - 6), (spot.x, spot.y + _row_height(spot))]
        spot = spot.below[0]
    end = (spot.x, spot.y - (6 if spot.step.approval else 0))
    points.append((end[0], end[1] - 7))
    drawn = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x1, y1), (x2, y2) in pairwise(points):
        half = (y1 + y2) / 2
        drawn += f"C{x1:g} {half:g} {x2:g} {half:g} {x2:g} {y2:g}"
    x, y = end
    return f'<path class="arrow" d="{drawn}"/><path class="tip" d="M{x:g} {y:g}l-4.5 -9h9z"/>'


def _row_height(spot: _Spot) -> float:
    """Return the lower edge of the row of an arrow: just above the next row."""
    return max(spot.below[0].y - spot.y - _BETWEEN + 6, 0)


def _legend(playbook: Playbook) -> list[str]:
    kinds: Mapping[StepKind, str] = {
        StepKind.DO: "the program",
        StepKind.MANUAL: "a person",
        StepKind.DECIDE: "a decision",
        StepKind.WAIT: "a wait",
    }
    present = {step.kind for step in playbook.steps}
    parts: list[str] = []
    x = _EDGE
    for kind in [kind for kind in kinds if kind in present]:
        shape = {
            StepKind.DO: '<rect class="box" width="22" height="14"/>',
            StepKind.MANUAL: '<rect class="box" width="22" height="14" rx="5"/>',
            StepKind.DECIDE: '<polygon class="box" points="0,7 5,0 17,0 22,7 17,14 5,14"/>',
            StepKind.WAIT: '<rect class="box" width="22" height="14" rx="7"/>',
        }[kind]
        parts.append(
            f'<g class="{kind}" transform="translate({x} {_EDGE + 28})">{shape}'
            f'<text class="kind" x="28" y="11">{kinds[kind]}</text></g>'
        )
        x += 120
    if any(step.approval for step in playbook.steps):
        parts.append(
            f'<g transform="translate({x} {_EDGE + 28})">'
            '<rect class="stamp" x="-3" y="-3" width="28" height="20" rx="2"/>'
            '<rect class="stamp" width="22" height="14"/>'
            '<text class="kind" x="32" y="11">✍ needs a second person</text></g>'
        )
    return parts
