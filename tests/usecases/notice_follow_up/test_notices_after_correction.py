"""Late recipients get the corrected text, never the wrong one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.senders.simulator import TAKEN, Answer
from standfast.errors import Refused, UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Recipient
from standfast.records import DeliveryEvent, DeliveryState, EffectState, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.notice_follow_up import corrections, held_recipients, individual_notices
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import TOLD, approved, with_notices
from tests.usecases.installations import PASSPHRASES
from tests.usecases.notice_follow_up.test_held_recipients import WHY, counted, holding
from tests.usecases.twins import SimulatedInstallation, TwinAdapters, simulated_installation

WRONG = {"what_happened": "wrong-facts", "what_is_right": "Only names were seen."}
RIGHT = {"what_happened": "A stranger saw your name and nothing else."}
GUARDIAN = "ma@example.net"
ASKS_HOW = """
playbook: ask-first
version: 1
title: Tell what was found out
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  what:
    title: What was seen?
    manual: Say what was seen.
  tell:
    title: Tell the customers
    needs: [what]
    do: notices.send
    with:
      template: customers-account-takeover
      audience: customers
      context: {what_happened: "{{ answers.what }}"}
    approval: {none_because: It is a test.}
"""


def approve(centre: Centre, case: str, step: str, *people: str) -> None:
    for person in people:
        step_decisions.decide(centre.installation, case, step, person, PASSPHRASES[person])
    centre.advance(case)


def customers_told(installation: SimulatedInstallation, answers: Mapping[str, Answer]) -> str:
    """Open an incident and send its notice; `answers` are by address."""
    installation.twins.mail.answer = lambda message: answers.get(message.address, TAKEN)
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    step_decisions.decide(installation, case, TOLD, "lee", PASSPHRASES["lee"])
    installation.advance(case)
    return case


def corrected(centre: Centre, case: str, *, is_another: bool = False) -> str:
    """Correct the notice to customers and send it; return the step."""
    plan = corrections.correct(
        centre.installation, case, TOLD, WRONG, requested_by="dana", is_another=is_another
    )
    approve(centre, case, plan.step, "lee")
    return plan.step


def bounce(centre: Centre, case: str, step: str, address: str) -> EffectRow:
    """Report a bounce of a step's message to an address."""
    (row,) = [
        row
        for row in centre.installation.ledger.effects.of_incident(case)
        if (row.step, row.target) == (step, f"mail:{address}")
    ]
    now = centre.installation.clock()
    lost = DeliveryEvent(token=row.token, state=DeliveryState.BOUNCED, at=now)
    centre.installation.ledger.deliveries.store_reports([lost], "event", now)
    return row


def words_to(centre: Centre, address: str) -> list[str]:
    """Return the text that an address received, in one line."""
    found = [mail for mail in centre.smtp.delivered if mail.recipients == (address,)]
    bodies = [mail.message.get_body(("plain",)) for mail in found]
    return [" ".join(body.get_content().split()) for body in bodies if body is not None]


@pytest.mark.parametrize("who", ["held", "not reached"])
def test_corrected_notice_is_rewritten_for_others(centre: Centre, who: str) -> None:
    case = holding(centre)
    mark = held_recipients.list_held(centre.installation, case)[0].mark
    if who == "not reached":
        mark = bounce(centre, case, TOLD, "customer9@example.net").token[:8]
    corrected(centre, case)
    installation = centre.installation
    with pytest.raises(UsageError, match=r"correction-1 corrects it.*--value"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=[GUARDIAN], because=WHY, by="lee"
        )
    planned = individual_notices.plan_individual_notice(
        installation, case, mark, to=[GUARDIAN], because=WHY, values=RIGHT, by="lee"
    )
    approve(centre, case, planned.step, "kim", "lee")
    (words,) = words_to(centre, GUARDIAN)
    assert RIGHT["what_happened"] in words
    assert "wrong message" not in words
    assert RIGHT["what_happened"] not in words_to(centre, "customer4@example.net")[0]
    with pytest.raises(UsageError, match="already"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=[GUARDIAN], because=WHY, values=RIGHT, by="lee"
        )
    counted(centre, case)
    assert installation.ledger.audit.verify().findings == ()


def test_refused_correction_changes_nothing(centre: Centre) -> None:
    case = holding(centre)
    installation = centre.installation
    plan = corrections.correct(installation, case, TOLD, WRONG, requested_by="dana")
    mark = held_recipients.list_held(installation, case)[0].mark
    with pytest.raises(UsageError, match="--value"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=[GUARDIAN], because=WHY, by="lee"
        )
    centre.advance(case)
    step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"], approves=False)
    with pytest.raises(UsageError, match="Remove --value"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=[GUARDIAN], because=WHY, values=RIGHT, by="lee"
        )
    step = individual_notices.plan_individual_notice(
        installation, case, mark, to=[GUARDIAN], because=WHY, by="lee"
    ).step
    approve(centre, case, step, "kim", "lee")
    (words,) = words_to(centre, GUARDIAN)
    of_others = [words_to(centre, f"customer{n}@example.net") for n in range(4, 21)]
    assert words.partition(":")[2] in {each[0].partition(":")[2] for each in of_others}


