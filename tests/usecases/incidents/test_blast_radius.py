"""Limits on locks by one person, in total and in each directory."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.config import Config
from standfast.config.schema import (
    LimitsConfig,
    OrganisationConfig,
    PlaybooksConfig,
    ProtectedConfig,
)
from standfast.config.sections.procedures import CommandConfig, ParameterConfig
from standfast.playbook.planned_effects import Draft
from standfast.records import EffectState, Mode, StepState
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.blast_radius import LockedAccounts, over_limit, owners_of
from standfast.usecases.incidents.plan import as_lines, plan_incident
from tests.usecases.conftest import Centre
from tests.usecases.twins import ACCOUNTS, SimulatedInstallation, simulated_installation

MANY = tuple(f"agents:{name}" for name in ACCOUNTS)
LIMITS = LimitsConfig(accounts_without_second_person=4, accounts_by_directory={"staff": 1})
LOCK_PHONE = CommandConfig(
    argv=("/usr/local/sbin/pbx", "--lock={target}"),
    undo=("/usr/local/sbin/pbx", "--unlock={target}"),
    parameters={"target": ParameterConfig(account_of="staff")},
)
CONFIG = Config(
    organisation=OrganisationConfig(name="A", contact_line="B"),
    limits=LIMITS,
    commands={"lock-phone": LOCK_PHONE},
)


def locks(
    directory: str,
    count: int,
    state: EffectState = EffectState.PLANNED,
    verb: str = "accounts.lock",
) -> list[Draft]:
    return [
        Draft(verb=verb, connector=directory, target=f"{directory}:{n}", state=state)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("drafts", "locked", "why"),
    [
        (locks("agents", 4), {}, ""),
        (locks("agents", 5), {}, "5 accounts within a day; more than 4"),
        (locks("agents", 2), {"other": 3}, "5 accounts within a day; more than 4"),
        (locks("agents", 4), {"agents": 4}, ""),
        (locks("agents", 5), {"agents": 4}, "5 accounts within a day; more than 4"),
        (locks("agents", 4) + locks("agents", 4, verb="accounts.revoke_sessions"), {}, ""),
        (locks("staff", 1), {"staff": 1}, ""),
        (locks("staff", 1), {}, ""),
        (locks("staff", 2), {}, "2 accounts in staff within a day; more than 1"),
        (locks("staff", 2)[1:], {"staff": 1}, "2 accounts in staff"),
        (locks("agents", 2), {"staff": 2}, ""),
        (locks("agents", 9, EffectState.REFUSED), {}, ""),
        (locks("agents", 5, verb="accounts.rotate"), {}, "5 accounts within a day; more than 4"),
        (
            locks("agents", 5, verb="accounts.revoke_sessions"),
            {},
            "5 accounts within a day; more than 4",
        ),
        (locks("agents", 5, verb="accounts.prove_locked"), {}, ""),
        ([], {"agents": 900}, ""),
        (locks("commands.lock-phone", 1, verb="run.command"), {}, ""),
        (locks("commands.lock-phone", 2, verb="run.command"), {}, "2 accounts in staff within a"),
        (
            [*locks("commands.lock-phone", 1, verb="run.command"), *locks("staff", 1)],
            {},
            "2 accounts in staff within a",
        ),
        (locks("commands.other", 9, verb="run.command"), {}, ""),
    ],
)
def test_limit_counts_planned_and_locked_accounts(
    drafts: list[Draft], locked: dict[str, int], why: str
) -> None:
    handles = {
        name: {f"{name}:{number}" for number in range(count)} for name, count in locked.items()
    }
    said = over_limit(drafts, LockedAccounts(handles=handles), CONFIG)
    assert said.startswith(why)
    assert bool(said) == bool(why)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """A live installation with a limit of three locks in a directory."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        limits = LimitsConfig(accounts_by_directory={"agents": 3})
        yield replace(
            installation, config=installation.config.model_copy(update={"limits": limits})
        )


def test_directory_limit_needs_a_second_person(
    installation: SimulatedInstallation,
) -> None:
    few = installation.run("lock", MANY[:3])
    assert installation.ledger.incidents.state(few).steps["lock"].state is StepState.DONE
    case = installation.run("lock", MANY[3:4])
    view = installation.ledger.incidents.state(case).steps["lock"]
    assert (view.state, view.approvals_needed) == (StepState.ASKING, 1)
    assert installation.is_enabled(ACCOUNTS[3])


TWICE = """
playbook: twice
version: 1
title: Lock some, then others
use_when: A test locks in two steps.
inputs:
  first: {type: accounts, required: true}
  second: {type: accounts, required: true}
steps:
  some: {title: Some, do: accounts.lock, with: {accounts: "{{ inputs.first }}"}}
  others:
    {title: Others, needs: [some], do: accounts.lock, with: {accounts: "{{ inputs.second }}"}}
  third: {title: Some again, needs: [others], do: accounts.lock,
     with: {accounts: "{{ inputs.first }}"}}
"""


