"""A correction reaches exactly the recipients of the wrong notice."""

from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.senders.simulator import TAKEN, Answer
from standfast.errors import Refused, UsageError
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.records import DeliveryEvent, DeliveryState, EffectState, Mode, Result, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import lifecycle
from standfast.usecases.notice_follow_up import corrections
from standfast.usecases.notices import correction_history, staged_sending
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import TOLD, approved, later, with_notices
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import simulated_installation

WRONG = {"what_happened": "not-concerned"}


def mails_about(centre: Centre) -> dict[str, int]:
    found: dict[str, int] = {}
    for mail in centre.smtp.delivered:
        (address,) = mail.recipients
        if address.startswith("customer"):
            found[address] = found.get(address, 0) + 1
    return found


def test_correction_reaches_exactly_the_wrong_recipients(
    centre: Centre,
) -> None:
    with_notices(centre, canary_percent=20, canary_from=10, canary_minutes=15)
    case = approved(centre)
    first = set(mails_about(centre))
    assert len(first) == 4
    with pytest.raises(Refused, match="tell_customers: 16 messages"):
        corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")
    staged_sending.stop(centre.installation, case, TOLD, "wrong audience")
    centre.advance(case)
    got = [
        row
        for row in centre.installation.ledger.effects.of_incident(case)
        if row.step == TOLD and row.verb == "notices.send" and row.state is EffectState.DONE
    ]
    now = centre.installation.clock()
    lost = DeliveryEvent(token=got[0].token, state=DeliveryState.BOUNCED, at=now)
    centre.installation.ledger.deliveries.store_reports([lost], "event", now)

    plan = corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")
    assert (plan.step, plan.recipients, plan.refused) == ("correction-1", 3, 0)
    assert centre.advance(case).state.extra[0].state is StepState.ASKING
    assert mails_about(centre) == dict.fromkeys(first, 1)
    step_decisions.decide(centre.installation, case, plan.step, "lee", PASSPHRASES["lee"])
    with_notices(centre, canary_percent=0)
    centre.advance(case)
    assert sorted(mails_about(centre).values()) == [1, 2, 2, 2]
    assert set(mails_about(centre)) == first
    assert got[0].target.removeprefix("mail:") in {
        address for address, number in mails_about(centre).items() if number == 1
    }
    assert centre.installation.ledger.audit.verify().findings == ()


def test_running_message_delays_the_correction(
    centre: Centre,
) -> None:
    with_notices(
        centre, canary_percent=50, canary_from=10, canary_minutes=15, abort_window_seconds=60
    )
    case = approved(centre)
    centre.installation = installation = later(centre.installation, 2)
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
    last = installation.ledger.attempts.claim(
        case, queue, runner, Mode.LIVE, limits, installation.clock(), settings=adapters.settings
    )
    assert last is not None
    assert len(last.effects) == 1
    staged_sending.stop(installation, case, TOLD, "wrong audience")
    with pytest.raises(Refused, match="tell_customers: 1"):
        corrections.correct(installation, case, TOLD, WRONG, requested_by="dana")
    results = [Result(target=one.target, state=EffectState.DONE) for one in last.orders]
    installation.ledger.attempts.receipt(last, results, runner, installation.clock())
    plan = corrections.correct(installation, case, TOLD, WRONG, requested_by="dana")
    assert plan.recipients == 10


def test_impossible_correction_is_refused(
    centre: Centre,
) -> None:
    with_notices(centre, abort_window_seconds=3600)
    case = approved(centre)
    staged_sending.stop(centre.installation, case, TOLD, "wrong audience")
    with pytest.raises(UsageError, match="nobody received"):
        corrections.correct(centre.installation, case, TOLD, WRONG)
    with pytest.raises(UsageError, match="no step with this name sends"):
        corrections.correct(centre.installation, case, "nothing", WRONG)


