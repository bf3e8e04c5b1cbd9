"""Accounts without a second factor, as far as the directories report them.

A directory is a system that stores accounts, such as OpenLDAP or Okta.

Rules
- Each directory is queried separately: after an error in one directory, the others are still
  queried.
- If a directory returns no answer, the result states it. A missing answer is never reported as
  "everybody has a second factor".
- Names are masked; `people factors --names` shows them and records the access.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from standfast.adapters.accounts import SecondFactors
from standfast.adapters.factory import Adapters
from standfast.errors import ExitStatus, StandfastError, Unsupported
from standfast.plurals import counted
from standfast.records import JsonObject
from standfast.reports.name_masking import mask_word
from standfast.usecases.core.installation import Installation

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Factors:
    """The answer of one directory; `found` is None without an answer."""

    directory: str
    found: SecondFactors | None = None
    problem: str = ""  # the error of the query; "" if the directory cannot report second factors

    @property
    def cannot_say(self) -> bool:
        """True if the directory cannot report second factors."""
        return self.found is None and not self.problem

    @property
    def is_open(self) -> bool:
        """True if an account lacks, or may lack, a second factor."""
        found = self.found
        return found is None or bool(found.without or found.unreported or not found.is_whole)

    @property
    def sentence(self) -> str:
        """The numbers and the first accounts in words, masked."""
        if self.found is None:
            return self.problem or "it cannot report second factors"
        found, many = self.found, len(self.found.without)
        total = "" if found.looked_at is None else f" of {counted(found.looked_at, 'account')}"
        if not many:
            parts = [f"accounts without a second factor: 0{total}"]
        else:
            accounts = f"{many:,}{total}" if total else counted(many, "account")
            verb = "has" if many == 1 else "have"
            parts = [f"{accounts} {verb} no second factor: {', '.join(self._first())}"]
        if privileged := sum(account.is_privileged for account in found.without):
            parts.append(f"{privileged:,} of them privileged, named first")
        if found.unreported:
            parts.append(f"{found.unreported:,} unknown")
        if not found.is_whole:
            parts.append("the directory has more accounts, which were not examined")
        return "; ".join(parts)

    def _first(self) -> Iterator[str]:
        without = self.found.without if self.found else ()
        yield from (mask_word(account.name) for account in without[:_MOST_NAMED])
        if (more := len(without) - _MOST_NAMED) > 0:
            yield f"{more:,} more"

    def as_json(self, *, is_masked: bool) -> JsonObject:
        """Return the JSON form."""
        found = self.found
        return {
            "directory": self.directory,
            "cannot_say": self.cannot_say,
            "problem": self.problem,
            "looked_at": found.looked_at if found else None,
            "unreported": found.unreported if found else None,
            "is_whole": found.is_whole if found else None,
            "without": [
                {
                    "account": mask_word(account.name) if is_masked else account.name,
                    "is_privileged": account.is_privileged,
                }
                for account in (found.without if found else ())
            ],
        }


def second_factors(installation: Installation) -> list[Factors]:
    """Query every directory, in the order of the configuration."""
    with closing(installation.reading_adapters()) as adapters:
        return [_query(adapters, name) for name in adapters.config.accounts]


def exit_status(everywhere: list[Factors]) -> ExitStatus:
    """Return PARTIAL if somebody may lack a second factor, else DONE."""
    return ExitStatus.PARTIAL if any(factors.is_open for factors in everywhere) else ExitStatus.DONE


def _query(adapters: Adapters, name: str) -> Factors:
    try:
        return Factors(directory=name, found=adapters.connector(name).second_factors())
    except Unsupported:
        return Factors(directory=name)
    except StandfastError as error:
        return Factors(directory=name, problem=str(error))
