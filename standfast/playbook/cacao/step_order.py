"""Order of CACAO steps as a graph of needs and conditions.

CACAO, a standard format for playbooks, nests blocks: each branch of a block ends in an `end` step,
and the step after the block follows. In Standfast, a step names its needs. This module converts the
order to needs and conditions that refer to steps of the document.

Rules
- The step after a block needs the last steps of all branches. The steps of the other branches are
  skipped, which counts as done, so the step begins when the chosen branch has ended.
- If several branches lead to a step, the step depends only on the choices that these branches have
  in common.
- The steps inside a `while-condition` are left out, because the graph of a playbook has no cycles.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from standfast.playbook.cacao.semantics import edges

BLOCKS = ("parallel", "if-condition", "switch-condition")
_PASSED_THROUGH = ("start", "parallel")
_AFTER = ("on_completion", "on_success", "on_failure")


@dataclass(frozen=True, kw_only=True, order=True)
class Choice:
    """One branch of a step, which must be chosen to reach another step."""

    step: str
    branch: str  # "on_true", "on_false", "cases['x']", "on_success", "on_failure"


@dataclass(kw_only=True)
class Place:
    """Position of a step in the order: the needed steps and choices."""

    needs: dict[str, None] = field(default_factory=dict)  # steps that must have ended, in order
    choices: tuple[Choice, ...] | None = None  # required choices; None: not reached yet


class Flow:
    """The flow of one document, which passed the semantic checks."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._workflow: Mapping[str, Mapping[str, Any]] = document["workflow"]
        self._start: str = document["workflow_start"]
        self._ends: dict[str, tuple[str, ...]] = {}

    def in_order(self) -> Iterator[tuple[str, Place]]:
        """Yield every step with its position, each after the steps it needs.

        Omit the steps of the types `start`, `end` and `parallel`.
        """
        order = self._order()
        places = {name: Place() for name in order}
        places[self._start].choices = ()
        for name in order:
            place = places[name]
            if self._kind(name) not in ("end", *_PASSED_THROUGH):
                yield name, place
            for key, other in self._leads_to(name):
                self._record_edge(name, key, places[other], place)

    def decides(self, name: str) -> bool:
        """Return whether the branches of this step exclude each other."""
        step = self._workflow[name]
        return self._kind(name) in ("if-condition", "switch-condition") or (
            "on_success" in step and "on_failure" in step
        )

    def _record_edge(self, name: str, key: str, target: Place, here: Place) -> None:
        """Record the needs and choices of one edge to a step."""
        choices = here.choices or ()
        is_after = key in _AFTER
        if self._kind(name) in BLOCKS and is_after:
            target.needs |= dict.fromkeys(self._last_of(name) or here.needs)
        elif self._kind(name) in _PASSED_THROUGH:
            target.needs |= here.needs
        else:
            target.needs[name] = None
        if self.decides(name) and not (self._kind(name) in BLOCKS and is_after):
            choices = (*choices, Choice(step=name, branch=key))
        target.choices = choices if target.choices is None else _common(target.choices, choices)

    def _last_of(self, name: str) -> tuple[str, ...]:
        """Return the last steps of all branches of a block.

        Return () for a step that is not a block.
        """
        if name not in self._ends:
            step, found = self._workflow[name], dict[str, None]()
            branches = [other for _, other in self._branches(step)]
            after = {other for key, other in edges(step) if key in _AFTER}
            if self._kind(name) in BLOCKS:
                for other in branches:
                    own = () if self._kind(name) == "parallel" else (name,)
                    found |= dict.fromkeys(self._tail(other, after) or own)
            self._ends[name] = tuple(found)
        return self._ends[name]

    def _tail(self, name: str, stop: Set[str]) -> tuple[str, ...]:
        """Return the last steps of the branch that begins with a step.

        `stop` contains the steps after the block. In some files, a branch leads to one of these
        steps and not to an `end` step.
        """
        found: dict[str, None] = {}
        left, seen = [name], {name}
        while left:
            current = left.pop()
            kind = self._kind(current)
            if kind == "end" or current in stop:
                continue
            after = [other for key, other in edges(self._workflow[current]) if key in _AFTER]
            continuing = [o for o in after if self._kind(o) != "end" and o not in stop]
            if len(continuing) < len(after) or not after:
                own = self._last_of(current) if kind in BLOCKS else (current,)
                found |= dict.fromkeys(own)
            for other in continuing:
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return tuple(found)

    def _order(self) -> list[str]:
        reached, left = {self._start: None}, [self._start]
        sorter: TopologicalSorter[str] = TopologicalSorter()
        while left:
            name = left.pop()
            sorter.add(name)
            for _, other in self._leads_to(name):
                sorter.add(other, name)
                if other not in reached:
                    reached[other] = None
                    left.append(other)
            if self._kind(name) in BLOCKS:
                # The step after a block comes after all of its branches.
                for key, after in self._leads_to(name):
                    if key in _AFTER:
                        lasts = [last for last in self._last_of(name) if last != name]
                        sorter.add(after, *lasts)
        try:
            return [name for name in sorter.static_order() if name in reached]
        except CycleError:
            raise ValueError(
                "a branch of a block continues after the block. End it with a step of type end"
            ) from None

    def _leads_to(self, name: str) -> list[tuple[str, str]]:
        step = self._workflow[name]
        is_loop = self._kind(name) == "while-condition"
        return [(key, other) for key, other in edges(step) if not (is_loop and key == "on_true")]

    def _branches(self, step: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(key, other) for key, other in edges(step) if key not in _AFTER]

    def _kind(self, name: str) -> str:
        return str(self._workflow[name]["type"])


def _common(first: Sequence[Choice], other: Sequence[Choice]) -> tuple[Choice, ...]:
    found = []
    for left, right in zip(first, other, strict=False):
        if left != right:
            break
        found.append(left)
    return tuple(found)
