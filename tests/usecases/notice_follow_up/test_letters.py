"""People without e-mail get letters, and count as notified once posted."""

import csv
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.config.sections.senders import LettersSenderConfig
from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.effects import effect_rows
from standfast.ledger.effects.effect_rows import EffectQueue, effect_token
from standfast.ledger.incidents import step_plans
from standfast.ledger.messages.delivery_reports import Deliveries
from standfast.ledger.messages.notice_control import Notices
from standfast.records import Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import step_expansion
from standfast.usecases.notice_follow_up import (
    corrections,
    held_recipients,
    individual_notices,
    letters,
)
from standfast.usecases.notices.accounting_export import export
from standfast.usecases.notices.delivery_accounting import Account, End, Line, account
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import TOLD, approved, later, with_notices
from tests.usecases.installations import PASSPHRASES

QUERY = (
    "SELECT email AS address, name, language, id AS key, street AS postal_1, town AS postal_2 "
    "FROM customers ORDER BY id"
)


def furnish_letters(centre: Centre, *, with_sender: bool = True) -> None:
    """Remove three customers' e-mail addresses; two have postal ones."""
    folder = centre.installation.config.folder
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.execute("ALTER TABLE customers ADD COLUMN street")
        crm.execute("ALTER TABLE customers ADD COLUMN town")
        crm.execute("UPDATE customers SET email = NULL WHERE id <= 3")
        crm.execute(
            "UPDATE customers SET street = id || ' High Street', town = 'Leeds' WHERE id <= 2"
        )
    crm.close()
    config = centre.installation.config
    audiences = {
        **config.audiences,
        "customers": config.audiences["customers"].model_copy(update={"query": QUERY}),
    }
    post = LettersSenderConfig(
        kind="letters", folder=folder / "letters", return_address=("1 Example Street", "London")
    )
    senders = {**config.senders, "post": post} if with_sender else config.senders
    changed = config.model_copy(update={"audiences": audiences, "senders": senders})
    centre.installation = replace(centre.installation, config=changed)