def test_plan_and_live_run_count_alike(tmp_path: Path) -> None:
    with simulated_installation(tmp_path, "sqlite:///ledger.db", playbooks=[TWICE]) as opened:
        limits = LimitsConfig(accounts_by_directory={"agents": 3})
        installation = replace(opened, config=opened.config.model_copy(update={"limits": limits}))
        given = {"first": list(MANY[:2]), "second": list(MANY[2:4])}
        plan = plan_incident(installation, "twice", given, is_signed=True, opened_by="dana")
        assert [step.approvals for step in plan.steps] == [0, 1, 0]
        assert "4 accounts in agents within a day; more than 3 need" in plan.steps[1].notes[-1]
        case = lifecycle.open_incident(
            installation, "twice", given, mode=Mode.LIVE, opened_by="dana"
        ).incident
        steps = installation.advance(case).state.steps
        assert (steps["some"].state, steps["others"].state) == (StepState.DONE, StepState.ASKING)
        assert steps["others"].approvals_needed == 1


def test_old_incidents_locking_today_count_today(
    installation: SimulatedInstallation,
) -> None:
    cases = [installation.open("lock", [account]) for account in MANY[:4]]
    later = replace(installation, clock=lambda: installation.clock() + timedelta(days=3))
    for case in cases:
        later.advance(case)
    state = installation.ledger.incidents.state(cases[3]).steps["lock"].state
    assert state is StepState.ASKING
    assert [installation.is_enabled(name) for name in ACCOUNTS[:4]] == [False, False, False, True]


def test_plan_warns_of_own_and_approvers_accounts(centre: Centre) -> None:
    for name in ("dana", "lee", "agent01"):
        centre.scim.create(name)
    report = plan_incident(
        centre.installation,
        "lock",
        {"accounts": ["DANA", "agents:lee", "agent01"]},
        is_signed=True,
        opened_by="dana",
    )
    (lock,) = [step for step in report.steps if step.name == "lock"]
    assert set(lock.own) == {"dana", "lee"}
    told = "\n".join(as_lines(report))
    assert "locks an account of dana, who opens it" in told
    assert "locks an account of lee, who is enrolled here" in told
    assert "kim" not in told


_PHONES = """
playbook: phones
version: 1
title: Phones
use_when: In a test.
inputs:
  names: {type: accounts, required: true}
steps:
  lock:
    title: Lock the phones
    do: run.command
    with: {command: lock-phone, targets: "{{ inputs.names }}"}
"""


@pytest.fixture
def phones(installation: SimulatedInstallation) -> SimulatedInstallation:
    """The installation with a command that locks phones, without a connector."""
    folder = installation.config.folder / "own"
    folder.mkdir()
    (folder / "phones.yaml").write_text(_PHONES)
    parameters = {"target": ParameterConfig(account_of="phones")}
    command = LOCK_PHONE.model_copy(update={"parameters": parameters})
    config = installation.config.model_copy(
        update={
            "commands": {"lock-phone": command},
            "playbooks": PlaybooksConfig(folder=folder),
            "protected": ProtectedConfig(accounts={"phones:Ambulance": "emergency line"}),
            "limits": LimitsConfig(accounts_by_directory={"phones": 3}),
        }
    )
    return replace(installation, config=config)


def locked_phones(installation: SimulatedInstallation, *names: str) -> str:
    inputs: dict[str, str | list[str]] = {"names": list(names)}
    opened = lifecycle.open_incident(
        installation, "phones", inputs, mode=Mode.LIVE, opened_by="dana"
    )
    installation.advance(opened.incident)
    return opened.incident


def test_command_on_protected_account_is_refused(
    phones: SimulatedInstallation,
) -> None:
    case = locked_phones(phones, "desk1", "ambulance")
    rows = {row.target: row for row in phones.ledger.effects.of_incident(case)}
    assert rows["commands.lock-phone:desk1"].state is EffectState.DONE
    refused = rows["commands.lock-phone:ambulance"]
    assert (refused.state, refused.reason) == (EffectState.REFUSED, "protected: emergency line")


def test_commands_on_accounts_count_for_a_day(
    phones: SimulatedInstallation,
) -> None:
    first = locked_phones(phones, "desk1", "desk2")
    assert phones.ledger.incidents.state(first).steps["lock"].state is StepState.DONE
    second = locked_phones(phones, "desk3", "desk4")
    assert phones.ledger.incidents.state(second).steps["lock"].state is StepState.ASKING


def test_plan_warns_of_an_approvers_phone(phones: SimulatedInstallation) -> None:
    lee = phones.ledger.people.get("lee")
    drafts = [
        Draft(
            verb="run.command",
            connector="commands.lock-phone",
            target="commands.lock-phone:x",
            details={"parameters": {"target": "Desk7"}},
        )
    ]
    people = [replace(lee, accounts=("phones:desk7",))]
    assert owners_of(drafts, people, phones.config) == ["lee"]
