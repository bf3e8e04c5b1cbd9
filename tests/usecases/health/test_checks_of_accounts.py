"""Checks of account directories by `standfast check`."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.results import ANOTHER_NAME
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.config.sections.password_rotation import RotationConfig
from standfast.records import Proof
from standfast.usecases.health.adapter_checks import CHECKS
from standfast.usecases.health.check_results import Check, CheckInputs, Verdict


class Narrow(SimulatedConnector):
    """A directory that grants Standfast no rights over some accounts."""

    def shortcomings(self) -> list[str]:
        return ["3 of 40 accounts cannot be locked: ask for the right"]


def said_of(
    connector: SimulatedConnector,
    rotation: RotationConfig | None = None,
    settings: object = None,
    *,
    has_locked: bool = True,
) -> list[Check]:
    config = SimpleNamespace(
        accounts={"staff": settings or object()},
        protected=SimpleNamespace(accounts={"staff:root": "why"}),
        rotation=rotation,
    )
    adapters = SimpleNamespace(connector=lambda name: connector)
    ledger = SimpleNamespace(effects=SimpleNamespace(has_locked=lambda name: has_locked))
    inputs = cast("CheckInputs", SimpleNamespace(config=config, adapters=adapters, ledger=ledger))
    return list(CHECKS["accounts"](inputs))


def test_directory_is_named_with_its_proof_level() -> None:
    answers, _ = said_of(SimulatedConnector("staff", {"root": True}))
    assert answers.verdict is Verdict.OK
    assert "refused" in answers.found


def test_stronger_proof_is_suggested() -> None:
    connector = SimulatedConnector("staff", {"root": True})
    without_tokens = SimpleNamespace(tokens=None)
    for setting, value, word in (
        ("probe", None, "probe"),
        ("probe", without_tokens, "tokens"),
        ("monitor", False, "monitor"),
    ):
        settings = SimpleNamespace(**{setting: value})
        assert word in said_of(connector, settings=settings)[0].found
    is_set = SimpleNamespace(probe=object(), monitor=True)
    assert ";" not in said_of(connector, settings=is_set)[0].found.partition("level")[2]


def test_test_account_is_suggested_before_first_lock() -> None:
    connector = SimulatedConnector("staff", {"root": True})
    assert "test account" not in said_of(connector, has_locked=False)[0].found
    connector.proof = Proof.READ_BACK
    assert "test account" in said_of(connector, has_locked=False)[0].found
    assert "test account" not in said_of(connector, has_locked=True)[0].found


def test_missing_rights_are_named() -> None:
    _, lacks, _ = said_of(Narrow("staff", {"root": True}))
    assert lacks.verdict is Verdict.WARN
    assert "3 of 40" in lacks.found


class Aliased(SimulatedConnector):
    """A directory in which `root` is another name of an account."""

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        obstacles = {"root": ANOTHER_NAME}
        return [
            replace(state, obstacle=obstacles.get(state.name, ""))
            for state in super()._observe(names)
        ]


def test_an_alias_protects_nothing_and_is_named() -> None:
    _, alias = said_of(Aliased("staff", {"root": True}))
    assert alias.verdict is Verdict.WARN
    assert "1 of 1 names" in alias.found


def test_unreachable_directory_is_a_failure() -> None:
    connector = SimulatedConnector("staff", {"root": True})
    connector.go_away()
    (failure,) = said_of(connector)
    assert failure.verdict is Verdict.FAIL


KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def test_mistyped_rotation_key_prevents_no_lock() -> None:
    connector = SimulatedConnector("staff", {"root": True})
    *_, good = said_of(connector, RotationConfig(recipients=(KEY,)))
    assert (good.verdict, good.found) == (Verdict.OK, "new passwords are encrypted to 1 key")
    answers, *_, bad = said_of(connector, RotationConfig(recipients=(KEY, KEY[:-1] + "q")))
    assert (answers.verdict, bad.verdict) == (Verdict.OK, Verdict.FAIL)
    assert "age-keygen" in bad.found
