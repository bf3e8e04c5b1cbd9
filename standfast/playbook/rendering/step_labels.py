"""Labels of a step on paper and in drawings: actor, approvers, duration."""

import re
from collections.abc import Mapping

from standfast.playbook.model import Approval, Step, StepKind


def who_acts(step: Step) -> str:
    """Return the executor of the step, such as `person (it-lead)`.

    Other examples: `program`, `decision (duty-manager)`.
    """
    match step.kind:
        case StepKind.DO:
            return "program"
        case StepKind.WAIT:
            return "wait"
    label = "decision" if step.kind is StepKind.DECIDE else "person"
    who = " or ".join(step.by or step.roles)
    return f"{label} ({who})" if who else label


def who_approves(approval: Approval) -> str:
    """Return the roles that approve; without a role, anyone but the requester."""
    return " or ".join(approval.roles) or "anyone else"


def any_result_text(step: Step, numbers: Mapping[str, int]) -> str:
    """Return a phrase with the needed steps that may end with any result.

    Example: `, with any result of step 3`. `numbers` has the number of each step, by name.
    """
    any_result = sorted(numbers[need] for need in step.after if need in numbers)
    if not any_result:
        return ""
    which = "it" if len(step.needs) == 1 else f"step {', '.join(map(str, any_result))}"
    return f", with any result of {which}"


def length(seconds: int) -> str:
    """Format a length of time in its largest whole unit: `30 minutes`."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            number = seconds // size
            return f"{number} {name}" + ("s" if number != 1 else "")
    raise ValueError("a length of time is a whole number of seconds")


def paragraphs(text: str) -> list[str]:
    """Return paragraphs and `- ` items, each as one line to be wrapped again."""
    parts: list[str] = [""]
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("- "):
            parts.append("")
        parts[-1] = f"{parts[-1]} {line.strip()}".strip()
    return [part for part in parts if part]


def condition(when: str) -> str:
    """Describe a condition in words, if it has a common form.

    The forms are the comparison of an answer with a text, and of an input with None. Return any
    other condition unchanged.
    """
    answered = re.fullmatch(r'answers\.(\w+) == "([^"]+)"', when)
    if answered:
        return f"the answer to {answered[1]} is “{answered[2]}”"
    given = re.fullmatch(r"inputs\.(\w+) != None", when)
    return f"{given[1]} are given" if given else when
