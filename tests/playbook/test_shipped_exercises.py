"""Each shipped playbook, rehearsed to its end with each answer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.errors import ExitStatus
from standfast.ledger.approvals.decisions import APPROVE
from standfast.people.passphrase_keys import Credential, enrol, sign_in
from standfast.playbook.model import InputType, Playbook, StepKind
from standfast.playbook.run_state import State
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.playbooks.library import SHIPPED, read
from tests.memory_disk import memory_folder
from tests.usecases.installations import furnish, installation_at

NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
WORDS = "four plain words here"
OPENED_BY = "dana"
SIGNS = "noor"
TARGET = "rowan"
BYSTANDER = "max"
ROLES = [
    "duty-manager",
    "help-desk-lead",
    "it-lead",
    "legal",
    "operator",
    "people-lead",
    "team-lead",
]


@dataclass
class Hours:
    """A clock that a test moves."""

    now: datetime = field(default_factory=lambda: datetime(2026, 3, 1, 2, 30, tzinfo=UTC))

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture(scope="module")
def hours() -> Hours:
    return Hours()


@pytest.fixture(scope="module")
def installation(hours: Hours) -> Iterator[Installation]:
    """One shared installation: an opener, and two people with every role."""
    with (
        TemporaryDirectory(prefix="sf-test-", dir=memory_folder()) as folder,
        installation_at(furnish(Path(folder), customers=2), clock=hours) as installation,
    ):
        credential = _credential()
        for name in (OPENED_BY, SIGNS, TARGET, BYSTANDER):
            installation.ledger.people.enrol(
                name=name,
                full_name=name.title(),
                mail=f"{name}@example.com",
                accounts=[f"agents:{name}"],
                roles=ROLES if name in (SIGNS, TARGET) else [],
                public_key=credential.public_key,
                salt=credential.salt,
                enrolled_by="os:test",
                now=installation.clock(),
            )
        yield installation


def inputs_of(playbook: Playbook, *, all_given: bool) -> dict[str, str | list[str]]:
    samples: dict[InputType, str | list[str]] = {
        InputType.ACCOUNTS: [TARGET],
        InputType.TEXT: "as told on the phone",
        InputType.TIME: "2026-03-01T02:00Z",
    }
    return {one.name: samples[one.type] for one in playbook.inputs if all_given or one.required}


def ways(playbook: Playbook) -> Iterator[dict[str, str]]:
    """Yield answers: first options throughout, then each other one once."""
    asked = [step for step in playbook.steps if step.kind is StepKind.DECIDE]
    usual = {step.name: step.options[0] for step in asked}
    yield usual
    for step in asked:
        for option in step.options[1:]:
            yield usual | {step.name: option}


def rehearse(
    installation: Installation,
    hours: Hours,
    playbook: Playbook,
    answers: dict[str, str],
    *,
    all_given: bool,
) -> State:
    """Run an exercise to its end."""
    case = lifecycle.open_incident(
        installation,
        playbook.name,
        inputs_of(playbook, all_given=all_given),
        mode=Mode.EXERCISE,
        opened_by=OPENED_BY,
    ).incident
    for _ in range(3 * len(playbook.steps)):
        outcome = lifecycle.advance(installation, case, "direct")
        if outcome.summary.is_over:
            assert outcome.exit_status is ExitStatus.DONE, outcome.summary
            return outcome.state
        for view in outcome.state.steps.values():
            step = playbook.step(view.step)
            if view.state is StepState.PROMPTED:
                said = answers.get(step.name, "done")
                step_decisions.answer(installation, case, step.name, said, by=SIGNS)
            elif view.state is StepState.ASKING:
                _sign(installation, case, step.name)
            elif view.due_at and view.state is StepState.WAITING:
                hours.now = max(hours.now, view.due_at)
    raise AssertionError(f"{playbook.name} does not end: {outcome.summary.next_step}")


@cache
def _credential() -> Credential:
    return enrol(WORDS)


@cache
def _key() -> Ed25519PrivateKey:
    return sign_in(SIGNS, WORDS, _credential())


def _sign(installation: Installation, case: str, step: str) -> None:
    """Approve as `decisions.decide` does, with a key that was derived once."""
    message = installation.ledger.decisions.question(case, step).message(SIGNS, APPROVE)
    signature = _key().sign(message).hex()
    installation.ledger.decisions.decide(
        case, step, SIGNS, APPROVE, signature, installation.clock()
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_step_is_reached(installation: Installation, hours: Hours, name: str) -> None:
    playbook = read(SHIPPED / f"{name}.yaml")
    reached: set[str] = set()
    for answers in ways(playbook):
        state = rehearse(installation, hours, playbook, answers, all_given=True)
        reached |= {v.step for v in state.steps.values() if v.state is StepState.DONE}
    assert reached == {step.name for step in playbook.steps}


@pytest.mark.parametrize("name", ["customer-data-theft", "ransomware", "supplier-breach"])
def test_shipped_playbook_ends_without_optional_inputs(
    installation: Installation, hours: Hours, name: str
) -> None:
    playbook = read(SHIPPED / f"{name}.yaml")
    state = rehearse(installation, hours, playbook, next(ways(playbook)), all_given=False)
    assert {view.state for view in state.steps.values()} <= {StepState.DONE, StepState.SKIPPED}


def test_insider_case_is_visible_only_to_approvers(
    installation: Installation, hours: Hours
) -> None:
    playbook = read(SHIPPED / "insider-agent.yaml")
    given = inputs_of(playbook, all_given=True)
    case = lifecycle.open_incident(
        installation, playbook.name, given, mode=Mode.EXERCISE, opened_by=OPENED_BY
    ).incident
    for step in ("circle", "go_ahead"):
        lifecycle.advance(installation, case, "direct")
        step_decisions.answer(installation, case, step, "look", by=SIGNS)
    lifecycle.advance(installation, case, "direct")
    for _ in range(3):
        hours.now += timedelta(days=1)
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.state.steps["freeze_logs"].state is StepState.ASKING
    rows = installation.ledger.effects.of_incident(case)
    pages = [row.target for row in rows if row.verb == "people.page"]
    assert pages == [f"mail:{SIGNS}@example.com"], "not the target, and not those who come next"


@pytest.mark.parametrize("name", NAMES)
def test_shipped_playbook_plans_with_little_configuration(
    installation: Installation, name: str
) -> None:
    given = inputs_of(read(SHIPPED / f"{name}.yaml"), all_given=True)
    report = plan_incident(installation, name, given, is_signed=True)
    # This installation has no keeper's key; the plan says so, and a person holds the points
    # elsewhere.
    there = {
        "platform-outage": {"degrade", "recover"},  # no service is configured
        "ransomware": {"hold_backups", "degrade", "search_clean", "recover"},
        "service-recovery": {"find_clean", "recover"},  # no service and no set is configured
    }.get(name, set())
    assert {step.name for step in report.steps if step.impossible} == there
