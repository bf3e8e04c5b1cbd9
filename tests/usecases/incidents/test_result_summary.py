"""Counts of a step: each proven lock has its proof level."""

import pytest

from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.records import Proof
from standfast.usecases.incidents.result_summary import Tally


@pytest.mark.parametrize(
    ("proofs", "words"),
    [
        ({Proof.READ_BACK: 3}, "3 proven locked (read back only)"),
        ({Proof.CONNECTIONS_GONE: 3}, "3 proven locked (no directory connection)"),
        ({Proof.SESSIONS_GONE: 3}, "3 proven locked (no session listed)"),
        ({Proof.REFUSED: 3}, "3 proven locked (sign-in refused)"),
        (
            {Proof.READ_BACK: 2, Proof.REFUSED: 1},
            "3 proven locked (2 read back only; 1 sign-in refused)",
        ),
    ],
)
def test_proven_locks_are_counted_by_level(proofs: dict[Proof, int], words: str) -> None:
    tally = Tally(step="prove", verb=PROVE, done=3, missed=(), proofs=proofs)
    assert tally.sentence == words
    assert tally.as_json()["proofs"] == {level.value: count for level, count in proofs.items()}