def test_undelivered_correction_uses_the_newest_text(
    centre: Centre,
) -> None:
    with_notices(centre, canary_percent=0)
    case = approved(centre)
    first = bounce(centre, case, corrected(centre, case), "customer4@example.net")
    installation = centre.installation
    with pytest.raises(UsageError, match="Remove --value"):
        individual_notices.plan_individual_notice(
            installation, case, first.token[:8], to=[GUARDIAN], because=WHY, values=RIGHT, by="lee"
        )
    second = bounce(centre, case, corrected(centre, case, is_another=True), "customer4@example.net")
    with pytest.raises(UsageError, match="correction-2 is newer"):
        individual_notices.plan_individual_notice(
            installation, case, first.token[:8], to=[GUARDIAN], because=WHY, by="lee"
        )
    step = individual_notices.plan_individual_notice(
        installation, case, second.token[:8], to=[GUARDIAN], because=WHY, by="lee"
    ).step
    approve(centre, case, step, "kim", "lee")
    (words,) = words_to(centre, GUARDIAN)
    assert "Only names were seen." in words


def test_unconcerned_people_are_not_notified(centre: Centre) -> None:
    case = holding(centre)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark
    lost = bounce(centre, case, TOLD, "customer9@example.net").token[:8]
    step_decisions.answer(
        installation, case, "customers_affected", "no", by="lee", is_correction=True
    )
    with pytest.raises(Refused, match="not processed yet"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=[GUARDIAN], because=WHY, by="lee"
        )
    centre.advance(case)
    for one in (mark, lost):
        with pytest.raises(Refused, match=r"tell_customers.*no recipients"):
            individual_notices.plan_individual_notice(
                installation, case, one, to=[GUARDIAN], because=WHY, by="lee"
            )
    correction = bounce(centre, case, corrected(centre, case), "customer4@example.net")
    individual_notices.plan_individual_notice(
        installation, case, correction.token[:8], to=["d@example.net"], because=WHY, by="lee"
    )
    step_decisions.answer(
        installation, case, "customers_affected", "yes", by="lee", is_correction=True
    )
    centre.advance(case)
    individual_notices.plan_individual_notice(
        installation, case, mark, to=[GUARDIAN], because=WHY, values=RIGHT, by="lee"
    )


def test_corrected_answer_names_unnotified_people(
    centre: Centre,
) -> None:
    case = holding(centre)
    installation = centre.installation
    first, second = [one.mark for one in held_recipients.list_held(installation, case)][:2]
    told = individual_notices.plan_individual_notice(
        installation, case, first, to=[GUARDIAN], because=WHY, by="lee"
    ).step
    approve(centre, case, told, "kim", "lee")
    asking = individual_notices.plan_individual_notice(
        installation, case, second, to=["pa@example.net"], because=WHY, by="lee"
    ).step
    centre.advance(case)
    begun = step_decisions.answer(
        installation, case, "customers_affected", "no", by="lee", is_correction=True
    )
    named = {view.step: view.state for view in begun}
    assert named[asking] is StepState.ASKING
    assert told not in named, "it was told with the others, and is corrected with them"


def test_notice_uses_the_corrected_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Recipient(key="child", address="child@example.net", name="A Child", held="a minor")
    monkeypatch.setattr(
        TwinAdapters,
        "audience",
        lambda self, name: Audience(
            recipients=(Recipient(key="1", address="one@example.net", name="One"),),
            held=(child,) if name == "customers" else (),
        ),
    )
    with simulated_installation(tmp_path, playbooks=[ASKS_HOW]) as furnished:
        # Only a notice to the organisation's own staff needs no approval.
        notices = furnished.config.notices.model_copy(update={"staff_audience": "customers"})
        installation = replace(
            furnished, config=furnished.config.model_copy(update={"notices": notices})
        )
        case = installation.open("ask-first")
        installation.advance(case)
        step_decisions.answer(installation, case, "what", "Everything was seen.", by="lee")
        installation.advance(case)
        assert installation.twins.told("one@example.net") == 1
        step_decisions.answer(
            installation, case, "what", "Only your name was seen.", by="lee", is_correction=True
        )
        installation.advance(case)
        (waiting,) = held_recipients.list_held(installation, case)
        individual_notices.plan_individual_notice(
            installation, case, waiting.mark, to=[], because=WHY, by="lee"
        )
        installation.advance(case)
        (told,) = [one for one in installation.twins.mail.messages if one.address == child.address]
        assert "Only your name was seen." in told.text
        assert "Everything" not in told.text


