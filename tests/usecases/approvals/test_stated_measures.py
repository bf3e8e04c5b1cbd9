"""Notices name only measures that are done and proven."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault
from standfast.records import Proof
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.result_summary import tallies
from tests.usecases.twins import SimulatedInstallation, simulated_installation

LABELS: Mapping[str, Mapping[str, str]] = tomllib.loads(
    Path("notify_templates/customers-account-takeover/context.toml").read_text(encoding="utf-8")
)["variables"]["measures"]["labels"]
ACCOUNTS = ("agents:agent01", "agents:agent02")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path) as installation:
        yield installation


def stated(installation: SimulatedInstallation, case: str) -> set[str]:
    """Return the codes that the notice contains, equal in each language."""
    if installation.advance(case).state.steps["tell_staff"].state.is_final:
        step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    body = installation.ledger.incidents.notice(case, "tell_customers", 1).body
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
def test_notice_states_the_proven_level(
    installation: SimulatedInstallation, level: Proof, said: set[str]
) -> None:
    installation.directory.proof = level
    case = installation.open("account-takeover", ACCOUNTS)
    assert stated(installation, case) == {"accounts-locked", "logs-kept", *said}
    (proof,) = [one for one in tallies(installation, case) if one.step == "prove"]
    assert dict(proof.proofs) == {level: 2}


def test_lock_that_a_person_accepted_is_not_stated(installation: SimulatedInstallation) -> None:
    installation.directory.script("lock", Fault.FAIL, times=1)
    case = installation.open("account-takeover", ACCOUNTS)
    installation.advance(case)
    step_decisions.accept(installation, case, "lock")
    assert stated(installation, case) == {"logs-kept"}
