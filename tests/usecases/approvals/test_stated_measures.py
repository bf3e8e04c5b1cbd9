"""What customers are told was done: what the ledger has as done and proven, in every language."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault
from standfast.records import Proof
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.result_summary import tallies
from tests.usecases.twins import TwinPlace, twin_place

LABELS: Mapping[str, Mapping[str, str]] = tomllib.loads(
    Path("notify_templates/customers-account-takeover/context.toml").read_text(encoding="utf-8")
)["variables"]["measures"]["labels"]
ACCOUNTS = ("agents:agent01", "agents:agent02")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    with twin_place(tmp_path) as place:
        yield place


def stated(place: TwinPlace, case: str) -> set[str]:
    """Return the codes whose words stand in the planned notice, the same in each language."""
    if place.advance(case).state.steps["tell_staff"].state.is_final:
        step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
    place.advance(case)
    body = place.ledger.incidents.notice(case, "tell_customers", 1).body
    found = [
        {code for code, words in LABELS.items() if words[language] in str(parts)}
        for language, parts in body["languages"].items()  # type: ignore[union-attr]
    ]
    assert all(one == found[0] for one in found), "every language says the same"
    return found[0]


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (Proof.READ_BACK, set()),
        (Proof.CONNECTIONS_GONE, set()),
        (Proof.SESSIONS_GONE, {"sessions-ended"}),
        (Proof.REFUSED, {"sign-in-refused"}),
    ],
)
def test_notice_states_the_proven_level(place: TwinPlace, level: Proof, said: set[str]) -> None:
    place.directory.proof = level
    case = place.open("account-takeover", ACCOUNTS)
    assert stated(place, case) == {"accounts-locked", "logs-kept", *said}
    (proof,) = [one for one in tallies(place, case) if one.step == "prove"]
    assert dict(proof.proofs) == {level: 2}


def test_lock_that_a_person_accepted_is_not_stated(place: TwinPlace) -> None:
    place.directory.script("lock", Fault.FAIL, times=1)
    case = place.open("account-takeover", ACCOUNTS)
    place.advance(case)
    step_decisions.accept(place, case, "lock")
    assert stated(place, case) == {"logs-kept"}
