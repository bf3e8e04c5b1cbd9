"""Graph of a playbook as lines of text: marks and columns.

Each step has a row, and each branch in progress has a column.

Rules
- Each step is drawn after the steps that it needs (`step_graph.in_order`). A column belongs to a
  step until all steps that need this step are drawn. Parallel steps therefore have columns next to
  each other.
- The kind of a step is shown by a mark and a word, never by a colour.
"""

from dataclasses import dataclass, field

from standfast.playbook.model import Playbook, Step, StepKind
from standfast.playbook.rendering.step_labels import condition, length, who_acts, who_approves
from standfast.playbook.step_graph import direct_needs, in_order

MARKS = {StepKind.DO: "■", StepKind.MANUAL: "○", StepKind.DECIDE: "◆", StepKind.WAIT: "◷"}


def as_graph(playbook: Playbook) -> str:
    """Draw the steps and the order between them, with a final new line."""
    ordered = in_order(playbook)
    needs = direct_needs(playbook)
    left = {step.name: sum(step.name in needs[other.name] for other in ordered) for step in ordered}
    columns = _Columns()
    rows = [
        (columns.row_of(step, needs[step.name], left), columns.continuing_row()) for step in ordered
    ]
    lane_width = max(len(lanes) for lanes, _ in rows)
    name_width = max(len(step.name) for step in ordered)
    lines: list[str] = []
    for step, (lanes, below) in zip(ordered, rows, strict=True):
        lines.append(f"{lanes.ljust(lane_width)}  {step.name.ljust(name_width)}  {step.title}")
        before = f"{below.ljust(lane_width)}  {' ' * name_width}  "
        lines.extend(before + part for part in _notes(step))
    return "\n".join(lines) + "\n"


@dataclass
class _Columns:
    """The columns of the graph."""

    owners: list[str | None] = field(default_factory=list)  # step of each column; None: free

    def row_of(self, step: Step, needs: frozenset[str], left: dict[str, int]) -> str:
        """Draw the row of a step, and set the owners of the columns below it.

        `left` has for each step the number of steps that need it and are not drawn yet.
        """
        for need in needs:
            left[need] -= 1
        ending = [place for place, owner in enumerate(self.owners) if owner in needs]
        over = [place for place in ending if not left[self.owners[place] or ""]]
        own = over[0] if over else self._free()
        before = list(self.owners)
        low, high = min([own, *ending]), max([own, *ending])
        row = []
        for place in range(len(self.owners)):
            mark = _mark(place, own, ending, over, is_lane=before[place] is not None)
            if mark in "╰╯" and low < place < high:
                mark = "┴"
            is_between = low <= place <= high
            if place == own:
                mark = MARKS[step.kind]
            elif is_between and mark == " ":
                mark = "─"
            elif is_between and mark == "│":
                mark = "┼"
            row.append(mark + ("─" if low <= place < high else " "))
        for place in over:
            self.owners[place] = None
        self.owners[own] = step.name if left[step.name] else None
        while self.owners and self.owners[-1] is None:
            self.owners.pop()
        return "".join(row).rstrip()

    def continuing_row(self) -> str:
        """Draw the columns that continue."""
        return " ".join(" " if owner is None else "│" for owner in self.owners)

    def _free(self) -> int:
        if None in self.owners:
            return self.owners.index(None)
        self.owners.append(None)
        return len(self.owners) - 1


def _mark(place: int, own: int, ending: list[int], over: list[int], *, is_lane: bool) -> str:
    """Return the character of a column in the row of a step.

    `own` is the column of the step, and `ending` has the columns of the steps that it needs. `over`
    has those of the columns in `ending` that end in this row.
    """
    if place in over:
        return "╰" if place < own else "╯"
    if place in ending:
        return "├" if place < own else "┤"
    return "│" if is_lane else " "


def _notes(step: Step) -> list[str]:
    parts = [who_acts(step)]
    if step.kind is StepKind.WAIT:
        parts = [f"wait: {length(step.wait_seconds)}"]
    if step.options:
        parts[0] += f": {' / '.join(step.options)}"
    if step.approval:
        roles = who_approves(step.approval)
        parts.append(f"needs {step.approval.count} × approval: {roles}")
    if step.when:
        parts.append(f"only if {condition(step.when)}")
    return parts
