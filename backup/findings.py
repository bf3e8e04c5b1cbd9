"""Findings as they are gathered: each object and problem once, in the order found."""

from typing import Literal

from backup.records import Finding

FROM_A_COPY = "restore this object from a copy of the repository"
LOOK = "find out who wrote it; no recovery point stands on it"
TAKE_THE_RIGHT = "find out who did it, and take that right away; nothing was lost"


class Findings:
    """A growing list of findings."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def error(self, name: str, problem: str, what_to_do: str) -> None:
        """Data or history is not what it was."""
        self._add("error", name, problem, what_to_do)

    def warning(self, name: str, problem: str, what_to_do: str) -> None:
        """Something is odd, and every recovery point is whole."""
        self._add("warning", name, problem, what_to_do)

    def note(self, name: str, problem: str, what_to_do: str) -> None:
        """Worth knowing, and nothing to worry about."""
        self._add("note", name, problem, what_to_do)

    def all(self) -> tuple[Finding, ...]:
        """Everything found so far."""
        return tuple(self._found.values())

    def _add(
        self,
        severity: Literal["error", "warning", "note"],
        name: str,
        problem: str,
        what_to_do: str,
    ) -> None:
        self._found.setdefault(
            (name, problem),
            Finding(severity=severity, object=name, problem=problem, what_to_do=what_to_do),
        )
