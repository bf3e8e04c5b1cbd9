"""Shipped playbooks load, are valid, and agree with actions and notices."""

import re
import tomllib
from pathlib import Path

import pytest

from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Use
from standfast.playbook.engine import Ask, Expand, Finish, Move, Prompt, next_moves
from standfast.playbook.model import OnPartial, Playbook, StepKind
from standfast.playbook.parser.playbook_file import load, load_inputs
from standfast.playbook.rendering.plain_text import as_text
from standfast.playbook.run_state import State, StepView
from standfast.playbook.step_graph import all_needs
from standfast.playbook.validation.playbook_rules import Known, check
from standfast.records import StepState
from tests.cli.test_app import COMMANDS
from tests.playbook.build import NOON, state_of, view

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "playbooks").glob("*.yaml"))
TEMPLATES = frozenset(folder.parent.name for folder in ROOT.glob("notify_templates/*/context.toml"))
KNOWN = Known(
    templates=TEMPLATES,
    audiences=frozenset({"staff", "customers"}),
    playbooks=frozenset(path.stem for path in SHIPPED),
)
# An insider's case is the one in which every step asks a second person; see its own test.
CONTAINING = [path for path in SHIPPED if path.stem != "insider-agent"]
HANDBOOK = {
    "account-takeover",
    "agent-vishing",
    "customer-data-theft",
    "insider-agent",
    "leaver",
    "lost-device",
    "platform-outage",
    "ransomware",
    "supplier-breach",
}

each = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def read(path: Path) -> Playbook:
    return load(path.read_text(encoding="utf-8"), path.name)


def test_the_playbooks_of_the_handbook_are_there() -> None:
    assert {path.stem for path in SHIPPED} == {*HANDBOOK, "lock", "service-recovery"}


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
def test_shipped_playbook_requires_at_most_one_input(path: Path) -> None:
    required = [given.name for given in read(path).inputs if given.required]
    assert len(required) <= 1, "at 3 a.m. nobody has more at hand"
    assert load_inputs(read(path), dict.fromkeys(required, "ana")).keys() >= set(required)


@each
def test_shipped_playbook_names_better_alternatives(path: Path) -> None:
    assert read(path).instead


@pytest.mark.parametrize("name", sorted(HANDBOOK))
def test_a_playbook_of_the_handbook_is_complete(name: str) -> None:
    playbook = read(ROOT / "playbooks" / f"{name}.yaml")
    last = playbook.steps[-1]
    assert playbook.roles
    assert playbook.use_when
    assert all(given.description for given in playbook.inputs)
    assert "hand over" in last.title.lower()
    assert "`standfast incident close INCIDENT --as PERSON`" in last.instructions
    assert (last.name, last.kind) == ("close", StepKind.MANUAL)
    ends = {need for step in playbook.steps for need in step.needs}
    open_ends = [step for step in playbook.steps if step.name not in ends]
    by_people = [step.name for step in open_ends if step.kind is not StepKind.DO]
    assert by_people == ["close"], "closing comes after all that somebody has to end"
    by_program = [step.action or "" for step in open_ends if step.kind is StepKind.DO]
    assert not any(verb.startswith("accounts.") for verb in by_program)
    assert [step.wait_seconds for step in playbook.steps if step.kind is StepKind.WAIT] == [1800]
    locks = [step for step in playbook.steps if step.action == "accounts.lock"]
    proofs = [step for step in playbook.steps if step.action == "accounts.prove_locked"]
    assert all(step.undo == "accounts.unlock" for step in locks)
    assert len(proofs) == 2 * len(locks), "proven at once, and again when half an hour is over"
    for step in playbook.steps:
        assert step.kind is not StepKind.DECIDE or len(step.facts) >= 3


@each
def test_commands_in_playbooks_exist(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").split())
    for told in re.findall(r"`standfast ([^`]+)`", text):
        words = tuple(told.split())
        assert any(words[: len(command)] == command for command in COMMANDS), told
        scenario = words[2] if words[:2] in {("incident", "open"), ("playbook", "show")} else "lock"
        assert scenario in {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", CONTAINING, ids=lambda path: path.stem)
def test_containment_waits_for_no_person(path: Path) -> None:
    playbook = read(path)
    for step in playbook.steps:
        if (step.action or "").startswith("accounts."):
            assert step.approval is None
            assert step.on_partial is OnPartial.GO_ON
            kinds = {playbook.step(name).kind for name in all_needs(playbook)[step.name]}
            # The second proof is half an hour later, and only therefore after a person's work.
            later = {StepKind.WAIT, StepKind.MANUAL} if step.name == "still_shut" else set()
            assert kinds <= {StepKind.DO} | later


@each
def test_shipped_steps_pass_only_known_values(path: Path) -> None:
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


def test_every_undo_is_only_an_undo() -> None:
    undos = {action.undo for action in ACTIONS.values() if action.undo}
    assert undos == {verb for verb, action in ACTIONS.items() if action.use is Use.UNDO}
    for action in ACTIONS.values():
        assert not (action.undo and action.is_irreversible)
        if action.undo:
            assert set(ACTIONS[action.undo].arguments) <= set(action.arguments)


def takeover(*views: StepView) -> State:
    return state_of(read(ROOT / "playbooks" / "account-takeover.yaml"), *views)


LOCKED = view("lock", StepState.DONE, done=1)


def test_unreadable_logs_do_not_delay_the_lock() -> None:
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


def test_ransomware_isolates_before_it_freezes() -> None:
    playbook = read(ROOT / "playbooks" / "ransomware.yaml")
    nothing_known = state_of(playbook, inputs={"accounts": None})
    begun = [move for move in next_moves(nothing_known, NOON) if isinstance(move, Prompt)]
    assert begun == [Prompt(step="isolate", round=1), Prompt(step="protect_backups", round=1)]
    assert all_needs(playbook)["freeze_logs"] >= {"isolate", "protect_backups"}
    assert all_needs(playbook)["memory"] >= {"isolate"}
    assert "DO NOT SWITCH OFF" in playbook.step("isolate").instructions


def test_insider_is_locked_after_evidence_and_preparation() -> None:
    playbook = read(ROOT / "playbooks" / "insider-agent.yaml")
    assert all_needs(playbook)["lock"] >= {"go_ahead", "freeze_logs", "act", "prepare_talk"}
    for step in playbook.steps:
        assert step.approval or step.roles or step.kind is StepKind.WAIT
        assert step.action != "notices.send"


def test_vishing_locks_and_holds_the_recording_at_once() -> None:
    playbook = read(ROOT / "playbooks" / "agent-vishing.yaml")
    begun = {move.step for move in next_moves(state_of(playbook), NOON)}
    assert begun == {"lock", "keep_recording", "freeze_logs"}
    assert all_needs(playbook)["give_back"] >= {"undo_mfa", "still_shut"}


def test_customers_are_notified_after_staff_if_affected() -> None:
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

    def moves(*views: StepView) -> list[Move]:
        found = next_moves(takeover(*begun, *views), NOON)
        return [move for move in found if move.step == "tell_customers"]

    assert moves(yes, telling) == []
    assert moves(yes, told) == [Expand(step="tell_customers", round=1)]
    assert moves(yes, told, asking) == [Ask(step="tell_customers", round=1)]
    (move,) = moves(no, told)
    assert isinstance(move, Finish)
    assert move.state is StepState.SKIPPED
