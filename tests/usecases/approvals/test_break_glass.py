"""Break-glass: one person contains, everybody is notified, one reviews."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.procedures.simulator import SimulatedProcedure
from standfast.config.schema import ApprovalsConfig, LimitsConfig
from standfast.config.sections.procedures import CommandConfig, ParameterConfig
from standfast.errors import ApprovalRefused, Refused, UsageError
from standfast.ledger.approvals.two_person_rule import BREAK_GLASS_DELAY
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.break_glass import BreakGlassResult, break_glass
from standfast.usecases.approvals.pending_requests import pending_requests
from standfast.usecases.health import status
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.incidents.lifecycle import has_work
from standfast.usecases.reports.result_pages import incident_report
from tests.servers.smtp import Delivered, SmtpServer
from tests.usecases.conftest import Centre
from tests.usecases.installations import OWNER, PASSPHRASES
from tests.usecases.twins import simulated_installation

SHUT = """
playbook: shut
version: 1
title: Shut a host off
use_when: A test shuts one off.
inputs: {}
steps:
  shut:
    title: Shut it off
    do: run.command
    with: {command: isolate, targets: ["ws-4711"]}
    approval: {count: 1, roles: [duty-manager]}
"""
WHY = "nobody answers, and they read out cards right now"
THREE = ("agents:agent01", "agents:agent02", "agents:agent03")


@pytest.fixture
def centre(centre: Centre) -> Centre:
    """An installation where one person may lock two accounts a day."""
    limits = LimitsConfig(accounts_without_second_person=2)
    config = centre.installation.config.model_copy(update={"limits": limits})
    return replace(centre, installation=replace(centre.installation, config=config))


def asking(centre: Centre, **more: Any) -> str:
    case = centre.open("lock", *THREE, **more)
    assert centre.advance(case).state.steps["lock"].state is StepState.ASKING
    return case


def text_of(mail: Delivered) -> str:
    body = mail.message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def glanced(centre: Centre, case: str) -> str:
    seen = status.look(centre.config_file, {}, centre.installation.clock()).incidents
    return next(one.next_step for one in seen if one.id == case)


def ran_alone(centre: Centre) -> str:
    """Run an incident with a lock by dana alone; return it."""
    for name in THREE:
        centre.scim.create(name.partition(":")[2])
    case = asking(centre)
    broken(centre, case)
    assert later(centre).advance(case).state.steps["lock"].state is StepState.DONE
    return case


def broken(centre: Centre, case: str, person: str = "dana", because: str = WHY) -> BreakGlassResult:
    return break_glass(
        centre.installation, case, None, person, PASSPHRASES[person], because=because
    )


def later(centre: Centre, by: timedelta = BREAK_GLASS_DELAY + timedelta(seconds=1)) -> Centre:
    clock = centre.installation.clock
    return replace(centre, installation=replace(centre.installation, clock=lambda: clock() + by))


def pages(centre: Centre, *names: str) -> list[list[str]]:
    """Return the messages to each person about a break-glass approval."""
    return [
        [
            text_of(mail)
            for mail in centre.smtp.delivered
            if mail.recipients == (f"{name}@example.com",)
            and "break-glass approval" in str(mail.message["subject"])
        ]
        for name in names
    ]


def test_break_glass_locks_alone_after_notification(
    centre: Centre,
) -> None:
    accounts = [centre.scim.create(name.partition(":")[2]) for name in THREE]
    case = asking(centre)
    assert broken(centre, case).message.startswith("2 people were notified. The step begins at ")
    (to_lee,), (to_kim,), to_dana = pages(centre, "lee", "kim", "dana")
    assert to_dana == []
    assert f"standfast incident approve {case} lock --refuse --as NAME" in to_lee
    assert WHY in to_kim
    assert "agent01" not in to_lee
    centre.advance(case)
    assert all(centre.scim.is_active(one) for one in accounts), "not before its time"
    assert has_work(later(centre).installation, case), "a `serve` finds it by itself"
    assert later(centre).advance(case).state.steps["lock"].state is StepState.DONE
    assert not any(centre.scim.is_active(one) for one in accounts)
    assert centre.installation.ledger.audit.verify().is_whole


def test_refusal_in_time_prevents_the_lock(centre: Centre) -> None:
    account = centre.scim.create("agent01")
    case = asking(centre)
    broken(centre, case)
    next_step = lifecycle.look(centre.installation, case).summary.next_step
    assert f"`standfast incident approve {case} lock --refuse --as PERSON`" in next_step
    (line,) = pending_requests(centre.installation, case, "lee")
    assert "by break-glass, unless somebody refuses it" in line.text[0], "in the console, too"
    step_decisions.decide(
        centre.installation, case, "lock", "lee", PASSPHRASES["lee"], approves=False
    )
    assert later(centre).advance(case).state.steps["lock"].state is StepState.REFUSED
    assert centre.scim.is_active(account)


def test_broken_glass_needs_review_before_closing(centre: Centre) -> None:
    case = ran_alone(centre)
    look = f"Another person reviews it: `standfast incident approve {case} lock"
    assert look in lifecycle.look(centre.installation, case).summary.next_step
    assert look in glanced(centre, case)
    with pytest.raises(Refused, match="dana"):
        lifecycle.close(centre.installation, case, by="dana")
    with pytest.raises(ApprovalRefused, match="'dana'"):
        step_decisions.decide(centre.installation, case, "lock", "dana", PASSPHRASES["dana"])
    step_decisions.decide(
        centre.installation, case, "lock", "lee", PASSPHRASES["lee"], approves=False
    )
    assert look not in lifecycle.look(centre.installation, case).summary.next_step + glanced(
        centre, case
    )
    lifecycle.close(centre.installation, case, by="dana")
    told = [line.action for line in incident_report(centre.installation, case).events]
    assert any("gave a break-glass approval for “Lock" in what and WHY in what for what in told), (
        told
    )
    assert any("reviewed the break-glass run, and refused" in what for what in told), told


def test_irreversible_steps_and_undos_need_approvals(centre: Centre) -> None:
    case = ran_alone(centre)
    effect_undo.undo(centre.installation, case, requested_by="dana")
    later(centre).advance(case)
    with pytest.raises(ApprovalRefused, match="Wait for its approvals"):
        broken(centre, case)
    centre.scim.create("agent04")
    telling = centre.open("account-takeover", "agents:agent04")
    centre.advance(telling)
    step_decisions.answer(centre.installation, telling, "customers_affected", "yes", by="lee")
    centre.advance(telling)
    with pytest.raises(ApprovalRefused, match="break-glass is only for containment"):
        broken(centre, telling)
    assert pages(centre, "lee")[0][1:] == [], "and nobody is alarmed for nothing"


@pytest.mark.parametrize("has_undo", [True, False])
def test_break_glass_runs_only_undoable_commands(
    tmp_path: Path, smtp_server: SmtpServer, has_undo: bool
) -> None:
    with simulated_installation(
        tmp_path, "sqlite:///ledger.db", playbooks=[SHUT], smtp_port=smtp_server.port
    ) as opened:
        undo = ("/usr/local/sbin/edr", "--open={target}") if has_undo else ()
        isolate = CommandConfig(
            argv=("/usr/local/sbin/edr", "--shut={target}"),
            undo=undo,
            parameters={"target": ParameterConfig()},
        )
        installation = replace(
            opened, config=opened.config.model_copy(update={"commands": {"isolate": isolate}})
        )
        procedure = SimulatedProcedure("commands.isolate")
        procedure.can_undo = has_undo
        installation.twins.procedures["commands.isolate"] = procedure
        case = lifecycle.open_incident(
            installation, "shut", {}, mode=Mode.LIVE, opened_by="dana"
        ).incident
        assert installation.advance(case).state.steps["shut"].state is StepState.ASKING
        try:
            break_glass(installation, case, None, "dana", PASSPHRASES["dana"], because=WHY)
        except ApprovalRefused:
            assert not has_undo
        else:
            assert has_undo


def test_break_glass_needs_reason_passphrase_and_setting(centre: Centre) -> None:
    case = asking(centre)
    with pytest.raises(UsageError, match="reason: missing"):
        broken(centre, case, because=" ")
    with pytest.raises(ApprovalRefused):
        break_glass(centre.installation, case, None, "dana", "not the passphrase", because=WHY)
    never = centre.installation.config.model_copy(
        update={"approvals": ApprovalsConfig(break_glass=False)}
    )
    barred = replace(centre, installation=replace(centre.installation, config=never))
    with pytest.raises(ApprovalRefused, match=r"`approvals\.break_glass` is false"):
        broken(barred, case)
    assert pages(centre, "lee", "kim") == [[], []]
    assert centre.installation.ledger.incidents.state(case).steps["lock"].opens_at is None


def test_break_glass_is_refused_while_nobody_is_notified(centre: Centre) -> None:
    case = asking(centre)
    for name in ("lee", "kim"):
        centre.smtp.answer_recipient(f"{name}@example.com", "550 no such user")
    with pytest.raises(ApprovalRefused, match="nobody else was notified"):
        broken(centre, case)
    assert centre.installation.ledger.incidents.state(case).steps["lock"].opens_at is None
    assert later(centre).advance(case).state.steps["lock"].state is StepState.ASKING
    centre.smtp.answer_recipient("kim@example.com", "250 OK")
    assert "1 person was notified." in broken(centre, case).message
    assert centre.installation.ledger.incidents.state(case).steps["lock"].opens_at is not None


def test_break_glass_needs_one_other_enrolled_person(centre: Centre) -> None:
    people, clock = centre.installation.ledger.people, centre.installation.clock
    case, later_case = asking(centre), asking(centre)
    people.remove("kim", OWNER, clock())
    assert "1 person was notified." in broken(centre, case).message
    people.remove("lee", OWNER, clock())
    with pytest.raises(ApprovalRefused, match="nobody else could refuse"):
        broken(centre, later_case)


def test_exercise_notifies_nobody(centre: Centre) -> None:
    case = asking(centre, mode=Mode.EXERCISE)
    assert broken(centre, case).message.startswith("The step begins at ")
    assert pages(centre, "lee", "kim") == [[], []]
    assert later(centre).advance(case).state.steps["lock"].state is StepState.DONE
