"""States of obligations: started, due, missed, held, blocked, not owed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import pytest

from standfast.deadlines.applicability import Part, Sector
from standfast.deadlines.contract_clocks import contract
from standfast.deadlines.incident_facts import Fact, FactKind, Facts
from standfast.deadlines.legal_clocks import Clock, ClockState, Reach, clocks
from standfast.deadlines.obligations import Obligation, Unit, read
from standfast.deadlines.working_days import time_zones_of

SHIPPED = read(
    (resources.files("standfast.deadlines") / "obligations.jsonl").read_text().splitlines()
)
EVERYWHERE = frozenset(obligation.jurisdiction for obligation in SHIPPED)
NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)  # a Monday


def at(days: float = 0, hours: float = 0) -> datetime:
    return NOW + timedelta(days=days, hours=hours)


def time_of(name: str, moment: datetime = NOW) -> Fact:
    return Fact(kind=FactKind.TIME, name=name, at=moment, author="ada", recorded_at=moment)


def told(obligation: str, moment: datetime = NOW) -> Fact:
    return Fact(
        kind=FactKind.NOTIFIED, name=obligation, at=moment, reference="receipt 7", author="ada",
        recorded_at=moment,
    )  # fmt: skip


def affected(jurisdiction: str, count: int) -> Fact:
    return Fact(
        kind=FactKind.AFFECTED, name=jurisdiction, count=count, author="ada", recorded_at=NOW
    )


def judged(kind: FactKind, obligation: str, *, is_so: bool) -> Fact:
    return Fact(kind=kind, name=obligation, is_so=is_so, author="ada", recorded_at=NOW)


def delay(name: str, until: datetime | None) -> Fact:
    return Fact(
        kind=FactKind.DELAY, name=name, at=until, reference="letter of 2 March", author="ada",
        recorded_at=NOW,
    )  # fmt: skip


def all_clocks(
    *facts: Fact,
    now: datetime = NOW,
    sectors: frozenset[Sector] = frozenset(Sector),
    parts: frozenset[Part] = frozenset(Part),
    obligations: tuple[Obligation, ...] = SHIPPED,
    jurisdictions: frozenset[str] = EVERYWHERE,
    zone: str = "UTC",
) -> Mapping[str, Clock]:
    reach = Reach(
        jurisdictions=jurisdictions,
        parts=parts,
        sectors=sectors,
        zone=ZoneInfo(zone),
        authority_country="DE",
    )
    found = clocks(obligations, Facts(facts), reach, now)
    return {clock.obligation.id: clock for clock in found}


def test_clocks_wait_for_and_ask_for_facts() -> None:
    found = all_clocks()
    assert {clock.state for clock in found.values()} == {ClockState.NOT_STARTED, ClockState.NOT_LAW}
    for clock in found.values():
        assert bool(clock.questions) == (clock.state is ClockState.NOT_STARTED)
    asked = {question.name for question in found["us-me-residents"].questions}
    assert {"awareness", "scope"} <= asked


def test_processor_of_one_state_sees_own_obligations() -> None:
    found = all_clocks(
        parts=frozenset({Part.PROCESSOR}),
        sectors=frozenset(),
        jurisdictions=frozenset({"EU/EEA", "US-CA"}),
    )
    assert set(found) == {"eu-gdpr-33-2-processor", "us-ca-vendor"}


def test_hard_clock_is_missed_at_strict_end() -> None:
    aware = time_of("awareness")
    clock = all_clocks(aware)["eu-gdpr-33-authority"]
    assert clock.state is ClockState.RUNNING
    assert clock.due is not None
    assert (clock.due.strict, clock.due.lenient) == (at(3), at(3, hours=0.5))
    assert clock.elapsed_share(at(1.5)) == 0.5
    assert all_clocks(aware, now=at(3))["eu-gdpr-33-authority"].state is ClockState.RUNNING
    late = all_clocks(aware, now=at(3) + timedelta(seconds=1))["eu-gdpr-33-authority"]
    assert late.state is ClockState.MISSED


def test_receipt_ends_a_clock_in_time_or_late() -> None:
    aware = time_of("awareness")
    for moment, state in ((at(3), ClockState.MET), (at(3, hours=1), ClockState.LATE)):
        clock = all_clocks(aware, told("eu-gdpr-33-authority", moment), now=at(9))
        assert clock["eu-gdpr-33-authority"].state is state
        assert clock["eu-gdpr-33-authority"].because == "receipt 7"


def test_soft_obligation_is_due_at_its_start() -> None:
    clock = all_clocks(time_of("awareness"))["eu-gdpr-33-2-processor"]
    assert (clock.state, clock.due) == (ClockState.RUNNING, None)
    assert clock.elapsed_share(NOW) is None


def test_a_proposed_law_is_shown_and_never_applied() -> None:
    clock = all_clocks(time_of("awareness"))["eu-gdpr-33-omnibus"]
    assert (clock.state, clock.due, clock.because) == (
        ClockState.NOT_LAW, None, "proposed; not applied",
    )  # fmt: skip


def test_earlier_of_two_starts_counts() -> None:
    clock = all_clocks(time_of("discovery", at(2)), time_of("notification", at(1)))[
        "us-oh-residents"
    ]
    assert (clock.started_at, clock.started_by) == (at(1), "notification")


def test_later_of_two_required_facts_counts() -> None:
    assert all_clocks(time_of("awareness"))["us-me-residents"].state is ClockState.NOT_STARTED
    clock = all_clocks(time_of("awareness"), time_of("scope", at(4)))["us-me-residents"]
    assert (clock.started_at, clock.started_by) == (at(4), "scope")


def test_year_end_obligation_follows_its_facts_year() -> None:
    for discovered in (NOW, datetime(2026, 12, 30, 12, tzinfo=UTC)):
        clock = all_clocks(time_of("discovery", discovered), now=discovered)
        due = clock["us-hipaa-408-hhs-annual"].due
        assert due is not None
        # The 60th day of 2027 is the first of March, and ends at midnight.
        assert due.strict == datetime(2027, 3, 2, tzinfo=UTC)


def test_phase_counts_from_the_previous_receipt() -> None:
    clock = all_clocks(time_of("awareness"), told("eu-nis2-23-notification", at(2)))
    assert clock["eu-nis2-23-final"].started_at == at(2)
    assert clock["eu-nis2-23-final"].started_by == "eu-nis2-23-notification"


def test_one_report_meets_both_limits() -> None:
    facts = (time_of("awareness"), time_of("classification", at(hours=2)))
    both = ("eu-dora-19-initial-classification", "eu-dora-19-initial-backstop")
    found = all_clocks(*facts)
    assert [found[name].due.strict for name in both if found[name].due] == [  # type: ignore[union-attr]
        at(hours=6), at(hours=24),
    ]  # fmt: skip
    found = all_clocks(*facts, told(both[0], at(hours=5)), now=at(2))
    assert [found[name].state for name in both] == [ClockState.MET, ClockState.MET]
    twice = (told(both[0], at(hours=5)), told(both[1], at(hours=30)))
    found = all_clocks(*facts, *twice, now=at(2))
    assert [found[name].state for name in both] == [ClockState.MET, ClockState.MET], "the first"


def test_later_classification_replaces_an_outer_limit() -> None:
    facts = (time_of("awareness"), time_of("classification", at(hours=30)))
    found = all_clocks(*facts, now=at(hours=31))
    assert found["eu-dora-19-initial-backstop"].state is ClockState.NOT_OWED
    assert found["eu-dora-19-initial-classification"].state is ClockState.RUNNING


def test_too_few_people_end_an_obligation() -> None:
    name = "us-hipaa-406-media"
    assert all_clocks(time_of("discovery"))[name].state is ClockState.RUNNING
    clock = all_clocks(time_of("discovery"), affected("US federal", 500))[name]
    assert clock.state is ClockState.NOT_OWED
    assert "ada stated 500 affected people" in clock.because
    assert "more than 500 residents of one State" in clock.because
    clock = all_clocks(time_of("discovery"), affected("US federal", 501))[name]
    assert clock.state is ClockState.RUNNING


def test_judgement_can_add_an_obligation() -> None:
    name, few = "jp-appi-preliminary", affected("Japan", 3)
    aware = time_of("awareness")
    assert all_clocks(aware, few)[name].state is ClockState.RUNNING  # not judged yet: owed
    no = judged(FactKind.THRESHOLD, name, is_so=False)
    assert all_clocks(aware, few, no)[name].state is ClockState.NOT_OWED
    yes = judged(FactKind.THRESHOLD, name, is_so=True)
    assert all_clocks(aware, few, no, yes)[name].state is ClockState.RUNNING


def test_risk_answer_no_ends_an_obligation() -> None:
    name = "eu-gdpr-34-individuals"
    aware = time_of("awareness")
    questions = all_clocks(aware)[name].questions
    assert [question.kind for question in questions] == [FactKind.ANSWER]
    clock = all_clocks(aware, judged(FactKind.ANSWER, name, is_so=False))[name]
    assert clock.state is ClockState.NOT_OWED
    assert "ada judged" in clock.because


def test_risk_answer_yes_restores_an_obligation() -> None:
    name, aware = "eu-gdpr-34-individuals", time_of("awareness")
    yes, no = (judged(FactKind.ANSWER, name, is_so=is_so) for is_so in (True, False))
    for answers in ((yes,), (no, yes)):
        clock = all_clocks(aware, *answers)[name]
        assert (clock.state, clock.questions) == (ClockState.RUNNING, ())


def test_only_deciding_questions_are_asked() -> None:
    name, aware = "jp-appi-preliminary", time_of("awareness")

    def asked(*facts: Fact, of: str = name) -> list[FactKind]:
        return [question.kind for question in all_clocks(aware, *facts)[of].questions]

    few, many = affected("Japan", 3), affected("Japan", 2000)
    judgement = judged(FactKind.THRESHOLD, name, is_so=False)
    assert asked() == [FactKind.AFFECTED, FactKind.THRESHOLD, FactKind.ANSWER]
    assert asked(few) == [FactKind.THRESHOLD, FactKind.ANSWER]
    assert asked(many) == [FactKind.ANSWER], "the number alone brings the obligation"
    assert asked(few, judgement) == [], "it is not owed"
    assert asked(judgement) == [FactKind.AFFECTED, FactKind.ANSWER]
    for is_so in (True, False):
        answer = judged(FactKind.ANSWER, "eu-gdpr-34-individuals", is_so=is_so)
        assert asked(answer, of="eu-gdpr-34-individuals") == []
    assert asked(of="eu-gdpr-33-2-processor") == [], "its law knows no test"


def test_changed_fact_moves_the_date_visibly() -> None:
    later = time_of("awareness", at(hours=5))
    clock = all_clocks(time_of("awareness"), later)["eu-gdpr-33-authority"]
    assert clock.due is not None
    assert clock.due.strict == at(3, hours=5)
    assert [(was.due.strict, was.replaced_by) for was in clock.was] == [(at(3), later)]


def test_law_enforcement_delay_ends_with_its_letter() -> None:
    name, found_out = "us-fl-residents", time_of("determination")
    held = all_clocks(found_out, delay(name, at(40)), now=at(31))[name]
    assert held.state is ClockState.HELD
    assert held.because == "letter of 2 March"
    assert held.due is not None
    assert held.due.strict == at(40)
    assert all_clocks(found_out, delay(name, at(40)), now=at(41))[name].state is ClockState.MISSED
    short, clock = all_clocks(found_out, delay(name, at(2)))[name], all_clocks(found_out)[name]
    assert short.due == clock.due, "a letter shortens nothing"
    assert all_clocks(found_out, delay("US-FL", None), now=at(99))[name].state is ClockState.HELD
    assert all_clocks(found_out, delay("US-GA", None), now=at(99))[name].state is ClockState.MISSED


def test_a_delay_without_its_document_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the document"):
        Fact(kind=FactKind.DELAY, name="US-FL", author="ada", recorded_at=NOW)


def test_customers_are_not_told_while_the_hold_runs() -> None:
    name = "us-fcc-2011-2007-customers"
    waiting = all_clocks()[name]
    assert [block.until for block in waiting.blocks] == [None]
    agencies = told("us-fcc-2011-2007-authority")
    clock = all_clocks(agencies, now=at(3))[name]
    assert clock.due is not None
    # Seven full business days after Monday 2 March end with Wednesday 11 March, in Washington.
    ends = datetime(2026, 3, 12, tzinfo=ZoneInfo("America/New_York"))
    assert [block.until for block in clock.blocks] == [ends]
    assert all_clocks(agencies, now=at(12))[name].blocks == ()
    early = all_clocks(agencies, told(name, at(3)), now=at(12))[name]
    assert early.state is ClockState.EARLY


def test_people_wait_for_the_first_recipient() -> None:
    blocked = all_clocks(time_of("investigation_concluded"))["us-md-residents"]
    assert [block.reason for block in blocked.blocks] == [
        f"Maryland AG must be notified first ({blocked_by('us-md-ag').citation})"
    ]
    free = all_clocks(time_of("investigation_concluded"), told("us-md-ag"))["us-md-residents"]
    assert free.blocks == ()


def test_unnecessary_notice_blocks_nobody() -> None:
    concluded, none = time_of("investigation_concluded"), affected("US-MD", 0)
    assert all_clocks(concluded, none)["us-md-ag"].state is ClockState.NOT_OWED
    assert all_clocks(concluded, none)["us-md-residents"].blocks == ()


def blocked_by(name: str) -> Obligation:
    return next(obligation for obligation in SHIPPED if obligation.id == name)


def test_obligation_beside_a_notice_is_due_with_it() -> None:
    clock = all_clocks(told("us-ct-residents", at(2)))["us-ct-ag"]
    assert clock.due is not None
    assert clock.due.strict == at(2)


def test_only_own_place_starts_a_dependent_obligation() -> None:
    for other in ("us-me-residents", "eu-gdpr-34-individuals", "eu-gdpr-33-authority"):
        clock = all_clocks(told(other))["us-ct-ag"]
        assert (clock.state, clock.due) == (ClockState.NOT_STARTED, None)
    beside = all_clocks(told("us-me-cra"))["us-me-ag"]
    assert beside.state is ClockState.NOT_STARTED, "that one does not go to the people either"


def test_a_clients_agreement_runs_beside_the_law() -> None:
    acme = contract("acme", client="Acme Bank", section="12.3", value=24, unit=Unit.HOURS)
    found = all_clocks(
        time_of("awareness"),
        obligations=(*SHIPPED, acme),
        jurisdictions=frozenset({"EU/EEA", acme.jurisdiction}),
        parts=frozenset({Part.PROCESSOR}),
        sectors=frozenset(),
    )
    assert set(found) == {"eu-gdpr-33-2-processor", "contract-acme"}
    assert found["contract-acme"].due is not None
    assert found["contract-acme"].due.strict == at(1)


def test_agreement_with_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match="start 'whim'"):
        contract("x", client="X", section="1", value=1, unit=Unit.HOURS, start="whim")


def test_day_ends_in_the_earlier_zone() -> None:
    california, manila = ZoneInfo("America/Los_Angeles"), ZoneInfo("Asia/Manila")
    noon = datetime(2026, 1, 1, 12, tzinfo=california)  # in Manila it is the second already
    night = datetime(2026, 1, 1, 0, 30, tzinfo=california)  # and here still the same day
    for moment, strict in (
        (noon, datetime(2026, 2, 1, tzinfo=california)),
        (night, datetime(2026, 2, 1, tzinfo=manila)),
    ):
        clock = all_clocks(time_of("discovery", moment), zone="Asia/Manila")["us-ca-residents"]
        assert clock.due is not None
        assert clock.due.strict == strict


def test_hold_ends_in_the_last_zone() -> None:
    told_at = datetime(2026, 1, 5, 12, tzinfo=ZoneInfo("America/New_York"))
    found = all_clocks(told("us-fcc-2011-2007-authority", told_at), zone="Asia/Manila")
    due = found["us-fcc-2011-2007-customers"].due
    assert due is not None
    # It was the sixth in Manila, and of seven business days the last one there is the fifteenth.
    assert due.strict == datetime(2026, 1, 16, tzinfo=ZoneInfo("Asia/Manila"))


def test_each_place_has_its_own_days() -> None:
    without = {name for name in EVERYWHERE if not time_zones_of(name)}
    assert without == {"contract (card scheme)"}
    assert {str(zone) for zone in time_zones_of("EU/EEA", "GR")} == {"Europe/Helsinki"}


def test_delay_stops_only_clocks_that_permit_it() -> None:
    facts = [time_of(name) for name in ("awareness", "discovery", "materiality", "determination")]
    asked = [delay("US federal", None), delay("EU/EEA", None), delay("US-CA", None)]
    found = all_clocks(*facts, *asked, now=at(hours=1))
    for name in ("us-hipaa-404-individuals", "us-ca-residents"):
        assert found[name].state is ClockState.HELD
    for name in ("eu-gdpr-33-authority", "us-sec-8k-105", "us-bank-36h"):
        assert found[name].state is ClockState.RUNNING
    # A statement that names the obligation itself also names the document as its reason.
    found = all_clocks(*facts, delay("us-sec-8k-105", at(30)), now=at(9))
    assert found["us-sec-8k-105"].state is ClockState.HELD


def test_delay_of_a_place_extends_its_hold() -> None:
    agencies = told("us-fcc-2011-2007-authority")
    name, longer = "us-fcc-2011-2007-customers", delay("US federal", at(40))
    clock = all_clocks(agencies, longer)[name]
    assert clock.due is not None
    assert clock.due.strict == at(40)
    (block,) = all_clocks(agencies, longer, now=at(39))[name].blocks
    assert block.until == at(40)
    assert not all_clocks(agencies, longer, now=at(41))[name].blocks
    (block,) = all_clocks(agencies, delay("US federal", None), now=at(99))[name].blocks
    assert "until law enforcement withdraws its request" in block.reason


def test_affected_place_counts_without_configuration() -> None:
    facts = [time_of("discovery"), affected("US-NY", 12), affected("US-WA", 0)]
    found = all_clocks(*facts, jurisdictions=frozenset({"EU/EEA"}))
    assert found["us-ny-residents"].state is ClockState.RUNNING
    assert not [name for name in found if name.startswith("us-wa")]
    corrected = all_clocks(
        affected("US-NY", 5), affected("US-NY", 0), jurisdictions=frozenset({"EU/EEA"})
    )
    assert not [name for name in corrected if name.startswith("us-ny")]


def test_mistaken_receipt_ends_nothing() -> None:
    mistaken = Fact(
        kind=FactKind.NOTIFIED, name="us-md-ag", is_so=False, reference="another incident",
        author="ada", recorded_at=at(1),
    )  # fmt: skip
    facts = [time_of("discovery"), told("us-md-ag")]
    assert all_clocks(*facts)["us-md-ag"].state is ClockState.MET
    found = all_clocks(*facts, mistaken, now=at(1))
    assert found["us-md-ag"].receipt is None
    assert "must be notified first" in found["us-md-residents"].blocks[0].reason
    with pytest.raises(ValueError, match="lacks its value"):
        Fact(kind=FactKind.NOTIFIED, name="us-md-ag", author="ada", recorded_at=NOW)


def test_delay_can_be_extended_or_ended() -> None:
    def asked(day: int, until: datetime | None, *, is_so: bool | None = None) -> Fact:
        return Fact(
            kind=FactKind.DELAY, name="us-fl-residents", at=until, is_so=is_so,
            reference=f"letter {day}", author="ada", recorded_at=at(day),
        )  # fmt: skip

    def strict(*delays: Fact) -> datetime | None:
        found = all_clocks(time_of("determination"), *delays, now=at(70))["us-fl-residents"]
        return None if found.due is None else found.due.strict

    first = strict()
    assert first is not None
    assert first < at(35)
    assert strict(asked(3, at(40)), asked(35, at(60))) == at(60)
    assert strict(asked(3, at(60)), asked(35, at(40))) == at(40)
    assert strict(asked(3, None), asked(50, at(49))) == at(49)
    assert strict(asked(3, at(40)), asked(41, at(60))) == at(40), "the second came too late"
    assert strict(asked(3, at(40)), asked(4, None, is_so=False)) == first
    assert strict(asked(3, None), asked(4, None, is_so=False), asked(50, at(60))) == first


def test_late_delay_excuses_nothing_in_strict_reading() -> None:
    late = Fact(
        kind=FactKind.DELAY, name="us-ca-residents", at=at(50), reference="letter",
        author="ada", recorded_at=at(40),
    )  # fmt: skip
    facts = [time_of("discovery"), late]
    assert all_clocks(*facts, now=at(45))["us-ca-residents"].state is ClockState.HELD
    clock = all_clocks(*facts, told("us-ca-residents", at(49)), now=at(49))["us-ca-residents"]
    assert clock.due is not None
    assert (clock.state, clock.due.lenient) == (ClockState.LATE, at(50))
    assert all_clocks(*facts, now=at(51))["us-ca-residents"].state is ClockState.MISSED
