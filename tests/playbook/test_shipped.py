"""What we ship must load, check clean, and agree with the catalogue and with the notices."""

import tomllib
from pathlib import Path

import pytest

from standfast.playbook.catalogue import CATALOGUE, Use
from standfast.playbook.check import Known, check
from standfast.playbook.engine import (
    Ask,
    Expand,
    Finish,
    Prompt,
    State,
    StepView,
    next_moves,
)
from standfast.playbook.graph import behind
from standfast.playbook.load import load, load_inputs
from standfast.playbook.model import OnPartial, Playbook, StepKind
from standfast.playbook.show import as_text
from standfast.records import StepState
from tests.playbook.build import NOON, state_of, view

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "playbooks").glob("*.yaml"))
TEMPLATES = frozenset(folder.parent.name for folder in ROOT.glob("notify_templates/*/context.toml"))
KNOWN = Known(
    templates=TEMPLATES,
    audiences=frozenset({"staff", "customers"}),
    roles=frozenset({"duty-manager"}),
)

each = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def read(path: Path) -> Playbook:
    return load(path.read_text(encoding="utf-8"), path.name)


def test_the_playbooks_of_the_handbook_are_there() -> None:
    assert {path.stem for path in SHIPPED} >= {"account-takeover", "leaver", "lock"}


@each
def test_a_shipped_playbook_checks_clean(path: Path) -> None:
    assert check(read(path), KNOWN) == []


@each
def test_a_shipped_playbook_is_named_as_its_file(path: Path) -> None:
    assert read(path).name == path.stem


@each
def test_a_shipped_playbook_can_be_printed(path: Path) -> None:
    text = as_text(read(path))
    assert all(step.title in text for step in read(path).steps)


@each
def test_a_shipped_playbook_needs_only_the_accounts(path: Path) -> None:
    assert load_inputs(read(path), {"accounts": "ana"})["accounts"] == ["ana"]


@each
def test_containment_waits_for_no_person(path: Path) -> None:
    playbook = read(path)
    for step in playbook.steps:
        if (step.action or "").startswith("accounts."):
            assert step.approval is None
            assert step.on_partial is OnPartial.GO_ON
            kinds = {playbook.step(name).kind for name in behind(playbook)[step.name]}
            assert kinds <= {StepKind.DO}


@each
def test_a_shipped_notice_gives_its_template_only_what_it_knows(path: Path) -> None:
    for step in read(path).steps:
        if step.action != "notices.send":
            continue
        spec_path = ROOT / "notify_templates" / str(step.arguments["template"]) / "context.toml"
        variables = tomllib.loads(spec_path.read_text(encoding="utf-8"))["variables"]
        context = step.arguments["context"]
        assert isinstance(context, dict)
        always = {"organisation", "contact_line", "incident_id"}
        required = {name for name, about in variables.items() if "default" not in about}
        assert context.keys() <= variables.keys()
        assert required <= context.keys() | always


def test_every_undo_is_in_the_catalogue_and_only_an_undo() -> None:
    undos = {action.undo for action in CATALOGUE.values() if action.undo}
    assert undos == {verb for verb, action in CATALOGUE.items() if action.use is Use.UNDO}
    for action in CATALOGUE.values():
        assert not (action.undo and action.is_irreversible)
        if action.undo:
            assert set(CATALOGUE[action.undo].arguments) <= set(action.arguments)


def takeover(*views: StepView) -> State:
    return state_of(read(ROOT / "playbooks" / "account-takeover.yaml"), *views)


LOCKED = view("lock", StepState.DONE, done=1)


def test_logs_that_cannot_be_frozen_do_not_keep_an_intruder_in() -> None:
    assert next_moves(takeover(), NOON) == [
        Expand(step="freeze_logs", round=1),
        Expand(step="lock", round=1),
    ]
    failed = view("freeze_logs", StepState.FAILED, failed=2)
    assert next_moves(takeover(failed, LOCKED), NOON) == [
        Expand(step="prove", round=1),
        Expand(step="tell_staff", round=1),
        Prompt(step="customers_affected", round=1),
    ]


def test_customers_are_told_only_when_they_are_affected_and_after_staff() -> None:
    begun = (
        view("freeze_logs", StepState.DONE, done=1),
        view("lock", StepState.PARTIAL, done=1, failed=1),
        view("prove", StepState.RUNNING, planned=1),
    )
    yes = view("customers_affected", StepState.DONE, answer="yes")
    no = view("customers_affected", StepState.DONE, answer="no")
    telling = view("tell_staff", StepState.RUNNING, planned=3)
    told = view("tell_staff", StepState.PARTIAL, done=2, failed=1)
    asking = view("tell_customers", StepState.ASKING, planned=2000)

    assert next_moves(takeover(*begun, yes, telling), NOON) == []
    assert next_moves(takeover(*begun, yes, told), NOON) == [Expand(step="tell_customers", round=1)]
    assert next_moves(takeover(*begun, yes, told, asking), NOON) == [
        Ask(step="tell_customers", round=1)
    ]
    (move,) = next_moves(takeover(*begun, no, told), NOON)
    assert isinstance(move, Finish)
    assert (move.step, move.state) == ("tell_customers", StepState.SKIPPED)
