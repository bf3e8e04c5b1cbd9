"""Directories, relays and databases that fail during an incident.

The intended waits of a runner are shortened; everything else runs as in production.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from standfast.adapters.accounts.simulator import Fault
from standfast.adapters.senders import Message
from standfast.adapters.senders.simulator import TAKEN, Answer
from standfast.adapters.senders.smtp import sender
from standfast.errors import ExitStatus, Refused, StandfastError, Unavailable, UsageError
from standfast.ledger.effects import attempts
from standfast.ledger.effects.effect_rows import EffectQueue, EffectRow
from standfast.ledger.effects.effect_store import Effects
from standfast.playbook.engine import current_state
from standfast.playbook.run_state import State
from standfast.records import EffectState, Limits, Mode, Result, StepState
from standfast.usecases.approvals import effect_settlement, step_decisions
from standfast.usecases.incidents import effect_queues, lifecycle, step_expansion
from standfast.usecases.incidents.approval_escalation import page
from standfast.usecases.incidents.step_expansion import expand
from tests.servers.postgres import Postgres
from tests.servers.scim import ScimServer
from tests.usecases.conftest import Centre
from tests.usecases.installations import PASSPHRASES, furnish, installation_at
from tests.usecases.twins import ACCOUNTS, SimulatedInstallation, simulated_installation

pytestmark = pytest.mark.usefixtures("quick_looks")

MANY = tuple(f"agents:{name}" for name in ACCOUNTS)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Live SQLite installation with simulators."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        yield installation


def states(installation: SimulatedInstallation, case: str, verb: str) -> list[EffectState]:
    return [row.state for row in installation.ledger.effects.of_incident(case) if row.verb == verb]


# Faults of a directory


def test_directory_losing_requests_is_abandoned(
    installation: SimulatedInstallation,
) -> None:
    installation.directory.script("lock", Fault.LOST_REQUEST, times=100)
    outcome = installation.advance(case := installation.open("lock"))
    assert outcome.exit_status is ExitStatus.FAILED
    (row,) = installation.ledger.effects.of_incident(case)
    assert (row.state, row.tries) == (EffectState.FAILED, 5)
    assert "did not happen" in row.reason


def test_lock_without_answer_changes_once(
    installation: SimulatedInstallation,
) -> None:
    installation.directory.script("lock", Fault.LOST_ANSWER)
    installation.advance(installation.open("lock"))
    assert installation.directory.changes("agent01") == 1


def test_dying_directory_holds_no_runner_forever(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups of the outcome become rarer; the runner does not wait for them."""
    installation.directory.script("lock", Fault.LOST_REQUEST)
    case = installation.open("lock")
    installation.advance_while_it_dies(case, "lock", monkeypatch)
    assert states(installation, case, "accounts.lock") == [EffectState.UNKNOWN]
    assert installation.advance(case).exit_status is ExitStatus.DONE
    assert not installation.is_enabled("agent01")


