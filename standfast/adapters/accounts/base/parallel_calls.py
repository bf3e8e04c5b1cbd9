"""Parallel calls, and parallel look-ups in which single accounts may fail."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from standfast.adapters.accounts import AccountState
from standfast.errors import Unavailable

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def run_parallel(do: Callable[[_In], _Out], items: Sequence[_In], *, workers: int) -> list[_Out]:
    """Process the items, at most `workers` at once; results keep their order."""
    if len(items) < 2:
        return [do(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(workers, len(items))) as pool:
        return list(pool.map(do, items))


def observe_accounts(
    directory: str, look: Callable[[str], AccountState], names: Sequence[str], *, workers: int
) -> list[AccountState]:
    """Look up each name; where `look` raises Unavailable, record the reason.

    Raises Unavailable if no account could be read.
    """
    errors: list[Unavailable] = []

    def one(name: str) -> AccountState:
        try:
            return look(name)
        except Unavailable as error:
            errors.append(error)
            return AccountState(name=name, exists=False, reason=str(error))

    states = run_parallel(one, names, workers=workers)
    if names and len(errors) == len(names):
        raise Unavailable(
            f"directory {directory!r}: cannot be read, {errors[0]}",
            retry_after_seconds=errors[0].retry_after_seconds,
        )
    return states
