"""Locks of one person in a day, in any number of incidents."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.playbook.run_state import StepView
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.incidents import lifecycle
from tests.ledger_schema import DATABASES
from tests.usecases.incidents.test_concurrency import at_once
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, Twins, simulated_installation

MOST = 4
NAMES = tuple(f"n{number:02}" for number in range(24))
PLAYBOOK = """
playbook: two
version: 1
title: Lock two kinds of accounts
use_when: In a test.
inputs:
  staff: {type: accounts, required: true}
  suppliers: {type: accounts, required: true}
steps:
  staff_lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.staff }}"}}
  suppliers_lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.suppliers }}"}}
"""
RENEW = """
playbook: renew
version: 1
title: New passwords
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  rotate:
    title: Give new passwords
    do: accounts.rotate
    approval: {none_because: It is a test.}
    with: {accounts: "{{ inputs.accounts }}"}
"""


@pytest.fixture(params=DATABASES)
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """A live installation where one person may lock few accounts."""
    url = "sqlite:///ledger.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_ledger_url")
    twins = Twins(directory=SimulatedConnector("agents", dict.fromkeys(NAMES, True)))
    with simulated_installation(
        tmp_path, url, twins, playbooks=[PLAYBOOK, RENEW, SIGN_OUT, BOTH]
    ) as installation:
        limits = installation.config.limits.model_copy(
            update={"accounts_without_second_person": MOST}
        )
        yield replace(
            installation, config=installation.config.model_copy(update={"limits": limits})
        )


SIGN_OUT = """
playbook: sign-out
version: 1
title: Sign out
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  sign_out:
    title: End sessions
    do: accounts.revoke_sessions
    with: {accounts: "{{ inputs.accounts }}"}
"""
BOTH = """
playbook: sign-out-and-lock
version: 1
title: Sign out, then lock
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  sign_out:
    title: End sessions
    do: accounts.revoke_sessions
    with: {accounts: "{{ inputs.accounts }}"}
  lock:
    title: Lock
    needs: [sign_out]
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
"""


def spelt(names: tuple[str, ...]) -> list[str]:
    return [f"agents:{name}" for name in names]


def locked(installation: SimulatedInstallation) -> int:
    return sum(not installation.is_enabled(name) for name in NAMES)


def view(installation: SimulatedInstallation, case: str, step: str) -> StepView:
    return installation.ledger.incidents.state(case).steps[step]


def test_simultaneous_incidents_share_the_limit(
    installation: SimulatedInstallation,
) -> None:
    """All are counted before one begins, so a later one must count again."""
    parts = [NAMES[start : start + MOST] for start in range(0, len(NAMES), MOST)]
    cases = [installation.open("lock", spelt(part)) for part in parts]

    def carry_on(case: str) -> Callable[[], object]:
        return lambda: installation.advance(case)

    at_once(*(carry_on(case) for case in cases))
    assert locked(installation) == MOST
    asking = [view(installation, case, "lock").state is StepState.ASKING for case in cases]
    assert asking.count(True) == len(cases) - 1


def test_added_targets_count_with_the_others(
    installation: SimulatedInstallation,
) -> None:
    def opened(staff: tuple[str, ...], suppliers: tuple[str, ...]) -> str:
        given = {"staff": spelt(staff), "suppliers": spelt(suppliers)}
        return lifecycle.open_incident(
            installation, "two", given, mode=Mode.LIVE, trigger="an alert"
        ).incident

    case = opened(NAMES[:2], NAMES[2:3])
    installation.advance(case)
    assert locked(installation) == 3
    assert opened(NAMES[:2], NAMES[2:6]) == case
    installation.advance(case)
    assert locked(installation) == 3
    assert view(installation, case, "suppliers_lock").state is StepState.ASKING


def test_exercise_locks_do_not_count(
    installation: SimulatedInstallation,
) -> None:
    installation.advance(installation.open("lock", spelt(NAMES[:MOST]), mode=Mode.EXERCISE))
    installation.run("lock", spelt(NAMES[-1:]))
    assert not installation.is_enabled(NAMES[-1])


def test_approved_locks_do_not_count(
    installation: SimulatedInstallation,
) -> None:
    many = installation.run("lock", spelt(NAMES[: MOST + 1]))
    step_decisions.decide(installation, many, "lock", "lee", PASSPHRASES["lee"])
    installation.advance(many)
    installation.run("lock", spelt(NAMES[MOST + 1 :][:MOST]))
    assert locked(installation) == 2 * MOST + 1


def test_new_passwords_count_as_locks_do(installation: SimulatedInstallation) -> None:
    first, second = (
        installation.run("renew", spelt(NAMES[:MOST])),
        installation.open("lock", spelt(NAMES[-1:])),
    )
    assert view(installation, first, "rotate").counts.done == MOST
    installation.advance(second)
    assert view(installation, second, "lock").state is StepState.ASKING
    assert installation.is_enabled(NAMES[-1])


def test_ended_sessions_count_as_locks_do(installation: SimulatedInstallation) -> None:
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    sessions = [directory.open_session(name) for name in NAMES]
    few = installation.run("sign-out", spelt(NAMES[:2]))
    assert view(installation, few, "sign_out").counts.done == 2
    rest = installation.run("sign-out", spelt(NAMES[2:]))
    assert view(installation, rest, "sign_out").state is StepState.ASKING
    assert [directory.admits(one) for one in sessions] == [False] * 2 + [True] * (len(NAMES) - 2)
    step_decisions.decide(installation, rest, "sign_out", "lee", PASSPHRASES["lee"])
    installation.advance(rest)
    assert not any(directory.admits(one) for one in sessions)
    lock = installation.run("lock", spelt(NAMES[1 : MOST + 1]))
    assert view(installation, lock, "lock").state is StepState.ASKING, (
        "beside the two signed out alone"
    )


def test_revoked_and_locked_account_counts_once(installation: SimulatedInstallation) -> None:
    case = installation.run("sign-out-and-lock", spelt(NAMES[:MOST]))
    assert view(installation, case, "lock").state is StepState.DONE
    assert locked(installation) == MOST
    again = installation.run("lock", spelt(NAMES[:MOST]))  # the same people, in another incident
    assert view(installation, again, "lock").state is StepState.DONE
    more = installation.run("lock", spelt(NAMES[MOST - 1 : MOST + 1]))
    assert view(installation, more, "lock").state is StepState.ASKING


def test_failed_lock_counts(
    installation: SimulatedInstallation,
) -> None:
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    cases = []
    for start in range(0, 3 * MOST, MOST):
        directory.script("lock", Fault.FAIL, times=MOST)
        cases.append(installation.run("lock", spelt(NAMES[start : start + MOST])))
    assert locked(installation) == 0
    directory = SimulatedConnector("agents", dict.fromkeys(NAMES, True))
    mended = replace(installation, twins=Twins(directory=directory))
    for case in cases:
        step_retry.retry(mended, case)
        mended.advance(case)
    assert locked(mended) == MOST
