"""Notices to minors and deceased people wait for a person's decision."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from standfast.errors import ApprovalRefused, Refused, UsageError
from standfast.ledger.incidents.step_transitions import Steps
from standfast.ledger.messages.notice_control import Notices
from standfast.notices.prepared_notice import merkle_root
from standfast.records import DeliveryEvent, DeliveryState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.health.status import look
from standfast.usecases.incidents import lifecycle
from standfast.usecases.notice_follow_up import (
    corrections,
    held_recipients,
    individual_notices,
    letters,
)
from standfast.usecases.notice_follow_up.open_recipients import open_recipients
from standfast.usecases.notices import staged_sending
from standfast.usecases.notices.delivery_accounting import Account, End, Line, account
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import TOLD, approved, asking, with_notices
from tests.usecases.installations import PASSPHRASES
from tests.usecases.notice_follow_up.test_letters import furnish_letters, give_one_mark_to_all

QUERY = (
    "SELECT email AS address, name, language, id AS key, born AS born_on, died AS died_on "
    "FROM customers ORDER BY id"
)
WHY = "their guardian asked for it"


def holding(centre: Centre, *, is_approved: bool = True) -> str:
    """Open a takeover: customer 1 is a child, 2 and 3 have died."""
    with closing(sqlite3.connect(centre.installation.config.folder / "crm.db")) as crm, crm:
        crm.execute("ALTER TABLE customers ADD COLUMN born")
        crm.execute("ALTER TABLE customers ADD COLUMN died")
        crm.execute("UPDATE customers SET born = '2018-02-01' WHERE id = 1")
        crm.execute("UPDATE customers SET died = '2024-02-01' WHERE id IN (2, 3)")
    crm.close()
    config = centre.installation.config
    changed = config.audiences["customers"].model_copy(update={"query": QUERY})
    audiences = {**config.audiences, "customers": changed}
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"audiences": audiences})
    )
    return approved(centre) if is_approved else asking(centre)


def counted(centre: Centre, case: str) -> list[Account]:
    steps = [
        each for each in account(centre.installation, case) if each.template.startswith("customers")
    ]
    assert sum(each.audience for each in steps) == 20  # each person counts once, in whichever step
    return steps


def not_notified(centre: Centre) -> tuple[int, int]:
    (one,) = look(centre.config_file, {}, centre.installation.clock()).incidents
    return one.not_notified, one.held


def test_guardian_is_notified_and_dead_excluded(centre: Centre) -> None:
    case = holding(centre)
    installation = centre.installation
    assert counted(centre, case)[0].counts == {End.HANDED_OVER: 17, End.HELD: 3}
    assert not_notified(centre) == (3, 3)
    there = held_recipients.list_held(installation, case)
    assert sorted(one.why for one in there) == ["a minor", "has died", "has died"]
    child = next(one for one in there if one.why == "a minor")
    dead = [one.mark for one in there if one.why == "has died"]

    with pytest.raises(ApprovalRefused):
        held_recipients.leave_out(installation, case, dead, "no next of kin is known", by=None)
    with pytest.raises(UsageError, match="reason: missing"):
        held_recipients.leave_out(installation, case, dead, " ", by="lee")
    assert (
        held_recipients.leave_out(installation, case, dead, "no next of kin is known", by="lee")
        == 2
    )
    again = [*dead, dead[0].upper(), dead[1][:6]]  # a person who is named twice counts once
    assert (
        held_recipients.leave_out(installation, case, again, "no next of kin is known", by="lee")
        == 2
    )
    (one,) = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 17, End.HELD: 1, End.LEFT_OUT: 2}
    lines: list[Line] = []
    account(installation, case, each=lines.append)
    reasons = {line.reason for line in lines if line.end is End.LEFT_OUT}
    assert reasons == {"left out by lee: no next of kin is known (has died)"}
    assert not_notified(centre) == (3, 1)

    with pytest.raises(ApprovalRefused):
        individual_notices.plan_individual_notice(
            installation, case, child.mark, to=["ma@example.net"], because=WHY
        )
    with pytest.raises(UsageError, match="not a valid postal address"):
        individual_notices.plan_individual_notice(
            installation, case, child.mark, to=["nobody"], because=WHY, by="lee"
        )
    planned = individual_notices.plan_individual_notice(
        installation, case, child.mark, to=["ma@example.net"], name="Maria", because=WHY, by="lee"
    )
    # Two people other than lee must approve, because dana opened the incident.
    assert planned.needs_approvals == 2
    frozen = installation.ledger.incidents.notice(case, planned.step, 1)
    (row,) = [
        one for one in installation.ledger.effects.of_incident(case) if one.step == planned.step
    ]
    # The approval covers the message to Maria.
    assert frozen.root == merkle_root([str(row.details["digest"])])
    centre.advance(case)
    assert centre.mails_to("ma@example.net") == 0
    assert not_notified(centre) == (3, 0)
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, planned.step, person, PASSPHRASES[person])
    centre.advance(case)
    assert centre.mails_to("ma@example.net") == 1
    assert centre.mails_to("customer1@example.net") == 0
    (mail,) = [one for one in centre.smtp.delivered if one.recipients == ("ma@example.net",)]
    assert "Maria" in mail.message.as_string()

    assert {each.step: each.counts for each in counted(centre, case)} == {
        TOLD: {End.HANDED_OVER: 17, End.LEFT_OUT: 2},
        planned.step: {End.HANDED_OVER: 1},
    }
    assert not_notified(centre) == (2, 0)
    with pytest.raises(UsageError, match="already"):
        individual_notices.plan_individual_notice(
            installation, case, child.mark, to=["pa@example.net"], because=WHY, by="lee"
        )
    with pytest.raises(UsageError, match="cannot be changed here"):
        held_recipients.leave_out(installation, case, [child.mark], "changed our mind", by="lee")
    wrong = {"what_happened": "not-concerned"}
    plan = corrections.correct(installation, case, TOLD, wrong, requested_by="dana")
    assert plan.recipients == 18  # the guardian received the wrong notice as well
    decided = [e for e in installation.ledger.timeline(case) if e.action == "held.decided"]
    assert [event.actor for event in decided] == ["lee", "lee", "lee"]
    assert installation.ledger.audit.verify().findings == ()


def test_decision_during_counting_counts_once(centre: Centre) -> None:
    case = holding(centre)
    installation = centre.installation
    waiting = [one.mark for one in held_recipients.list_held(installation, case)]
    is_telling = False

    def tell_one(*given: Any) -> None:
        nonlocal is_telling
        if waiting and not is_telling and "FROM effect" in given[2]:
            is_telling = True
            individual_notices.plan_individual_notice(
                installation, case, waiting.pop(), to=["ma@example.net"], because=WHY, by="lee"
            )
            is_telling = False

    event.listen(installation.ledger.engine, "after_cursor_execute", tell_one)
    lines: list[Line] = []
    first = account(installation, case, each=lines.append)
    event.remove(installation.ledger.engine, "after_cursor_execute", tell_one)
    assert not waiting  # all three changed between two reads of the account
    (one,) = [each for each in first if each.template.startswith("customers")]
    assert one.counts == {End.HANDED_OVER: 17, End.HELD: 3}
    assert len([each for each in lines if each.step == TOLD]) == 20
    told_anew = [each.counts for each in counted(centre, case) if each.step != TOLD]
    assert told_anew == [{End.PLANNED: 1}] * 3


def test_excluded_person_may_be_notified_later(
    centre: Centre,
) -> None:
    case = holding(centre)
    mark = held_recipients.list_held(centre.installation, case)[0].mark
    held_recipients.leave_out(centre.installation, case, [mark], "nobody answers", by="lee")
    planned = individual_notices.plan_individual_notice(
        centre.installation, case, mark, to=[], because="the heir called", by="lee"
    )
    for person in ("kim", "lee"):
        step_decisions.decide(centre.installation, case, planned.step, person, PASSPHRASES[person])
    centre.advance(case)
    ends = {each.step: each.counts for each in counted(centre, case)}
    assert ends[planned.step] == {End.HANDED_OVER: 1}
    assert ends[TOLD] == {End.HANDED_OVER: 17, End.HELD: 2}


def test_refused_notification_returns_to_decision(centre: Centre) -> None:
    """Otherwise a mistyped address would leave the child without a decision."""
    case = holding(centre)
    installation = centre.installation
    child, dead = (
        next(one.mark for one in held_recipients.list_held(installation, case) if one.why == why)
        for why in ("a minor", "has died")
    )

    def tell(mark: str, *, approves: bool) -> str:
        to = ["ma@example.net" if approves else "mma@example.net"]
        step = individual_notices.plan_individual_notice(
            installation, case, mark, to=to, because=WHY, by="lee"
        ).step
        for person in ("kim", "lee") if approves else ("kim",):
            step_decisions.decide(
                installation, case, step, person, PASSPHRASES[person], approves=approves
            )
        centre.advance(case)
        return step

    refused = [tell(mark, approves=False) for mark in (child, dead, child)]
    assert len(set(refused)) == 3
    (one,) = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 17, End.HELD: 3}
    assert {(one.decision, one.by) for one in held_recipients.list_held(installation, case)} == {
        ("", "")
    }
    assert open_recipients(installation, installation.ledger.incidents.state(case)).held == 3
    assert not_notified(centre) == (3, 3)
    assert (
        held_recipients.leave_out(installation, case, [dead], "no next of kin is known", by="lee")
        == 1
    )
    told = tell(child, approves=True)
    assert {each.step: each.counts for each in counted(centre, case)} == {
        TOLD: {End.HANDED_OVER: 17, End.HELD: 1, End.LEFT_OUT: 1},
        told: {End.HANDED_OVER: 1},
    }
    assert (centre.mails_to("ma@example.net"), centre.mails_to("mma@example.net")) == (1, 0)
    assert not_notified(centre) == (2, 1)
    with pytest.raises(UsageError, match=f"by step {told} already"):
        individual_notices.plan_individual_notice(
            installation, case, child, to=["pa@example.net"], because=WHY, by="lee"
        )
    with pytest.raises(UsageError, match="cannot be changed here"):
        held_recipients.leave_out(installation, case, [child], "changed our mind", by="lee")
    assert installation.ledger.audit.verify().findings == ()


def test_unknown_mark_or_closed_incident_is_refused(centre: Centre) -> None:
    case = holding(centre)
    with pytest.raises(UsageError, match="no held recipients of"):
        held_recipients.leave_out(centre.installation, case, ["ffff0000"], WHY, by="lee")
    mark = held_recipients.list_held(centre.installation, case)[0].mark
    with pytest.raises(UsageError, match="no held recipients of"):
        held_recipients.leave_out(
            centre.installation, case, [mark[:3]], WHY, by="lee"
        )  # a prefix that is too short
    lifecycle.close(centre.installation, case, by="dana")
    with pytest.raises(Refused, match="closed"):
        held_recipients.leave_out(centre.installation, case, [mark], WHY, by="lee")


def test_similar_marks_are_distinguished(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    give_one_mark_to_all(monkeypatch)
    case = holding(centre)
    installation = centre.installation
    marks = [one.mark for one in held_recipients.list_held(installation, case)]
    assert len(set(marks)) == 3
    with pytest.raises(UsageError, match="3 held recipients of"):
        held_recipients.leave_out(installation, case, [marks[0][:8]], WHY, by="lee")
    assert (
        held_recipients.leave_out(installation, case, marks[1:], "no heir is known", by="lee") == 2
    )
    (open_one,) = [one for one in held_recipients.list_held(installation, case) if not one.decision]
    assert open_one.mark == marks[0]


def test_undelivered_person_gets_one_letter(centre: Centre) -> None:
    furnish_letters(centre)
    centre.smtp.answer_recipient("customer9@example.net", "550 5.1.1 no such mailbox")
    case = approved(centre)
    installation = centre.installation
    mails = {row.target: row for row in installation.ledger.effects.of_incident(case)}
    heard = {4: DeliveryState.BOUNCED, 5: DeliveryState.DROPPED, 6: DeliveryState.DEFERRED}
    events = [
        DeliveryEvent(
            token=mails[f"mail:customer{number}@example.net"].token,
            state=state,
            at=installation.clock(),
        )
        for number, state in heard.items()
    ]
    installation.ledger.deliveries.store_reports(events, "event", installation.clock())
    there = held_recipients.unreached(installation, case)
    whys = [one.why for one in there]
    assert whys[:2] == ["the mail bounced", "the provider did not try to deliver it"]
    # A deferred mail is still in transit; a missing address is not a failed mail.
    assert (len(whys), "550" in whys[2]) == (3, True)
    assert held_recipients.list_held(installation, case) == []
    assert not_notified(centre) == (
        7,
        0,
    )  # these three, two with letters to post, one deferred, one without an address

    with pytest.raises(UsageError, match="no held recipients"):
        held_recipients.leave_out(installation, case, [there[0].mark], WHY, by="lee")
    letter = individual_notices.plan_individual_notice(
        installation, case, there[0].mark, to=["Ana", "1 Road"], because="it bounced", by="lee"
    )
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, letter.step, person, PASSPHRASES[person])
    centre.advance(case)
    pages = (installation.config.folder / "letters").glob("*.html")
    assert sum(page.read_text().count("<bdi>1 Road</bdi>") for page in pages) == 1
    ends = {each.step: each.counts for each in counted(centre, case)}
    assert ends[letter.step] == {End.PRINTED: 1}
    assert End.BOUNCED not in ends[TOLD]  # the person now counts under the step of the letter
    assert not_notified(centre) == (7, 0)
    last = held_recipients.unreached(installation, case)[-1]
    assert last.decision == f"notified by step {letter.step}"
    with pytest.raises(UsageError, match="already"):
        individual_notices.plan_individual_notice(
            installation, case, there[0].mark, to=["Ana", "2 Road"], because="again", by="lee"
        )


def test_stopped_message_is_not_undelivered(centre: Centre) -> None:
    with_notices(centre, canary_percent=20, canary_from=10)
    case = approved(centre)
    staged_sending.stop(centre.installation, case, TOLD, "wrong text")
    assert held_recipients.unreached(centre.installation, case) == []


def test_twice_undelivered_person_is_notified_and_corrected(
    centre: Centre,
) -> None:
    with_notices(centre, canary_percent=0)
    case = approved(centre)
    with_notices(centre, abort_window_seconds=0)
    installation = centre.installation
    wrong = {"what_happened": "not-concerned"}

    def bounce_and_tell_at(address: str) -> str:
        (row,) = [
            row
            for row in installation.ledger.effects.of_incident(case)
            if row.token.startswith(bounced[-1])
        ]
        lost = DeliveryEvent(token=row.token, state=DeliveryState.BOUNCED, at=installation.clock())
        installation.ledger.deliveries.store_reports([lost], "event", installation.clock())
        there = [one for one in held_recipients.unreached(installation, case) if not one.decision]
        assert [one.mark for one in there] == [row.token[:8]]
        step = individual_notices.plan_individual_notice(
            installation, case, there[0].mark, to=[address], because=WHY, by="lee"
        ).step
        for person in ("kim", "lee"):
            step_decisions.decide(installation, case, step, person, PASSPHRASES[person])
        centre.advance(case)
        (again,) = [
            row for row in installation.ledger.effects.of_incident(case) if row.step == step
        ]
        bounced.append(again.token)
        return step

    bounced = [
        row.token
        for row in installation.ledger.effects.of_incident(case)
        if row.target == "mail:customer4@example.net"
    ]
    first, second = bounce_and_tell_at("one@example.net"), bounce_and_tell_at("two@example.net")
    ends = {each.step: each.counts for each in counted(centre, case)}
    assert ends[second] == {End.HANDED_OVER: 1}
    assert first not in ends
    plan = corrections.correct(installation, case, TOLD, wrong, requested_by="dana")
    step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    got = [address for mail in centre.smtp.delivered for address in mail.recipients]
    assert (got.count("one@example.net"), got.count("two@example.net")) == (1, 2)
    lost = DeliveryEvent(
        token=next(
            row.token
            for row in installation.ledger.effects.of_incident(case)
            if (row.step, row.target) == (plan.step, "mail:two@example.net")
        ),
        state=DeliveryState.BOUNCED,
        at=installation.clock(),
    )
    installation.ledger.deliveries.store_reports([lost], "event", installation.clock())
    told = individual_notices.plan_individual_notice(
        installation, case, lost.token[:8], to=["three@example.net"], because=WHY, by="lee"
    )
    assert told.needs_approvals == 2  # as many as the notice itself needs


def test_interrupted_decision_stays_decided(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = holding(centre)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(installation.ledger.notices, "decide_held", die)
        with pytest.raises(Died):
            individual_notices.plan_individual_notice(
                installation, case, mark, to=["ma@example.net"], because=WHY, by="lee"
            )
    (told,) = [one for one in held_recipients.list_held(installation, case) if one.decision]
    assert (told.mark, told.by) == (mark, "")
    assert not_notified(centre) == (3, 2)
    with pytest.raises(UsageError, match="cannot be changed here"):
        held_recipients.leave_out(installation, case, [mark], "nobody answers", by="lee")
    with pytest.raises(UsageError, match="already"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=["ma@example.net"], because=WHY, by="lee"
        )
    (told,) = [one for one in held_recipients.list_held(installation, case) if one.decision]
    assert (told.mark, told.by) == (mark, "lee")


def test_stopped_wrong_address_allows_another(
    centre: Centre,
) -> None:
    case = holding(centre)
    with_notices(centre, abort_window_seconds=3600)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark
    wrong = individual_notices.plan_individual_notice(
        installation, case, mark, to=["mma@example.net"], because=WHY, by="lee"
    ).step
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, wrong, person, PASSPHRASES[person])
    assert staged_sending.stop(installation, case, wrong, "mistyped") == 1
    centre.advance(case)
    (lost,) = held_recipients.unreached(installation, case)
    assert lost.why == "stopped by os:test before sending: mistyped"
    with_notices(centre, abort_window_seconds=0)
    installation = centre.installation
    right = individual_notices.plan_individual_notice(
        installation, case, lost.mark, to=["ma@example.net"], because=WHY, by="lee"
    ).step
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, right, person, PASSPHRASES[person])
    centre.advance(case)
    assert (centre.mails_to("ma@example.net"), centre.mails_to("mma@example.net")) == (1, 0)
    assert {each.step: each.counts for each in counted(centre, case)} == {
        TOLD: {End.HANDED_OVER: 17, End.HELD: 2},
        right: {End.HANDED_OVER: 1},
    }
    assert not_notified(centre) == (2, 2)


def test_late_delivery_hides_no_unnotified_person(centre: Centre) -> None:
    """The delivery may follow the bounce: the count must stay complete."""
    with_notices(centre, canary_percent=0)
    centre.smtp.answer_recipient("customer9@example.net", "550 5.1.1 no such mailbox")
    case = approved(centre)
    installation = centre.installation
    (row,) = [
        row
        for row in installation.ledger.effects.of_incident(case)
        if row.target == "mail:customer4@example.net"
    ]

    def hear(state: DeliveryState) -> None:
        heard = DeliveryEvent(token=row.token, state=state, at=installation.clock())
        installation.ledger.deliveries.store_reports([heard], "event", installation.clock())

    hear(DeliveryState.BOUNCED)
    assert not_notified(centre) == (2, 0)
    step = individual_notices.plan_individual_notice(
        installation, case, row.token[:8], to=["a@example.net"], because=WHY, by="lee"
    ).step
    hear(DeliveryState.DELIVERED)
    # The second message is only planned, so the person counts as not notified.
    assert not_notified(centre) == (2, 0)
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, step, person, PASSPHRASES[person])
    centre.advance(case)
    assert sum(each.not_notified for each in counted(centre, case)) == 1
    assert not_notified(centre) == (1, 0)


def test_individual_notice_waits_for_approval(
    centre: Centre,
) -> None:
    """If an approver refuses it, the next round holds the recipients too."""
    case = holding(centre, is_approved=False)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark
    with pytest.raises(UsageError, match="not approved"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=["ma@example.net"], because=WHY, by="lee"
        )
    step_decisions.decide(installation, case, TOLD, "lee", PASSPHRASES["lee"], approves=False)
    with pytest.raises(UsageError, match="not approved"):
        individual_notices.plan_individual_notice(
            installation, case, mark, to=["ma@example.net"], because=WHY, by="lee"
        )
    step_retry.retry(installation, case, TOLD, by="lee")
    centre.advance(case)
    step_decisions.decide(installation, case, TOLD, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    mark = held_recipients.list_held(installation, case)[0].mark
    step = individual_notices.plan_individual_notice(
        installation, case, mark, to=["ma@example.net"], because=WHY, by="lee"
    ).step
    assert {each.step: each.counts for each in counted(centre, case)} == {
        TOLD: {End.HANDED_OVER: 17, End.HELD: 2},
        step: {End.PLANNED: 1},
    }
    assert not_notified(centre) == (3, 2)


@pytest.mark.parametrize("is_told", [False, True])
def test_first_of_two_decisions_counts(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """Otherwise Lee's exclusion would hide the person that Kim notifies."""
    case = holding(centre)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark
    of_ledger: Any = Steps.expand if is_told else Notices.decide_held
    name = of_ledger.__name__

    def kim_is_first(*given: Any) -> Any:
        monkeypatch.setattr(type(given[0]), name, of_ledger)
        individual_notices.plan_individual_notice(
            installation, case, mark, to=["ma@example.net"], because="Kim knows her", by="kim"
        )
        return of_ledger(*given)

    monkeypatch.setattr(Steps if is_told else Notices, name, kim_is_first)
    lee_decides = (
        partial(
            individual_notices.plan_individual_notice,
            installation,
            case,
            mark,
            to=["pa@example.net"],
            because=WHY,
            by="lee",
        )
        if is_told
        else partial(
            held_recipients.leave_out, installation, case, [mark], "nobody answers", by="lee"
        )
    )
    with pytest.raises(UsageError, match="by step held-"):
        lee_decides()
    (decided,) = [one for one in held_recipients.list_held(installation, case) if one.decision]
    assert (decided.mark, decided.by) == (mark, "kim")
    (told,) = [each.counts for each in counted(centre, case) if each.step != TOLD]
    assert told == {End.PLANNED: 1}
    events = [one for one in installation.ledger.timeline(case) if one.action == "held.decided"]
    assert [one.actor for one in events] == ["kim"]
    assert installation.ledger.audit.verify().findings == ()


