"""Accounts without a second factor, as directories report them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from standfast.adapters.accounts import Connector, SecondFactors, WithoutFactor
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.check_results import Check, Verdict
from standfast.usecases.health.recency_checks import FACTORS, practice
from standfast.usecases.people.second_factors import Factors, exit_status, second_factors
from tests.usecases.installations import furnish, installation_at


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_at(furnish(tmp_path)) as installation:
        yield installation


def directories(monkeypatch: pytest.MonkeyPatch, *connectors: Connector) -> None:
    """Configure these directories, each under its own name."""
    known = {one.name: one for one in connectors}
    config = SimpleNamespace(accounts=known)
    adapters = SimpleNamespace(config=config, connector=known.__getitem__, close=lambda: None)
    monkeypatch.setattr(Installation, "reading_adapters", lambda self: adapters)


def said(installation: Installation) -> list[Check]:
    return [one for one in practice(installation) if one.part == FACTORS]


def test_absent_directory_hides_no_other_factors(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = SimulatedConnector("crm", {"ada": True}, factors={})
    away.go_away()
    directories(
        monkeypatch,
        away,
        SimulatedConnector(
            "desk", {"ada": True, "ben": True, "gone": False}, factors={"ben": True}
        ),
        SimulatedConnector("phone", {"ada": True}),
        SimulatedConnector("safe", {"ada": True}, factors={"ada": True}),
        SimulatedConnector("vault", {"ada": True}),
    )
    assert [(one.verdict, one.found) for one in said(installation)] == [
        (Verdict.WARN, "crm: directory 'crm': does not answer"),
        (Verdict.WARN, "desk: 1 of 2 accounts has no second factor: a***"),
        (Verdict.OK, "safe: accounts without a second factor: 0 of 1 account"),
        (Verdict.WARN, "phone, vault: cannot report second factors"),
    ]
    assert exit_status(second_factors(installation)) is ExitStatus.PARTIAL


def test_missing_directory_yields_no_finding(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories(monkeypatch)
    assert said(installation) == []
    assert exit_status(second_factors(installation)) is ExitStatus.DONE


def everybody(**more: Any) -> Factors:
    return Factors(directory="desk", found=SecondFactors(**{"without": (), **more}))


@pytest.mark.parametrize(
    ("found", "is_open", "words"),
    [
        (everybody(looked_at=7), False, "accounts without a second factor: 0 of 7 accounts"),
        (everybody(), False, "accounts without a second factor: 0"),
        (
            everybody(looked_at=7, unreported=2),
            True,
            "accounts without a second factor: 0 of 7 accounts; 2 unknown",
        ),
        (
            everybody(looked_at=300, is_whole=False),
            True,
            (
                "accounts without a second factor: 0 of 300 accounts; "
                "the directory has more accounts, which were not examined"
            ),
        ),
        (
            everybody(
                without=(
                    WithoutFactor(name="root", is_privileged=True),
                    *(WithoutFactor(name=f"agent{number}") for number in range(6)),
                )
            ),
            True,
            (
                "7 accounts have no second factor: r***, a***, a***, a***, a***, 2 more; "
                "1 of them privileged, named first"
            ),
        ),
    ],
)
def test_second_factor_result_is_one_sentence(found: Factors, is_open: bool, words: str) -> None:
    assert (found.is_open, found.sentence) == (is_open, words)


def test_names_are_masked_unless_they_are_asked_for() -> None:
    found = everybody(without=(WithoutFactor(name="root", is_privileged=True),))
    masked, named = found.as_json(is_masked=True), found.as_json(is_masked=False)
    assert masked["without"] == [{"account": "r***", "is_privileged": True}]
    assert named["without"] == [{"account": "root", "is_privileged": True}]
