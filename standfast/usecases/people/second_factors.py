"""Which accounts may be signed in to without a second factor, as far as the directories say.

Rules
- Each directory is asked by itself: one that does not answer hides no other.
- What a directory cannot say is said, and never taken for "everybody has one".
- Names are masked; `people factors --names` shows them, and notes the look.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from standfast.adapters.accounts import SecondFactors
from standfast.adapters.factory import Outside
from standfast.errors import ExitStatus, StandfastError, Unsupported
from standfast.plurals import counted
from standfast.records import JsonObject
from standfast.reports.name_masking import mask_word
from standfast.usecases.core.installation import Installation

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What one directory says; `found` is None where it has no notion of it, or did not answer."""

    directory: str
    found: SecondFactors | None = None
    problem: str = ""  # why nobody can say; empty where the directory has no notion of it

    @property
    def cannot_say(self) -> bool:
        """Has the directory no notion of a second factor?"""
        return self.found is None and not self.problem

    @property
    def is_open(self) -> bool:
        """May somebody sign in without one, or can that not be ruled out?"""
        found = self.found
        return found is None or bool(found.without or found.unsaid or not found.is_whole)

    @property
    def sentence(self) -> str:
        """Say it for a person: how many of how many, and the first of them, masked."""
        if self.found is None:
            return self.problem or "cannot say who has a second factor"
        found, many = self.found, len(self.found.without)
        of = "" if found.looked_at is None else f" of {counted(found.looked_at, 'account')}"
        if not many:
            parts = [f"nobody{of} is without a second factor"]
        else:
            accounts = f"{many:,}{of}" if of else counted(many, "account")
            verb = "has" if many == 1 else "have"
            parts = [f"{accounts} {verb} no second factor: {', '.join(self._first())}"]
        if privileged := sum(one.is_privileged for one in found.without):
            parts.append(f"{privileged:,} of them privileged, named first")
        if found.unsaid:
            parts.append(f"of {found.unsaid:,} it does not say")
        if not found.is_whole:
            parts.append("there are more, who were not asked about")
        return "; ".join(parts)

    def _first(self) -> Iterator[str]:
        without = self.found.without if self.found else ()
        yield from (mask_word(one.name) for one in without[:_MOST_NAMED])
        if (more := len(without) - _MOST_NAMED) > 0:
            yield f"{more:,} more"

    def as_json(self, *, is_masked: bool) -> JsonObject:
        """Give it for `--json`."""
        found = self.found
        return {
            "directory": self.directory,
            "cannot_say": self.cannot_say,
            "problem": self.problem,
            "looked_at": found.looked_at if found else None,
            "unsaid": found.unsaid if found else None,
            "is_whole": found.is_whole if found else None,
            "without": [
                {
                    "account": mask_word(one.name) if is_masked else one.name,
                    "is_privileged": one.is_privileged,
                }
                for one in (found.without if found else ())
            ],
        }


def second_factors(installation: Installation) -> list[Factors]:
    """Ask every directory, in the order of the configuration."""
    with closing(installation.reader()) as outside:
        return [_asked(outside, name) for name in outside.config.accounts]


def exit_status(everywhere: list[Factors]) -> ExitStatus:
    """PARTIAL while somebody may sign in without one, or nobody can say."""
    return ExitStatus.PARTIAL if any(one.is_open for one in everywhere) else ExitStatus.DONE


def _asked(outside: Outside, name: str) -> Factors:
    try:
        return Factors(directory=name, found=outside.connector(name).second_factors())
    except Unsupported:
        return Factors(directory=name)
    except StandfastError as error:
        return Factors(directory=name, problem=str(error))