def test_returning_directory_is_locked(
    installation: SimulatedInstallation,
) -> None:
    directory = installation.directory
    directory.go_away()
    case = installation.open("lock", ["agent01", "agent02"])
    seen = 0
    observe = directory.observe

    def come_back_at_the_third_look(names: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 3:
            directory.come_back()
        return observe(names)

    directory.observe = come_back_at_the_third_look
    assert installation.advance(case).exit_status is ExitStatus.DONE
    assert not installation.is_enabled("agent01")
    assert not installation.is_enabled("agent02")


def test_silent_directory_costs_one_timeout(
    installation: SimulatedInstallation,
) -> None:
    directory = installation.directory
    directory.go_away()
    names = [f"n{number}" for number in range(2_000)]
    case = installation.open("lock", names)
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    state: State = installation.ledger.incidents.state(case)
    step = state.playbook.step("lock")
    expansion = expand(step, state, adapters, is_signed=True, token_of=str)
    assert len(expansion.drafts) == 2_000
    assert [len(call.targets) for call in directory.calls] == [16]


def test_first_accounts_lock_before_last_look_up(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effect_queues, "LOOKUP_ROWS", 2)
    installation.advance(installation.open("lock", MANY))
    verbs = [call.verb for call in installation.directory.calls]
    assert verbs.index("lock") < len(verbs) - 1 - verbs[::-1].index("observe")
    assert not any(installation.is_enabled(name) for name in ACCOUNTS)


def test_missing_secret_blocks_only_its_directory(tmp_path: Path, scim_server: ScimServer) -> None:
    config_file = furnish(tmp_path, scim_url=scim_server.url)
    config_file.write_text(
        config_file.read_text()
        + f'[accounts.other]\nkind = "scim"\nurl = "{scim_server.url}"\ntoken = "env:NOT_THERE"\n'
    )
    account = scim_server.create("agent01")
    with installation_at(config_file, token=scim_server.token) as installation:
        case = lifecycle.open_incident(
            installation, "lock", {"accounts": ["agent01"]}, mode=Mode.LIVE, opened_by="dana"
        ).incident
        outcome = lifecycle.advance(installation, case, "direct")
        rows = {row.connector: row for row in installation.ledger.effects.of_incident(case)}
    assert not scim_server.is_active(account)
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert rows["other"].state is EffectState.FAILED
    assert "NOT_THERE" in rows["other"].reason


# Faults of a relay


def test_returning_relay_sends_each_message_once(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "RELAY_AWAY_SECONDS", 0.05)
    centre.scim.create("agent01")
    centre.smtp.answer_recipient("staff1@example.com", "drop")
    send, falls = sender.SmtpSender.send, 0

    def count(self: sender.SmtpSender, messages: Sequence[Message]) -> list[Result]:
        nonlocal falls
        falls += 1
        if falls == 3:
            centre.smtp.answer_recipient("staff1@example.com", "250 OK")
        return send(self, messages)

    monkeypatch.setattr(sender.SmtpSender, "send", count)
    outcome = centre.advance(centre.open("account-takeover", "agent01"))
    assert falls == 3
    assert outcome.state.steps["tell_staff"].state is StepState.DONE
    assert [centre.mails_to(f"staff{n}@example.com") for n in (1, 2, 3)] == [1, 1, 1]


def test_deferred_message_is_sent_once(centre: Centre) -> None:
    centre.scim.create("agent01")
    centre.smtp.answer_next_data("451 4.7.1 greylisted")
    case = centre.open("account-takeover", "agent01")
    centre.advance(case)
    assert sum(centre.mails_to(f"staff{n}@example.com") for n in (1, 2, 3)) == 2
    with installation_at(
        centre.config_file,
        token=centre.scim.token,
        clock=lambda: centre.installation.clock() + timedelta(minutes=10),
    ) as later:
        lifecycle.advance(later, case, "direct")
    assert [centre.mails_to(f"staff{n}@example.com") for n in (1, 2, 3)] == [1, 1, 1]


def test_unreachable_approver_blocks_no_page(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page_but_not_kim(*args: Any, **more: Any) -> Any:
        if getattr(args[4], "name", "") == "kim":
            raise Refused("a recipient's 'name' is longer than it may be")
        return page(*args, **more)

    monkeypatch.setattr("standfast.usecases.incidents.approval_escalation.page", page_but_not_kim)
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    assert installation.twins.told("lee@example.com") == 1


def test_decision_before_page_stops_no_runner(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    state = installation.ledger.incidents.state(case)
    step_expansion.expand_step(installation, state, adapters, "tell_customers", 1)
    stale = installation.ledger.incidents.state(case)
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    lifecycle._apply_moves(installation, stale, adapters, installation.clock())
    installation.advance(case)
    assert installation.twins.told("customers1@example.net") == 1
    assert installation.twins.told("lee@example.com") == 0, "nobody is woken for what is decided"


def test_person_cannot_deny_a_running_message(
    installation: SimulatedInstallation,
) -> None:
    """A message that was denied would be sent again."""
    case = _nobody_can_tell_of_the_staff(installation, is_taken=True)
    with pytest.raises(Refused, match="may still happen"):
        effect_settlement.settle(
            installation, case, _unknown(installation, case)[0].token, happened=False
        )


def test_denied_message_is_sent_after_its_step(
    installation: SimulatedInstallation,
) -> None:
    case = _nobody_can_tell_of_the_staff(installation)
    for row in _unknown(installation, case):
        effect_settlement.settle(installation, case, row.token, happened=False)
    installation.advance(case)
    assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
    assert installation.ledger.incidents.state(case).steps["tell_staff"].state is StepState.DONE


@pytest.mark.parametrize(("happened", "told"), [(True, 0), (False, 1)])
def test_person_settles_a_whole_step(
    installation: SimulatedInstallation, happened: bool, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effect_settlement, "TRANSACTION_ROWS", 1)
    case = _nobody_can_tell_of_the_staff(installation)
    settled = effect_settlement.settle_step(installation, case, "tell_staff", happened=happened)
    assert (settled.count, settled.left, _unknown(installation, case)) == (2, 0, [])
    installation.advance(case)
    assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [told, told]
    assert (
        current_state(installation.ledger.incidents.state(case).steps["tell_staff"])
        is StepState.DONE
    )
    with pytest.raises(UsageError, match="no unknown effect"):
        effect_settlement.settle_step(installation, case, "tell_staff", happened=happened)
    with pytest.raises(UsageError, match=r"tell_stuff.*did you mean"):
        effect_settlement.settle_step(installation, case, "tell_stuff", happened=happened)


def test_person_settles_only_finished_calls(
    installation: SimulatedInstallation,
) -> None:
    case = _nobody_can_tell_of_the_staff(installation, is_taken=True)
    with pytest.raises(Refused, match=r"2 unknown effects.*may still happen"):
        effect_settlement.settle_step(installation, case, "tell_staff", happened=False)
    assert len(_unknown(installation, case)) == 2
    assert effect_settlement.settle_step(installation, case, "tell_staff", happened=True).count == 2


def _unknown(installation: SimulatedInstallation, case: str) -> list[EffectRow]:
    rows = installation.ledger.effects.of_incident(case)
    return [row for row in rows if row.state is EffectState.UNKNOWN]


def _nobody_can_tell_of_the_staff(
    installation: SimulatedInstallation, *, is_taken: bool = False
) -> str:
    """Run an incident with two mails of unknown outcome; later mails are sent."""
    mail = installation.twins.mail
    mail.answer = lambda _message: Answer(state=EffectState.UNKNOWN, is_taken=is_taken)
    if is_taken:
        mail.limits = Limits(batch=2, workers=1, timeout_seconds=600)
    else:
        mail.find = lambda tokens: [None for _ in tokens]
    case = installation.run("account-takeover")
    assert len(_unknown(installation, case)) == 2
    mail.answer = lambda _message: TAKEN
    return case


# Independence of queues


def test_unforeseen_fault_stops_one_queue(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_settle = Effects.to_settle

    def fall_over(
        self: Effects, incident: str, queue: EffectQueue, now: datetime, most: int
    ) -> list[EffectRow]:
        if queue.verb == "evidence.snapshot":
            raise RuntimeError("agent01 is in this text")
        return to_settle(self, incident, queue, now, most)

    monkeypatch.setattr(Effects, "to_settle", fall_over)
    outcome = installation.advance(installation.open("account-takeover"))
    assert not installation.is_enabled("agent01")
    assert installation.twins.told("staff1@example.net") == 1
    assert outcome.exit_status is ExitStatus.FAILED
    (trouble,) = outcome.troubles
    assert "evidence.snapshot through telephony: unexpected RuntimeError" in trouble
    assert "agent01" not in trouble


def test_unplannable_step_stops_no_other(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from standfast.usecases.incidents import step_expansion

    def fall_over(*_: object) -> None:
        raise KeyError("agent01")

    monkeypatch.setattr(step_expansion.StepPlanner, "config", property(fall_over))
    outcome = installation.advance(installation.open("account-takeover"))
    assert not installation.is_enabled("agent01")
    assert outcome.state.steps["freeze_logs"].state is StepState.FAILED
    told = json.dumps([event.detail for event in installation.ledger.timeline(outcome.incident)])
    assert "agent01" not in told


# Faults of the ledger


@pytest.mark.parametrize("falls", [2, 4])
def test_receipt_is_written_again_after_ledger_failure(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch, falls: int
) -> None:
    receipt = attempts.Attempts.receipt
    monkeypatch.setattr(effect_queues, "RECEIPT_PAUSES_SECONDS", (0.0, 0.0, 0.0, 0.0))

    def stumble(self: attempts.Attempts, *args: Any, **more: Any) -> None:
        nonlocal falls
        if falls:
            falls -= 1
            raise Unavailable("the ledger's PostgreSQL does not answer")
        receipt(self, *args, **more)

    monkeypatch.setattr(attempts.Attempts, "receipt", stumble)
    outcome = installation.advance(installation.open("account-takeover"))
    assert outcome.troubles == ()
    assert installation.twins.told("staff1@example.net") == 1
    assert EffectState.UNKNOWN not in states(installation, outcome.incident, "notices.send")


@pytest.mark.parametrize("falls", [5, 6])
def test_queue_without_ledger_is_abandoned_alone(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch, falls: int
) -> None:
    claim, left = attempts.Attempts.claim, falls

    def stumble(
        self: attempts.Attempts, case: str, queue: EffectQueue, *args: Any, **more: Any
    ) -> Any:
        nonlocal left
        if left and queue.verb == "notices.send":
            left -= 1
            raise Unavailable("the ledger's PostgreSQL does not answer")
        return claim(self, case, queue, *args, **more)

    monkeypatch.setattr(attempts.Attempts, "claim", stumble)
    outcome = installation.advance(installation.open("account-takeover"))
    assert not installation.is_enabled("agent01")
    is_given_up = falls == 6
    assert len(outcome.troubles) == is_given_up
    assert installation.twins.told("staff1@example.net") == (not is_given_up)


def test_lease_renewal_continues_after_a_failed_renewal(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = threading.Semaphore(0)

    def beat(*_: object) -> None:
        beats.release()
        raise Unavailable("ledger: locked by another process for 30 s")

    monkeypatch.setattr(lifecycle, "LEASE", timedelta(seconds=0.03))
    monkeypatch.setattr(type(installation.ledger.runners), "extend_lease", beat)
    case = installation.open("lock")
    with lifecycle._runner(installation, case, "direct"):
        assert beats.acquire(timeout=60)
        assert beats.acquire(timeout=60), "one missed beat was its last"


def test_cut_connections_leave_incident_resumable(
    tmp_path: Path, postgres_ledger_url: str, postgres_server: Postgres
) -> None:
    database = postgres_ledger_url.partition("/@/")[2] or postgres_ledger_url.rpartition("@/")[2]
    name = database.partition("?")[0]
    cuts = threading.Semaphore(3)

    def cut_and_take(_message: Message) -> Answer:
        if cuts.acquire(blocking=False):
            with psycopg.connect(postgres_server.url("postgres", driver="")) as superuser:
                superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (name,),
                )
        return TAKEN

    with simulated_installation(tmp_path, postgres_ledger_url) as installation:
        installation.twins.mail.answer = cut_and_take
        case = installation.open("account-takeover", MANY)
        for _ in range(6):  # as if a person repeats the command
            try:
                installation.advance(case)
            except StandfastError:
                continue
            break
        installation.advance(case)
        assert not any(installation.is_enabled(name) for name in ACCOUNTS)
        assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
        assert set(states(installation, case, "notices.send")) == {EffectState.DONE}
        assert installation.ledger.audit.verify().is_whole
