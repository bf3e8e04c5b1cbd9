"""Stages, pauses and stops of a notice, with a real mail server."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from standfast.config.sections.notices import NoticesConfig
from standfast.errors import UsageError
from standfast.ledger.effects.effect_rows import EffectQueue, EffectRow
from standfast.ledger.effects.effect_store import Effects
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.planned_effects import Draft
from standfast.records import DeliveryEvent, DeliveryState, EffectState, Mode, Result, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.notices import staged_sending
from tests.usecases.conftest import Centre
from tests.usecases.installations import PASSPHRASES

TOLD = "tell_customers"


def with_notices(centre: Centre, **settings: object) -> None:
    """Change the settings of notices; the audience has 20 people."""
    config = centre.installation.config
    notices = config.notices.model_copy(update=settings)
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"notices": notices})
    )


def asking(centre: Centre) -> str:
    """Open a takeover and run it up to the approval of the notice."""
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agents:agent01")
    state = centre.advance(case).state
    if state.steps["customers_affected"].state is StepState.PROMPTED:
        step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
        centre.advance(case)
    return case


def approved(centre: Centre) -> str:
    """Open a takeover, approve its notice to customers, and continue it."""
    case = asking(centre)
    step_decisions.decide(centre.installation, case, TOLD, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    return case


def counts(centre: Centre, case: str) -> dict[EffectState, int]:
    (row,) = [
        one for one in centre.installation.ledger.notices.of_incident(case) if one.step == TOLD
    ]
    return row.counts


def later(installation: Installation, minutes: int) -> Installation:
    return replace(installation, clock=lambda: installation.clock() + timedelta(minutes=minutes))


def test_approval_request_reads_no_audience(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[EffectRow] = []
    of_ledger = Effects.decrypt

    def seen(self: Effects, row: Any) -> EffectRow:
        opened.append(of_ledger(self, row))
        return opened[-1]

    monkeypatch.setattr(Effects, "decrypt", seen)
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agents:agent01")
    centre.advance(case)
    step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
    state = centre.advance(case).state
    assert state.steps[TOLD].state is StepState.ASKING
    # The plan stores no recipients, because a million would not fit in memory.
    assert state.steps[TOLD].is_asked
    assert "notices.send" not in {row.verb for row in opened if row.step == TOLD}


def test_plan_states_exclusions_and_rejections(
    centre: Centre,
) -> None:
    config = centre.installation.config
    never = config.folder / "never.csv"
    never.write_text("who\nCustomer 1 <customer1@example.net>\n2\nask customer3 at example@net\n")
    changed = config.audiences["customers"].model_copy(update={"suppress": never})
    audiences = {**config.audiences, "customers": changed}
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"audiences": audiences})
    )
    approved(centre)
    report = plan_incident(centre.installation, "account-takeover", {"accounts": "agents:agent01"})
    (planned,) = [step for step in report.steps if step.name == TOLD]
    assert planned.notes[-1].endswith(
        "2 rows on the suppression list; 1 entry of the suppression list without a valid "
        "address: such an entry excludes nobody, unless it is the key of a row of the audience"
    )
    assert [centre.mails_to(f"customer{n}@example.net") for n in range(1, 4)] == [0, 0, 1]


def test_canary_precedes_the_others(centre: Centre) -> None:
    with_notices(centre, canary_percent=10, canary_from=10, canary_minutes=15)
    case = approved(centre)
    assert counts(centre, case) == {EffectState.DONE: 2, EffectState.PLANNED: 18}
    assert not lifecycle.has_work(centre.installation, case)
    centre.installation = later(centre.installation, 16)
    assert lifecycle.has_work(centre.installation, case)
    centre.advance(case)
    assert counts(centre, case) == {EffectState.DONE: 20}
    assert all(centre.mails_to(f"customer{n}@example.net") == 1 for n in range(1, 21))


def test_without_minutes_a_person_releases_others(centre: Centre) -> None:
    with_notices(centre, canary_percent=1, canary_from=10, canary_minutes=0)
    case = approved(centre)
    assert counts(centre, case)[EffectState.DONE] == 1
    centre.installation = later(centre.installation, 600)
    state = lifecycle.look(centre.installation, case).state
    assert not staged_sending.due_notices(centre.installation, state, centre.installation.clock())
    assert staged_sending.go(centre.installation, case, TOLD) == 19
    centre.advance(case)
    assert counts(centre, case) == {EffectState.DONE: 20}


@pytest.mark.parametrize(
    ("lost", "may_follow"),
    [
        ([], True),
        ([DeliveryState.BOUNCED], True),
        ([DeliveryState.BOUNCED, DeliveryState.DROPPED], False),
    ],
)
def test_canary_losing_a_tenth_holds_others(
    centre: Centre, lost: list[DeliveryState], may_follow: bool
) -> None:
    with_notices(centre, canary_percent=50, canary_from=10, canary_minutes=15)
    case = approved(centre)
    done = [
        row.token
        for row in centre.installation.ledger.effects.of_incident(case)
        if (row.step, row.verb) == (TOLD, SEND) and row.state is EffectState.DONE
    ]
    now = centre.installation.clock()
    centre.installation.ledger.deliveries.store_reports(
        [
            DeliveryEvent(token=token, state=state, at=now)
            for token, state in zip(done, lost, strict=False)
        ],
        "event",
        now,
    )
    assert len(done) == 10
    assert lifecycle.has_work(later(centre.installation, 16), case) is may_follow


@pytest.mark.parametrize(
    ("others", "may_follow"),
    [
        ([], True),
        ([EffectState.REFUSED], True),
        ([EffectState.REFUSED] * 2, False),
        ([EffectState.REFUSED] * 10, False),
        ([EffectState.FAILED], False),
        ([EffectState.UNKNOWN], False),
    ],
)
def test_unaccepted_canary_holds_others(
    centre: Centre, others: list[EffectState], may_follow: bool
) -> None:
    """A tenth may be rejected; suppressed people do not count as rejected."""
    customers = centre.config_file.parent / "crm.db"
    with closing(sqlite3.connect(customers)) as crm, crm:
        crm.execute("INSERT INTO customers VALUES (21, 'Nobody', 'no address', 'en')")
    crm.close()
    ends = [*others, *[EffectState.DONE] * (10 - len(others))]
    with_notices(
        centre, canary_percent=50, canary_from=10, canary_minutes=15, abort_window_seconds=60
    )
    case = approved(centre)
    centre.installation = installation = later(centre.installation, 2)
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    queue = EffectQueue(verb="notices.send", connector="mail")
    runner = installation.ledger.runners.register(case, "direct", installation.clock())
    batch = installation.ledger.attempts.claim(
        case,
        queue,
        runner,
        Mode.LIVE,
        adapters.limits(queue),
        installation.clock(),
        settings=adapters.settings,
    )
    assert batch is not None
    results = [
        Result(target=order.target, state=end)
        for order, end in zip(batch.orders, ends, strict=True)
    ]
    installation.ledger.attempts.receipt(batch, results, runner, installation.clock())
    installation = later(installation, 16)
    state = lifecycle.look(installation, case).state
    assert staged_sending.due_notices(installation, state, installation.clock()) == (
        [TOLD] if may_follow else []
    )


@pytest.mark.parametrize("is_claimed", [False, True])
def test_unfinished_canary_holds_others(centre: Centre, is_claimed: bool) -> None:
    """A canary is unfinished if its runner died in or between batches."""
    with_notices(
        centre, canary_percent=50, canary_from=10, canary_minutes=15, abort_window_seconds=60
    )
    case = approved(centre)
    installation = later(centre.installation, 2)
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    queue = EffectQueue(verb="notices.send", connector="mail")
    runner = installation.ledger.runners.register(case, "direct", installation.clock())
    limits = replace(adapters.limits(queue), batch=9)
    told = installation.ledger.attempts.claim(
        case, queue, runner, Mode.LIVE, limits, installation.clock(), settings=adapters.settings
    )
    assert told is not None
    results = [Result(target=one.target, state=EffectState.DONE) for one in told.orders]
    installation.ledger.attempts.receipt(told, results, runner, installation.clock())
    if is_claimed:
        assert installation.ledger.attempts.claim(
            case, queue, runner, Mode.LIVE, limits, installation.clock(), settings=adapters.settings
        )
    installation = later(installation, 16)
    state = lifecycle.look(installation, case).state
    assert staged_sending.due_notices(installation, state, installation.clock()) == []


def test_paused_notice_continues_on_resume(centre: Centre) -> None:
    with_notices(centre, canary_percent=10, canary_from=10, canary_minutes=15)
    case = approved(centre)
    staged_sending.pause(centre.installation, case, TOLD)
    staged_sending.go(centre.installation, case, TOLD)
    centre.installation = later(centre.installation, 600)
    state = centre.advance(case).state
    assert counts(centre, case)[EffectState.DONE] == 2
    assert not state.is_stopped_or_closed
    staged_sending.resume(centre.installation, case, TOLD)
    centre.advance(case)
    assert counts(centre, case) == {EffectState.DONE: 20}
    with pytest.raises(UsageError):
        staged_sending.resume(centre.installation, case, TOLD)


@pytest.mark.parametrize("what", ["the notice", "the incident"])
def test_canary_ended_while_stopped_releases_nobody(centre: Centre, what: str) -> None:
    with_notices(centre, canary_percent=10, canary_from=10, canary_minutes=15)
    case = approved(centre)
    if what == "the notice":
        staged_sending.pause(centre.installation, case, TOLD)
    else:
        lifecycle.stop(centre.installation, case, by="dana")
    centre.installation = later(centre.installation, 16)
    assert not lifecycle.has_work(centre.installation, case)
    centre.advance(case)
    (row,) = [
        one for one in centre.installation.ledger.notices.of_incident(case) if one.step == TOLD
    ]
    assert row.waiting == 18  # until an operator releases them


def test_pause_in_abort_window_restarts_it(centre: Centre) -> None:
    with_notices(centre, abort_window_seconds=3600)
    case = approved(centre)
    (row,) = [
        one for one in centre.installation.ledger.notices.of_incident(case) if one.step == TOLD
    ]
    now = centre.installation.clock()
    assert 3500 < row.abort_seconds(now) <= 3600
    staged_sending.pause(centre.installation, case, TOLD)
    centre.installation = later(centre.installation, 600)
    assert counts(centre, case) == {EffectState.PLANNED: 20}
    staged_sending.resume(centre.installation, case, TOLD)
    centre.advance(case)
    (row,) = [
        one for one in centre.installation.ledger.notices.of_incident(case) if one.step == TOLD
    ]
    assert 3500 < row.abort_seconds(centre.installation.clock()) <= 3600
    assert not row.is_paused
    assert counts(centre, case) == {EffectState.PLANNED: 20}


def test_partly_sent_notice_resumes_at_once(centre: Centre) -> None:
    with_notices(centre, canary_percent=10, canary_from=10, abort_window_seconds=3600)
    case = approved(centre)
    centre.installation = later(centre.installation, 61)
    centre.advance(case)
    assert counts(centre, case)[EffectState.DONE] == 2
    staged_sending.pause(centre.installation, case, TOLD)
    staged_sending.resume(centre.installation, case, TOLD)
    (row,) = [
        one for one in centre.installation.ledger.notices.of_incident(case) if one.step == TOLD
    ]
    assert (row.abort_seconds(centre.installation.clock()), row.is_paused) == (0, False)


def test_unapproved_notice_cannot_be_stopped_or_paused(
    centre: Centre,
) -> None:
    case = asking(centre)
    with pytest.raises(UsageError, match="--refuse"):
        staged_sending.stop(centre.installation, case, TOLD, "wrong text")
    with pytest.raises(UsageError, match="--refuse"):
        staged_sending.pause(centre.installation, case, TOLD)
    assert counts(centre, case) == {EffectState.PLANNED: 20}


def test_unapproved_notice_cannot_be_released(
    centre: Centre,
) -> None:
    with_notices(centre, canary_percent=10, canary_from=10, canary_minutes=0)
    case = asking(centre)
    with pytest.raises(UsageError, match="not approved"):
        staged_sending.go(centre.installation, case, TOLD)
    assert "notice.released" not in {
        one.action for one in centre.installation.ledger.timeline(case)
    }
    step_decisions.decide(centre.installation, case, TOLD, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    assert staged_sending.go(centre.installation, case, TOLD) == 18
    with pytest.raises(UsageError, match="no recipients are waiting"):
        staged_sending.go(centre.installation, case, TOLD)


def test_stopped_messages_are_named_and_never_sent(centre: Centre) -> None:
    with_notices(centre, canary_percent=10, canary_from=10, canary_minutes=15)
    case = approved(centre)
    assert staged_sending.stop(centre.installation, case, TOLD, "the wrong audience") == 18
    centre.installation = later(centre.installation, 600)
    view = centre.advance(case).state.steps[TOLD]
    assert (view.counts.done, view.counts.refused, view.state) == (2, 18, StepState.PARTIAL)
    reasons = {
        row.reason
        for row in centre.installation.ledger.effects.of_incident(case)
        if row.step == TOLD and row.state is EffectState.REFUSED
    }
    assert reasons == {"stopped by os:test before sending: the wrong audience"}
    assert sum(centre.mails_to(f"customer{n}@example.net") for n in range(1, 21)) == 2
    assert centre.installation.ledger.audit.verify().findings == ()


def test_step_without_notice_cannot_be_paused(centre: Centre) -> None:
    case = centre.open("account-takeover", "agents:agent01")
    for said in (staged_sending.pause, staged_sending.resume, staged_sending.go):
        with pytest.raises(UsageError, match="no notice is planned"):
            said(centre.installation, case, "lock")


@pytest.mark.parametrize(
    ("people", "percent", "size"),
    [(2, 1, 1), (100, 1, 1), (250, 1, 3), (1000, 1, 10), (10, 50, 5), (10, 0, 10), (1, 50, 1)],
)
def test_canary_is_a_percentage_and_never_empty(people: int, percent: int, size: int) -> None:
    drafts = tuple(
        Draft(
            verb="notices.send",
            connector="mail",
            target=f"mail:{n}",
            state=EffectState.REFUSED if n % 7 == 3 else EffectState.PLANNED,
        )
        for n in range(people + people // 3)
    )
    planned = [one for one in drafts if one.state is EffectState.PLANNED][:people]
    settings = NoticesConfig(canary_percent=percent, canary_from=2)
    found = list(staged_sending.with_canary(planned, settings, people))
    assert sum(one.not_before is None for one in found) == size
    assert [one.target for one in found] == [one.target for one in planned]
    assert all(
        one.not_before is None
        for one in staged_sending.with_canary(drafts, settings, people)
        if one.state is EffectState.REFUSED
    )
