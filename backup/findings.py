"""Findings as they are gathered: each object and problem once, in the order found.

- Who may write into a store may fill it with junk, so of findings in the same words a hundred are
  named and the rest is counted.  Nothing here grows with the number of foreign objects.
"""

from dataclasses import dataclass
from typing import Literal

from backup.records import Depth, Finding

BACK_UP_AGAIN = "back its content up again, and look at who else holds the writer's key"
FROM_A_COPY = "restore this object from a copy of the repository"
_OLD_KEYS = "if not, somebody has the old keys: see that their identity at the store is revoked"
NO_LONGER_TRUSTED = (
    "nothing when it was made before the owner ended the trust: the writer's next run passes over"
    f" it; {_OLD_KEYS}"
)
PASSED_OVER = f"nothing when it was made before the owner ended the trust; {_OLD_KEYS}"
LOOK_AT_THE_HOST = (
    "set the host's clock right; if nobody changed it, treat the host as taken over: a new epoch"
)
MORE_OPENERS = "opens for another key besides the domain's: who made it lets somebody else read it"
LOOK = "find out who wrote it; no recovery point stands on it"
TAKE_THE_RIGHT = "find out who did it, and take that right away; nothing was lost"

_MOST_NAMED = 100
_MOST_KINDS = 1000

_Severity = Literal["error", "warning", "note"]


@dataclass(kw_only=True, slots=True)
class _Kind:
    """Findings of one kind: how many are named, and what is said of the rest."""

    example: Finding
    named: int = 0
    more: int = 0


class Findings:
    """A growing list of findings."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def error(
        self,
        name: str,
        problem: str,
        what_to_do: str,
        *,
        depth: Depth = "looking",
        kind: str | None = None,
    ) -> None:
        """Data or history is not what it was; `kind` is what is counted together."""
        self._add("error", name, problem, what_to_do, depth, kind)

    def warning(self, name: str, problem: str, what_to_do: str, *, kind: str | None = None) -> None:
        """Something is odd, and every recovery point is whole."""
        self._add("warning", name, problem, what_to_do, "looking", kind)

    def note(self, name: str, problem: str, what_to_do: str) -> None:
        """Worth knowing, and nothing to worry about."""
        self._add("note", name, problem, what_to_do, "looking", None)

    def lost_pack(self, name: str, problem: str, what_to_do: str, *, depth: Depth) -> None:
        """A pack that a point needs is not what it was; all are named, for who mends them.

        There are no more of them than snapshots name.
        """
        finding = _finding("error", name, problem, what_to_do, depth)
        self._found.setdefault((name, problem), finding)

    def all(self) -> tuple[Finding, ...]:
        """Everything found so far; what was not named stands at the end, by kind."""
        rest = tuple(
            _finding(
                kind.example.severity,
                f"{kind.more:,} more objects",
                f"as with {kind.example.object}: {kind.example.problem}",
                kind.example.what_to_do,
                kind.example.depth,
            )
            for kind in self._kinds.values()
            if kind.more
        )
        return (*self._found.values(), *rest)

    def _add(
        self,
        severity: _Severity,
        name: str,
        problem: str,
        what_to_do: str,
        depth: Depth,
        kind: str | None,
    ) -> None:
        if (name, problem) in self._found:
            return
        finding = _finding(severity, name, problem, what_to_do, depth)
        key = (severity, kind or problem)
        if key not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            key = (severity, "")
        counted = self._kinds.setdefault(key, _Kind(example=finding))
        if counted.named < _MOST_NAMED:
            counted.named += 1
            self._found[name, problem] = finding
        else:
            counted.more += 1


def _finding(
    severity: _Severity, name: str, problem: str, what_to_do: str, depth: Depth
) -> Finding:
    # Errors name the object themselves, and what helps alone: here both stand beside the problem.
    problem = problem.removeprefix(name).lstrip()
    if what_to_do == FROM_A_COPY:
        problem = problem.removesuffix("; restore it from a copy")
    return Finding(
        severity=severity, object=name, problem=problem, what_to_do=what_to_do, depth=depth
    )
