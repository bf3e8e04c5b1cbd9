"""Order of the steps of a playbook, from their `needs`.

The `needs` of a step are the steps that must have ended before it begins.

Rules
- A name in `needs` that is not a step is ignored here; `validation` reports it.
- A cycle is not an error here: its steps are placed in file order after all others that can run.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from standfast.playbook.model import Playbook, Step


def in_order(playbook: Playbook) -> tuple[Step, ...]:
    """Return the steps, each after those that it needs, else in file order."""
    placed: dict[str, Step] = {}
    names = {step.name for step in playbook.steps}
    left = list(playbook.steps)
    while left:
        ready = next(
            (s for s in left if all(n in placed or n not in names for n in s.needs)), left[0]
        )
        left.remove(ready)
        placed[ready.name] = ready
    return tuple(placed.values())


def all_needs(playbook: Playbook, *, without_after: bool = False) -> Mapping[str, frozenset[str]]:
    """Return for each step the steps that it needs, directly or indirectly.

    With `without_after`, omit needs that are also in `after`: a step may begin whatever the result
    of these needs is.
    """
    found: dict[str, frozenset[str]] = {}
    for step in in_order(playbook):
        direct = frozenset(step.needs) - frozenset(step.after if without_after else ())
        found[step.name] = direct.union(*(found.get(need, frozenset()) for need in direct))
    return found


def direct_needs(playbook: Playbook) -> Mapping[str, frozenset[str]]:
    """Return for each step the needs that a drawing shows.

    If a step needs a and b, and b needs a, then only b is shown.
    """
    far = all_needs(playbook)
    return {
        step.name: frozenset(
            need
            for need in step.needs
            if need in far and not any(need in far.get(other, ()) for other in step.needs)
        )
        for step in playbook.steps
    }


def cycles(playbook: Playbook) -> list[tuple[str, ...]]:
    """Return cycles that have no step in common, each as a closed path.

    The path (a, b, a) means that a needs b and b needs a.
    """
    needs = {step.name: step.needs for step in playbook.steps}
    found: list[tuple[str, ...]] = []
    while True:
        try:
            TopologicalSorter(
                {name: [n for n in wanted if n in needs] for name, wanted in needs.items()}
            ).prepare()
        except CycleError as error:
            path = tuple(reversed(error.args[1]))
            found.append(path)
            needs = {name: wanted for name, wanted in needs.items() if name not in path}
        else:
            return found