def test_existing_exclusion_keeps_its_reason(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = holding(centre)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark
    of_ledger = Notices.decide_held

    def kim_is_first(*given: Any) -> bool:
        monkeypatch.setattr(Notices, "decide_held", of_ledger)
        assert (
            held_recipients.leave_out(installation, case, [mark], "no heir is known", by="kim") == 1
        )
        return of_ledger(*given)

    monkeypatch.setattr(Notices, "decide_held", kim_is_first)
    assert held_recipients.leave_out(installation, case, [mark], "nobody answers", by="lee") == 1
    (decided,) = [one for one in held_recipients.list_held(installation, case) if one.decision]
    assert decided.by == "kim"
    events = [one for one in installation.ledger.timeline(case) if one.action == "held.decided"]
    assert [one.actor for one in events] == ["kim"]


def test_guardian_customer_gets_one_correction(centre: Centre) -> None:
    with_notices(centre, canary_percent=0)
    case = holding(centre)
    installation = centre.installation
    mark = held_recipients.list_held(installation, case)[0].mark
    to = ["customer4@example.net"]
    step = individual_notices.plan_individual_notice(
        installation, case, mark, to=to, because=WHY, by="lee"
    ).step
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, step, person, PASSPHRASES[person])
    centre.advance(case)
    assert centre.mails_to(to[0]) == 2  # the guardian's own message, and the one about the child
    wrong = {"what_happened": "not-concerned"}
    plan = corrections.correct(installation, case, TOLD, wrong, requested_by="dana")
    assert plan.recipients == 17
    step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    assert centre.mails_to(to[0]) == 3


