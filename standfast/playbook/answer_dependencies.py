"""Answers on which the condition and the arguments of a step depend."""

from collections.abc import Iterator

from standfast.playbook.expressions import Expression, embedded, parse, texts_in
from standfast.playbook.model import Playbook, Step, StepKind

ASKS = (StepKind.MANUAL, StepKind.DECIDE)


def answers_behind(playbook: Playbook, step: Step) -> frozenset[str]:
    """Return the steps with the answers on which another step depends.

    The condition or an argument of the step names the answer, or names the result of another step
    that depends on the answer. The playbook must have passed `validation`, so that a step names
    only steps that run before it.
    """
    found: set[str] = set()
    for expression in _expressions(step):
        for root, *rest in expression.names():
            if root == "inputs" or not rest:
                continue
            named = playbook.step(rest[0])
            found |= {named.name} if named.kind in ASKS else answers_behind(playbook, named)
    return frozenset(found)


def _expressions(step: Step) -> Iterator[Expression]:
    if step.when is not None:
        yield parse(step.when)
    for text in texts_in(dict(step.arguments)):
        if (found := embedded(text)) is not None:
            yield found