def test_second_correction_must_be_requested(
    centre: Centre,
) -> None:
    with_notices(centre, canary_percent=0)
    case = approved(centre)
    first = corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")
    with pytest.raises(Refused, match=f"{first.step} corrects it already"):
        corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")
    another = corrections.correct(
        centre.installation, case, TOLD, WRONG, requested_by="dana", is_another=True
    )
    assert another.step == "correction-2"
    centre.advance(case)
    step_decisions.decide(
        centre.installation, case, first.step, "lee", PASSPHRASES["lee"], approves=False
    )
    with pytest.raises(Refused, match=another.step):
        corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")


def test_possible_recipients_are_corrected_too(
    tmp_path: Path,
) -> None:
    answers = {
        "customers2@example.net": Answer(state=EffectState.UNKNOWN),
        "customers3@example.net": Answer(state=EffectState.REFUSED),
        "customers4@example.net": Answer(state=EffectState.FAILED),
        "customers5@example.net": TAKEN,
        "customers6@example.net": TAKEN,
    }
    with simulated_installation(tmp_path) as installation:
        installation.twins.audiences["customers"] = 6
        installation.twins.mail.answer = lambda message: answers.get(message.address, TAKEN)
        installation.twins.mail.find = lambda tokens: [None for _ in tokens]
        case = installation.run("account-takeover")
        step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
        installation.advance(case)
        step_decisions.decide(installation, case, TOLD, "lee", PASSPHRASES["lee"])
        installation.advance(case)
        rows = {
            row.target.removeprefix("mail:"): row
            for row in installation.ledger.effects.of_incident(case)
            if row.step == TOLD
        }
        assert {name: rows[name].state for name in answers} == {
            name: answer.state for name, answer in answers.items()
        }
        now = installation.clock()
        heard = {"customers5": DeliveryState.DROPPED, "customers6": DeliveryState.DEFERRED}
        events = [
            DeliveryEvent(token=rows[f"{name}@example.net"].token, state=state, at=now)
            for name, state in heard.items()
        ]
        installation.ledger.deliveries.store_reports(events, "event", now)
        plan = corrections.correct(installation, case, TOLD, WRONG, requested_by="dana")
        assert (plan.recipients, plan.refused) == (3, 0)
        corrected = {
            row.target: row.details["corrects"]
            for row in installation.ledger.effects.of_incident(case)
            if row.step == plan.step and row.verb == "notices.send"
        }
        assert corrected == {
            f"mail:{name}@example.net": rows[f"{name}@example.net"].token
            for name in ("customers1", "customers2", "customers6")
        }


def test_correction_needs_opener_or_approval(centre: Centre) -> None:
    """Lee requested it and may approve it, so one more person must approve."""
    with_notices(centre, canary_percent=0)
    case = approved(centre)
    installation = centre.installation
    plan = corrections.correct(installation, case, TOLD, WRONG, requested_by="lee")
    assert plan.needs_approvals == 2
    unsigned = corrections.correct(installation, case, TOLD, WRONG, is_another=True)
    assert unsigned.needs_approvals == 2
    centre.advance(case)
    step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    assert set(mails_about(centre).values()) == {1}
    step_decisions.decide(installation, case, plan.step, "kim", PASSPHRASES["kim"])
    centre.advance(case)
    assert set(mails_about(centre).values()) == {2}


def test_closed_incident_is_not_corrected(centre: Centre) -> None:
    with_notices(centre, canary_percent=0)
    case = approved(centre)
    lifecycle.close(centre.installation, case, by="dana")
    with pytest.raises(Refused, match="closed"):
        corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")
    assert correction_history.valid_corrections(centre.installation, case, TOLD) == []


def test_correction_uses_the_language_of_the_notice(
    centre: Centre,
) -> None:
    with_notices(centre, canary_percent=0)
    case = approved(centre)
    plan = corrections.correct(centre.installation, case, TOLD, WRONG, requested_by="dana")
    step_decisions.decide(centre.installation, case, plan.step, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    subjects = {
        number: [
            str(mail.message["subject"])
            for mail in centre.smtp.delivered
            if mail.recipients == (f"customer{number}@example.net",)
        ][-1]
        for number in (7, 8)
    }
    assert subjects[7].startswith("Berichtigung")
    assert subjects[8].startswith("Correction")