def test_impossible_notification_stays_undecided(centre: Centre) -> None:
    case = holding(centre)
    installation = centre.installation
    there = held_recipients.list_held(installation, case)
    for to, why in (
        (["ma@example.net\nBcc: pa@example.net"], "not a valid mail address"),
        (["ma@@example.net"], "not a valid mail address"),
        (["ma@example.net", "pa@example.net"], "Name one mail address"),
        (["Ana", "1 Road"], "no sender of kind `letters`"),
        (["Ana", " "], "is empty"),
    ):
        with pytest.raises(UsageError, match=why):
            individual_notices.plan_individual_notice(
                installation, case, there[0].mark, to=to, because=WHY, by="lee"
            )
    with pytest.raises(UsageError, match="--because TEXT"):
        individual_notices.plan_individual_notice(
            installation, case, there[0].mark, to=["ma@example.net"], because=" ", by="lee"
        )
    assert held_recipients.list_held(installation, case) == there
    assert {each.step for each in counted(centre, case)} == {TOLD}


def test_returned_letter_is_not_mailed(
    centre: Centre,
) -> None:
    """The mail would go to the wrong person."""
    furnish_letters(centre)
    case = approved(centre)
    installation = centre.installation
    letters.record_posted(installation, case, TOLD, by="lee")
    (row, _) = [
        r for r in installation.ledger.effects.of_incident(case) if r.target.startswith("post:")
    ]
    letters.record_returned(installation, case, TOLD, [row.token], by="lee")
    with pytest.raises(UsageError, match="sent by letter"):
        individual_notices.plan_individual_notice(
            installation, case, row.token, to=["ana@example.net"], because=WHY, by="lee"
        )
    lifecycle.close(installation, case, by="dana")
    with pytest.raises(Refused, match="closed"):
        individual_notices.plan_individual_notice(
            installation, case, row.token, to=[], because=WHY, by="lee"
        )


def test_fully_held_audience_waits_for_a_person(centre: Centre) -> None:
    config = centre.installation.config
    query = QUERY.replace("born AS born_on, died AS died_on", "'yes' AS is_minor")
    changed = config.audiences["customers"].model_copy(update={"query": query})
    audiences = {**config.audiences, "customers": changed}
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"audiences": audiences})
    )
    case = approved(centre)
    assert [one.why for one in held_recipients.list_held(centre.installation, case)] == [
        "a minor"
    ] * 20
    assert not any(centre.mails_to(f"customer{number}@example.net") for number in range(1, 21))
