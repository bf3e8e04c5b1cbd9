"""Findings of a check, with advice; at most a hundred of each kind.

A finding is a problem that a check of a vault (the store of the encrypted backups) reports. Anybody
with the right to put objects can fill the vault with invalid objects. So if many findings are of
the same kind, the first hundred are named and the others are only counted. The memory in use does
not grow with the number of invalid objects.
"""

from dataclasses import dataclass
from typing import Literal

from backup.records import Depth, Finding

BACK_UP_AGAIN = "back its content up again, and check who else has the writer's key"
FROM_A_COPY = "restore this object from a copy of the repository"
_OLD_KEYS = "if not, somebody has the old keys: check that their identity at the store is revoked"
CHECK_REVOKED_BEFORE_NEXT_RUN = (
    "nothing, if it was made before the owner ended the trust: the writer's next run skips it; "
    f"{_OLD_KEYS}"
)
CHECK_REVOKED = f"nothing, if it was made before the owner ended the trust; {_OLD_KEYS}"
TREAT_AS_COMPROMISED = "treat the host as compromised and begin a new epoch"
CHECK_HOST_CLOCK = (
    f"correct the host's clock; if it was right when the snapshot was made, {TREAT_AS_COMPROMISED}"
)
MORE_OPENERS = (
    "is encrypted to the key of the domain and to another key, so somebody else can read it"
)
FIND_AUTHOR = "find out who wrote it; no recovery point depends on it"
REVOKE_RIGHT = "find out who did it, and revoke that right; nothing was lost"

_MAX_NAMED = 100
_MAX_KINDS = 1000

_Severity = Literal["error", "warning", "note"]


@dataclass(kw_only=True, slots=True)
class _Kind:
    """Number of findings of one kind."""

    example: Finding
    named: int = 0  # number of findings that are named
    more: int = 0  # number of other findings


class Findings:
    """List of findings, which checks add to."""

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
        """Add an error: data or history changed.

        Findings of the same `kind` are counted together; without it, those of the same problem.
        """
        self._add("error", name, problem, what_to_do, depth, kind)

    def warning(self, name: str, problem: str, what_to_do: str, *, kind: str | None = None) -> None:
        """Add a warning: an anomaly, but every recovery point is complete."""
        self._add("warning", name, problem, what_to_do, "looking", kind)

    def note(self, name: str, problem: str, what_to_do: str) -> None:
        """Add a note, which needs no action."""
        self._add("note", name, problem, what_to_do, "looking", None)

    def lost_pack(self, name: str, problem: str, what_to_do: str, *, depth: Depth) -> None:
        """Add an error for a pack that a recovery point needs.

        A pack is a container of backup content. Every lost pack is named: only packs that a signed
        snapshot lists are needed, so their number is limited.
        """
        finding = _finding("error", name, problem, what_to_do, depth)
        self._found.setdefault((name, problem), finding)

    def all(self) -> tuple[Finding, ...]:
        """Return all named findings, then the number of others of each kind."""
        counted = tuple(
            _finding(
                kind.example.severity,
                f"{kind.more:,} more objects",
                f"the same problem as {kind.example.object}: {kind.example.problem}",
                kind.example.what_to_do,
                kind.example.depth,
            )
            for kind in self._kinds.values()
            if kind.more
        )
        return (*self._found.values(), *counted)

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
        if key not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            key = (severity, "")
        counted = self._kinds.setdefault(key, _Kind(example=finding))
        if counted.named < _MAX_NAMED:
            counted.named += 1
            self._found[name, problem] = finding
        else:
            counted.more += 1


def _finding(
    severity: _Severity, name: str, problem: str, what_to_do: str, depth: Depth
) -> Finding:
    # Remove the object and the action from the text of an error: a finding has fields for both.
    problem = problem.removeprefix(name).lstrip()
    if what_to_do == FROM_A_COPY:
        problem = problem.removesuffix("; restore it from a copy")
        problem = problem.removesuffix(". Restore it from a copy")
    return Finding(
        severity=severity, object=name, problem=problem, what_to_do=what_to_do, depth=depth
    )