def give_one_mark_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give all tokens one prefix, as two of 100,000 may have."""

    def alike(*identity: Any) -> str:
        return f"abcdef12{effect_token(*identity)[8:]}"

    for module in (step_plans, effect_rows, step_expansion):
        monkeypatch.setattr(module, "effect_token", alike)


def counted(centre: Centre, case: str) -> Account:
    (one,) = [each for each in account(centre.installation, case) if each.step == TOLD]
    return one


def lines(centre: Centre, case: str) -> list[Line]:
    found: list[Line] = []
    account(centre.installation, case, each=found.append)
    return [line for line in found if line.step == TOLD]


def test_a_letter_is_approved_written_posted_and_counted(centre: Centre, tmp_path: Path) -> None:
    furnish_letters(centre)
    case = approved(centre)
    day = centre.installation.clock()
    installation = centre.installation = later(centre.installation, minutes=240)
    assert counted(centre, case).counts == {
        End.HANDED_OVER: 17,
        End.PRINTED: 2,
        End.REFUSED: 1,
    }
    assert counted(centre, case).not_notified == 3
    notice = next(one for one in installation.ledger.notices.of_incident(case) if one.step == TOLD)
    frozen = installation.ledger.incidents.notice(case, TOLD, notice.round)
    assert frozen.recipients == 19  # the approved root covers the letters too
    (page,) = (installation.config.folder / "letters").glob("*.html")
    text = page.read_text()
    assert "<bdi>Customer 1</bdi><br><bdi>1 High Street</bdi><br><bdi>Leeds</bdi>" in text
    assert text.count("<section") == 2
    assert len([m for m in centre.smtp.delivered if "customer" in m.recipients[0]]) == 17

    with pytest.raises(ApprovalRefused):
        # The step names roles, and nobody is signed in.
        letters.record_posted(installation, case, TOLD)
    with pytest.raises(UsageError, match="in the future"):
        letters.record_posted(
            installation, case, TOLD, at=installation.clock() + timedelta(days=1), by="lee"
        )
    rows = [
        row
        for row in installation.ledger.effects.of_incident(case)
        if row.target.startswith("post:")
    ]
    first = rows[0].token[:8]
    with pytest.raises(UsageError, match="was posted"):
        letters.record_returned(installation, case, TOLD, [first], by="lee")  # nobody posted it
    with pytest.raises(UsageError, match=r"opened 20.*Correct the time of posting"):
        letters.record_posted(
            installation, case, TOLD, at=installation.clock() - timedelta(days=1), by="lee"
        )
    with pytest.raises(UsageError, match="no such letter"):
        letters.record_posted(installation, case, TOLD, marks=["ffffffff"], by="lee")
    assert letters.record_posted(installation, case, TOLD, at=day, marks=[first], by="lee") == 1
    with pytest.raises(UsageError, match="waits to be posted"):
        letters.record_posted(installation, case, TOLD, marks=[first], by="lee")
    assert letters.record_posted(installation, case, TOLD, at=day, by="lee") == 1
    with pytest.raises(UsageError, match="waits to be posted"):
        letters.record_posted(installation, case, TOLD, by="lee")
    one = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 19, End.REFUSED: 1}
    posted = [line for line in lines(centre, case) if line.channel == "post"]
    by_post = [line for line in posted if line.end.is_notified]
    assert {(line.ended_at, line.reason) for line in by_post} == {(day, "posted, says lee")}

    assert letters.record_returned(installation, case, TOLD, [first, first.upper()], by="lee") == 1
    said = installation.clock()
    events = len(installation.ledger.timeline(case))
    assert letters.record_returned(installation, case, TOLD, [first], by="lee") == 1
    (back,) = [line for line in lines(centre, case) if line.end is End.BOUNCED]
    assert back.ended_at is not None
    assert back.ended_at <= said
    assert len(installation.ledger.timeline(case)) == events
    one = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 18, End.BOUNCED: 1, End.REFUSED: 1}
    export(installation, case, tmp_path / "told.csv")
    with (tmp_path / "told.csv").open(newline="") as stream:
        ends = [row["end"] for row in csv.DictReader(stream) if row["step"] == TOLD]
    assert (len(ends), ends.count("bounced")) == (20, 1)
    assert "High Street" not in (tmp_path / "told.csv").read_text()
    (lost,) = held_recipients.unreached(installation, case)
    assert (lost.mark, lost.why) == (first, "the letter came back")
    new = ["Ana", "2 New Road", "York"]
    step = individual_notices.plan_individual_notice(
        installation, case, first, to=new, because="her heir wrote", by="lee"
    ).step
    for person in ("kim", "lee"):
        step_decisions.decide(installation, case, step, person, PASSPHRASES[person])
    centre.advance(case)
    assert letters.record_discarded(installation, case, step, "the wrong town", by="lee") == 1
    again, before = held_recipients.unreached(installation, case)
    assert (before.mark, before.decision) == (first, f"notified by step {step}")
    assert (again.why, again.decision) == ("thrown away unposted, says lee: the wrong town", "")
    assert installation.ledger.audit.verify().findings == ()


def test_without_letters_people_are_named(centre: Centre) -> None:
    furnish_letters(centre, with_sender=False)
    case = approved(centre)
    one = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 17, End.REFUSED: 3}
    reasons = sorted(line.reason for line in lines(centre, case) if line.end is End.REFUSED)
    assert [("kind `letters`" in reason) for reason in reasons] == [True, True, False]
    assert reasons[-1] == "there is no address"


def test_letters_wait_for_the_canary(centre: Centre) -> None:
    furnish_letters(centre)
    with_notices(centre, canary_percent=20, canary_from=10, canary_minutes=15)
    case = approved(centre)
    assert not (centre.installation.config.folder / "letters").exists()
    one = counted(centre, case)
    assert one.counts == {End.PLANNED: 15, End.HANDED_OVER: 4, End.REFUSED: 1}


def test_letter_sender_is_no_mail_sender(centre: Centre) -> None:
    furnish_letters(centre)
    with_notices(centre, sender=None)
    adapters = centre.installation.reading_adapters()
    assert (adapters.default_sender(), adapters.letters()) == ("mail", "post")
    people = adapters.audience("customers").recipients
    assert [person.postal for person in people[:3]] == [
        ("Customer 1", "1 High Street", "Leeds"),
        ("Customer 2", "2 High Street", "Leeds"),
        (),
    ]


def test_interrupted_posting_repeats_with_its_day(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish_letters(centre)
    case = approved(centre)
    day = centre.installation.clock()
    installation = later(centre.installation, minutes=240)

    class Died(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    monkeypatch.setattr(letters, "TRANSACTION_ROWS", 1)
    with monkeypatch.context() as dying:
        dying.setattr(installation.ledger.deliveries, "store_reports", die)
        with pytest.raises(Died):
            letters.record_posted(installation, case, TOLD, at=day, by="lee")
    assert letters.record_posted(installation, case, TOLD, at=day, by="lee") == 2
    posted = [line for line in lines(centre, case) if line.channel == "post"]
    by_post = [line for line in posted if line.end.is_notified]
    assert [(line.ended_at, line.reason) for line in by_post] == [(day, "posted, says lee")] * 2


@pytest.mark.parametrize("is_written", [True, False])
def test_crash_leaves_each_letter_written_once(centre: Centre, is_written: bool) -> None:
    furnish_letters(centre)
    with_notices(centre, abort_window_seconds=3600)
    case = approved(centre)
    installation, queue = centre.installation, EffectQueue(verb="notices.send", connector="post")
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    later = installation.clock() + timedelta(seconds=3601)
    runner = installation.ledger.runners.register(case, "direct", later)
    batch = installation.ledger.attempts.claim(
        case, queue, runner, Mode.LIVE, adapters.limits(queue), later, settings=adapters.settings
    )
    assert batch is not None
    if is_written:
        adapters.call(batch)
    installation.ledger.unknown_outcomes.expire_calls(case, lambda _: True, later)
    centre.installation = replace(installation, clock=lambda: later + timedelta(seconds=1))
    centre.advance(case)
    (page,) = (installation.config.folder / "letters").glob("*.html")
    assert page.read_text().count("<section") == 2
    assert counted(centre, case).counts[End.PRINTED] == 2


def test_shared_mark_is_ambiguous(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the wrong reader could count as notified."""
    give_one_mark_to_all(monkeypatch)
    furnish_letters(centre)
    case = approved(centre)
    installation = centre.installation
    rows = [
        row
        for row in installation.ledger.effects.of_incident(case)
        if row.target.startswith("post:")
    ]
    assert {row.token[:8] for row in rows} == {"abcdef12"}
    (page,) = (installation.config.folder / "letters").glob("*.html")
    assert 'id="letter-abcdef12' in page.read_text()
    with pytest.raises(UsageError, match="2 letters match"):
        letters.record_posted(installation, case, TOLD, marks=["abcdef12"], by="lee")
    with pytest.raises(UsageError, match="no such letter"):
        letters.record_posted(installation, case, TOLD, marks=[rows[0].token[:7]], by="lee")
    assert letters.record_posted(installation, case, TOLD, by="lee") == 2
    with pytest.raises(UsageError, match="2 letters match"):
        letters.record_returned(installation, case, TOLD, ["ABCDEF12"], by="lee")
    assert letters.record_returned(installation, case, TOLD, [rows[0].token], by="lee") == 1
    (back,) = [line for line in lines(centre, case) if line.end is End.BOUNCED]
    assert back.person == rows[0].handle[:16]


