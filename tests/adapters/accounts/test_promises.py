"""Promises that the base class keeps around every provider."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from standfast.adapters.accounts import AccountState, Connector
from standfast.errors import Unavailable, Unsupported
from standfast.records import EffectState, Limits, Order, Proof, Result

SECRET = "alice's token is hunter2"


class Broken(Connector):
    """A provider with scripted methods."""

    name = "broken"
    limits = Limits()
    proof = Proof.READ_BACK

    def __init__(self, error: Exception | None = None, results: Sequence[Result] = ()) -> None:
        self.error = error
        self.results = list(results)

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        if self.error:
            raise self.error
        return [AccountState(name="someone else", exists=True)]

    def _act(self, orders: Sequence[Order]) -> list[Result]:
        if self.error:
            raise self.error
        return self.results

    _lock = _revoke = _prove = _undo = _act


ORDER = Order(token="t", verb="accounts.lock", target="alice")


@pytest.mark.parametrize("verb", ["lock", "revoke", "undo"])
def test_unexpected_error_is_unknown_and_not_quoted(verb: str) -> None:
    (result,) = getattr(Broken(ValueError(SECRET)), verb)([ORDER])
    assert result.state is EffectState.UNKNOWN
    assert result.reason == "unexpected ValueError"


def test_unexpected_error_fails_a_proof() -> None:
    (result,) = Broken(ValueError(SECRET)).prove([ORDER])
    assert (result.state, result.proof) == (EffectState.FAILED, Proof.NONE)


def test_a_declared_error_gives_its_own_words() -> None:
    (result,) = Broken(Unavailable("the directory sleeps")).lock([ORDER])
    assert (result.state, result.reason) == (EffectState.UNKNOWN, "the directory sleeps")


@pytest.mark.parametrize(
    "results",
    [
        [],
        [Result(target="bob", state=EffectState.DONE)],
        [Result(target="alice", state=EffectState.DONE)] * 2,
    ],
)
def test_mismatched_answers_are_unknown(results: list[Result]) -> None:
    (result,) = Broken(results=results).lock([ORDER])
    assert (result.target, result.state) == ("alice", EffectState.UNKNOWN)


def test_observing_lets_only_declared_errors_out() -> None:
    with pytest.raises(Unavailable) as caught:
        Broken(ValueError(SECRET)).observe(["alice"])
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_observation_of_other_accounts_is_not_believed() -> None:
    with pytest.raises(Unavailable, match="other accounts"):
        Broken().observe(["alice"])


def test_a_verb_that_the_directory_lacks_is_unsupported() -> None:
    broken = Broken()
    broken.verbs = frozenset({"lock"})
    with pytest.raises(Unsupported, match="revoke"):
        broken.revoke([ORDER])


def test_importing_the_connectors_brings_no_http_client() -> None:
    program = (
        "import sys, standfast.adapters.accounts.scim.connector\n"
        "import standfast.adapters.accounts.simulator\n"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
