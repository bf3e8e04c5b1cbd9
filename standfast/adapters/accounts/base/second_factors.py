"""Queries of second factors, with limited numbers of requests and time.

This module limits how many accounts are listed, how many are queried, and the total time. The
provider's module defines what a factor is.

Rules
- Accounts beyond the limits are not queried, and the result states this.
- An account that could not be read in time is reported as not queried. If no account could be read,
  the error is raised.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from standfast.adapters.accounts import SecondFactors, WithoutFactor
from standfast.adapters.accounts.base.parallel_calls import run_parallel
from standfast.errors import Unavailable
from standfast.records import Limits
from standfast.time_limit import Deadline

MOST_LISTED = 10_000
MOST_ASKED = 300
_CALLS = 4  # the time limit is four times that of one call


def second_factor_deadline(limits: Limits) -> Deadline:
    """Return the deadline of all requests together."""
    return Deadline(_CALLS * limits.timeout_seconds)


def query_second_factors(
    accounts: Iterable[str],
    has_factor: Callable[[str], bool | None],
    limits: Limits,
    *,
    name_of: Callable[[str], str] = lambda account: account,
) -> SecondFactors:
    """Query up to `MOST_ASKED` accounts; `has_factor` returns None if unknown."""
    listed = list(islice(accounts, MOST_ASKED + 1))
    asked = listed[:MOST_ASKED]

    def one(account: str) -> bool | Unavailable | None:
        try:
            return has_factor(account)
        except Unavailable as error:
            return error

    answers = run_parallel(one, asked, workers=limits.workers)
    errors = [answer for answer in answers if isinstance(answer, Unavailable)]
    if errors and len(errors) == len(asked):
        raise errors[0]
    return SecondFactors(
        without=tuple(
            WithoutFactor(name=name_of(account))
            for account, answer in zip(asked, answers, strict=True)
            if answer is False
        ),
        looked_at=len(asked) - len(errors),
        unreported=answers.count(None),
        is_whole=len(listed) <= MOST_ASKED and not errors,
    )


def count_second_factors(
    accounts: Sequence[tuple[str, bool | None, bool]], *, is_whole: bool
) -> SecondFactors:
    """Summarise accounts, given as (name, has a factor, is privileged)."""
    return SecondFactors(
        without=tuple(
            WithoutFactor(name=name, is_privileged=is_privileged)
            for name, has_factor, is_privileged in accounts
            if has_factor is False
        ),
        looked_at=len(accounts),
        unreported=sum(has_factor is None for _, has_factor, _ in accounts),
        is_whole=is_whole,
    )