def test_discarded_letter_notified_nobody(centre: Centre) -> None:
    furnish_letters(centre)
    case = approved(centre)
    installation = centre.installation
    with pytest.raises(UsageError, match="reason: missing"):
        letters.record_discarded(installation, case, TOLD, "", by="lee")
    rows = [
        row
        for row in installation.ledger.effects.of_incident(case)
        if row.target.startswith("post:")
    ]
    mark = rows[0].token[:8]
    assert (
        letters.record_discarded(installation, case, TOLD, "wrong text", marks=[mark], by="lee")
        == 1
    )
    assert letters.record_posted(installation, case, TOLD, by="lee") == 1
    one = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 18, End.REFUSED: 2}
    assert "thrown away unposted, says lee: wrong text" in {
        line.reason for line in lines(centre, case)
    }
    with pytest.raises(UsageError, match="waits to be posted"):
        letters.record_posted(installation, case, TOLD, marks=[mark], by="lee")
    wrong = {"what_happened": "not-concerned"}
    plan = corrections.correct(installation, case, TOLD, wrong, requested_by="dana")
    assert plan.recipients == 18
    assert installation.ledger.audit.verify().findings == ()


def test_many_letters_are_all_discarded(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "TRANSACTION_ROWS", 1)
    furnish_letters(centre)
    case = approved(centre)
    assert letters.record_discarded(centre.installation, case, TOLD, "wrong text", by="lee") == 2
    assert counted(centre, case).counts == {End.HANDED_OVER: 17, End.REFUSED: 3}


