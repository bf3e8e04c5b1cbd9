"""Measures that a notice may claim: done and proven for every target."""

import pytest

from standfast.playbook.model import Playbook
from standfast.playbook.run_state import StepView
from standfast.playbook.status.containment_measures import measures_taken
from standfast.records import Proof
from standfast.records import StepState as S
from tests.playbook.build import playbook_of, state_of, view

LOCKED = view("lock", S.DONE, done=2)
KEPT = view("logs", S.DONE, done=1)


@pytest.fixture(scope="module")
def playbook() -> Playbook:
    return playbook_of(
        """
        logs: {title: Logs, do: evidence.snapshot}
        lock: {title: Lock, do: accounts.lock, with: {accounts: [a, b]}, on_partial: go_on}
        prove: {title: Prove, needs: [lock], do: accounts.prove_locked, with: {accounts: [a, b]}}
        again: {title: Again, needs: [prove], do: accounts.prove_locked, with: {accounts: [a, b]}}
        """
    )


def proven(level: Proof, name: str = "prove") -> StepView:
    return view(name, S.DONE, done=2, proof=level)


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        ([], []),
        ([KEPT], ["logs-kept"]),
        ([view("logs", S.FAILED, failed=1), LOCKED], ["accounts-locked"]),
        ([view("lock", S.PARTIAL, done=1, failed=1, is_accepted=True)], []),
        ([view("lock", S.RUNNING, done=1, planned=1)], []),
        ([view("lock", S.SKIPPED), KEPT], ["logs-kept"]),
        ([LOCKED, proven(Proof.READ_BACK)], ["accounts-locked"]),
        ([LOCKED, proven(Proof.CONNECTIONS_GONE)], ["accounts-locked"]),
        (
            [LOCKED, proven(Proof.SESSIONS_GONE), KEPT],
            ["accounts-locked", "sessions-ended", "logs-kept"],
        ),
        ([LOCKED, proven(Proof.REFUSED)], ["accounts-locked", "sign-in-refused"]),
        (
            [LOCKED, view("prove", S.PARTIAL, done=1, failed=1, proof=Proof.SESSIONS_GONE)],
            ["accounts-locked"],
        ),
        (
            [LOCKED, proven(Proof.SESSIONS_GONE), proven(Proof.READ_BACK, "again")],
            ["accounts-locked"],
        ),
        (
            [LOCKED, proven(Proof.SESSIONS_GONE), view("again", S.FAILED, failed=2)],
            ["accounts-locked"],
        ),
    ],
)
def test_only_what_is_done_and_proven_is_stated(
    playbook: Playbook, views: list[StepView], expected: list[str]
) -> None:
    assert measures_taken(state_of(playbook, *views)) == expected