@pytest.mark.parametrize("failed", ["the notice", "its correction", "who is told apart"])
def test_failed_message_is_not_sent_after_correction(tmp_path: Path, failed: str) -> None:
    """The recipient would get the wrong text, and no correction."""
    four, guardian = "customers4@example.net", GUARDIAN
    answers = {} if failed == "its correction" else {four: Answer(state=EffectState.FAILED)}
    with simulated_installation(tmp_path) as installation:
        installation.twins.mail.answer = lambda message: answers.get(message.address, TAKEN)

        def approve(step: str, *people: str) -> None:
            installation.advance(case)
            for person in people:
                step_decisions.decide(installation, case, step, person, PASSPHRASES[person])
            installation.advance(case)

        def correct() -> str:
            plan = corrections.correct(
                installation, case, TOLD, WRONG, requested_by="dana", is_another=True
            )
            approve(plan.step, "lee")
            return plan.step

        def unreached() -> list[str]:
            return [
                one.mark
                for one in held_recipients.unreached(installation, case)
                if not one.decision
            ]

        case = installation.run("account-takeover")
        step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
        approve(TOLD, "lee")
        step = TOLD
        if failed == "its correction":
            answers[four] = Answer(state=EffectState.FAILED)
            step = correct()
        elif failed == "who is told apart":
            answers = {guardian: Answer(state=EffectState.FAILED)}
            assert step_retry.retry(installation, case, TOLD, by="lee").count == 1
            installation.advance(case)
            now = installation.clock()
            (row,) = [
                one
                for one in installation.ledger.effects.of_incident(case)
                if (one.step, one.target) == (TOLD, f"mail:{four}")
            ]
            lost = DeliveryEvent(token=row.token, state=DeliveryState.BOUNCED, at=now)
            installation.ledger.deliveries.store_reports([lost], "event", now)
            step = individual_notices.plan_individual_notice(
                installation, case, row.token[:8], to=[guardian], because=WHY, by="lee"
            ).step
            approve(step, "lee", "kim")
        assert unreached() == []  # a failed message is sent again while its text is valid
        newest = correct()
        answers.clear()
        before = installation.twins.told(four)
        with pytest.raises(Refused, match=f"{step}: {newest} corrects it"):
            step_retry.retry(installation, case, step, by="lee")
        retried = step_retry.retry(installation, case, by="lee")
        assert retried.count == (failed == "its correction")
        assert step in retried.corrected
        installation.advance(case)
        if failed != "its correction":
            (mark,) = unreached()
            assert installation.twins.told(four) == before
            told = individual_notices.plan_individual_notice(
                installation, case, mark, to=[four], because=WHY, values=RIGHT, by="lee"
            ).step
            approve(told, "kim", "lee")
            got = [one.text for one in installation.twins.mail.messages if one.address == four]
            assert len(got) == before + 1
            assert RIGHT["what_happened"] in " ".join(got[-1].split())
            assert unreached() == []
        assert installation.ledger.audit.verify().findings == ()


def test_individual_notice_replaces_the_retry(
    tmp_path: Path,
) -> None:
    four = "customers4@example.net"
    answers = {four: Answer(state=EffectState.FAILED)}
    with simulated_installation(tmp_path) as installation:
        case = customers_told(installation, answers)
        plan = corrections.correct(installation, case, TOLD, WRONG, requested_by="dana")
        (lost,) = held_recipients.unreached(installation, case)
        told = individual_notices.plan_individual_notice(
            installation, case, lost.mark, to=[], because=WHY, values=RIGHT, by="lee"
        ).step
        installation.advance(case)
        for step, approves in ((plan.step, False), (told, True)):
            for person in ("kim", "lee") if approves else ("lee",):
                step_decisions.decide(
                    installation, case, step, person, PASSPHRASES[person], approves=approves
                )
        answers.clear()
        before = installation.twins.told(four)
        assert step_retry.retry(installation, case, TOLD, by="lee").count == 0
        installation.advance(case)
        assert installation.twins.told(four) == before + 1


def test_request_to_approve_replaced_correction_is_retried(tmp_path: Path) -> None:
    approver = "lee@example.com"
    answers: dict[str, Answer] = {}
    with simulated_installation(tmp_path) as installation:
        case = customers_told(installation, answers)
        answers[approver] = Answer(state=EffectState.FAILED)
        first, _newest = (
            corrections.correct(
                installation, case, TOLD, WRONG, requested_by="dana", is_another=True
            ).step
            for _ in range(2)
        )
        installation.advance(case)
        answers.clear()
        before = installation.twins.told(approver)
        assert step_retry.retry(installation, case, first, by="lee").count == 1
        installation.advance(case)
        assert installation.twins.told(approver) == before + 1