def test_correction_of_letter_is_a_letter(centre: Centre) -> None:
    furnish_letters(centre)
    case = approved(centre)
    letters.record_posted(centre.installation, case, TOLD, by="lee")
    wrong = {"what_happened": "not-concerned"}
    plan = corrections.correct(centre.installation, case, TOLD, wrong, requested_by="dana")
    assert (plan.recipients, plan.refused) == (19, 0)
    step_decisions.decide(centre.installation, case, plan.step, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    ends = {one.step: one.counts for one in account(centre.installation, case)}
    assert ends[plan.step] == {End.HANDED_OVER: 17, End.PRINTED: 2}
    with pytest.raises(UsageError, match="waits to be posted"):
        letters.record_posted(
            centre.installation, case, TOLD, by="lee"
        )  # the letters of the other step still wait
    pages = (centre.installation.config.folder / "letters").glob("*.html")
    assert sum(page.read_text().count("<bdi>1 High Street</bdi>") for page in pages) == 2


@pytest.mark.parametrize("is_posted", [True, False])
def test_first_of_two_letter_reports_counts(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, is_posted: bool
) -> None:
    furnish_letters(centre)
    case = approved(centre)
    installation = centre.installation
    rows = [
        row
        for row in installation.ledger.effects.of_incident(case)
        if row.target.startswith("post:")
    ]
    marks = [rows[0].token]
    of_ledger: Any = Deliveries.store_reports if is_posted else Notices.discard
    name = of_ledger.__name__

    def say(mark: str, by: str, *, is_posted: bool) -> int:
        if is_posted:
            return letters.record_posted(
                installation, case, TOLD, marks=[mark] if mark else (), by=by
            )
        return letters.record_discarded(
            installation, case, TOLD, "wrong text", marks=[mark] if mark else (), by=by
        )

    def kim_is_first(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(type(given[0]), name, of_ledger)
        assert say(marks.pop(), "kim", is_posted=not is_posted) == 1
        return of_ledger(*given, **more)

    monkeypatch.setattr(Deliveries if is_posted else Notices, name, kim_is_first)
    assert say("", "lee", is_posted=is_posted) == 1  # one of the two that waited
    one = counted(centre, case)
    assert one.counts == {End.HANDED_OVER: 18, End.REFUSED: 2}
    by_kim = [line for line in lines(centre, case) if line.person == rows[0].handle[:16]]
    assert [line.end for line in by_kim] == [End.REFUSED if is_posted else End.HANDED_OVER]
    assert "says kim" in by_kim[0].reason
    assert installation.ledger.audit.verify().findings == ()


def test_late_letter_report_is_refused(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish_letters(centre)
    case = approved(centre)
    installation = centre.installation
    of_ledger = Notices.discard

    def kim_is_first(*given: Any) -> int:
        monkeypatch.setattr(Notices, "discard", of_ledger)
        assert letters.record_posted(installation, case, TOLD, by="kim") == 2
        return of_ledger(*given)

    monkeypatch.setattr(Notices, "discard", kim_is_first)
    with pytest.raises(UsageError, match="waits to be posted"):
        letters.record_discarded(installation, case, TOLD, "wrong text", by="lee")
    assert "letters.record_discarded" not in {
        one.action for one in installation.ledger.timeline(case)
    }
