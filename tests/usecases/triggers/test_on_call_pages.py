"""Who is on call is told of what a trigger opened: once, soon, and never by a mail a message."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.config.schema import PlaybooksConfig
from standfast.errors import Refused, UsageError
from standfast.ledger.runs.run_record import Origin
from standfast.records import Mode
from standfast.triggers.input_mapping import parse
from standfast.usecases.core.installation import Place
from standfast.usecases.incidents.lifecycle import close, open_incident, resume, stop
from standfast.usecases.playbooks.library import SHIPPED
from standfast.usecases.triggers import on_call_pages, plan_promotion
from standfast.usecases.triggers.message_intake import SignedTrigger, Trigger, obstacles, receive
from standfast.usecases.triggers.on_call_pages import due, send, why_untold
from standfast.usecases.triggers.plan_promotion import ShowAnew, carry_out, shown
from tests.servers.smtp import SmtpServer
from tests.usecases.places import enrol_people, furnish, place_at

SIEM = SignedTrigger(
    name="siem",
    scenario="lock",
    inputs={"accounts": parse("agents:{/user}")},
    page_roles=("duty-manager",),
    secrets=(),
)
TRIGGERS: dict[str, Trigger] = {"siem": SIEM}


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path, clock: Clock, smtp_server: SmtpServer) -> Iterator[Place]:
    """A place with dana (operator), lee and kim (duty managers), and a directory that is away."""
    with place_at(furnish(tmp_path, smtp_port=smtp_server.port), clock=clock) as found:
        enrol_people(found)
        yield found


def opened(place: Place, user: str, trigger: Trigger = SIEM) -> str:
    return receive(place, trigger, {"user": user}, message_id=f"msg {user}").incident


def page(place: Place) -> list[str]:
    return [send(place, one, TRIGGERS, "serve") for one in due(place)]


def told(smtp_server: SmtpServer) -> list[str]:
    return sorted(mail.recipients[0] for mail in smtp_server.delivered)


def test_those_with_the_role_are_told_once_and_no_account_is_named(
    place: Place, smtp_server: SmtpServer, clock: Clock
) -> None:
    case = opened(place, "agent01")
    assert page(place) == [f"2 people were told of {case}"]
    assert told(smtp_server) == ["kim@example.com", "lee@example.com"]
    mail = smtp_server.delivered[0].message
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert case in str(mail["subject"])
    assert f"standfast incident status {case}" in text
    assert f"standfast incident carry-out {case}" in text
    assert "It is a plan: nothing was done" in text
    assert "agent01" not in smtp_server.delivered[0].raw.decode()
    clock.pass_by(hours=1)
    assert page(place) == []
    assert place.ledger.audit.verify().is_whole


def test_the_plan_is_in_the_page_and_in_the_timeline(place: Place, smtp_server: SmtpServer) -> None:
    opened(place, "break-glass")  # protected
    page(place)
    body = smtp_server.delivered[0].message.get_body(("plain",))
    assert body is not None
    assert "would reach: 0. Refused by a rule: 1." in body.get_content()
    assert "At least one step cannot be carried out" in body.get_content()
    (run,) = place.ledger.runs.all("page")
    assert run.summary["targets"] == 0
    planned = [event for event in place.ledger.timeline() if event.action == "incident.planned"]
    assert [event.detail["digest"] for event in planned] == [run.summary["plan"]]


def test_a_plan_that_takes_too_long_holds_no_page_up(
    place: Place, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_call_pages, "_PLAN_SECONDS", 0.0)
    opened(place, "agent01")
    page(place)
    body = smtp_server.delivered[0].message.get_body(("plain",))
    assert body is not None
    assert "could not be read yet" in body.get_content()


def test_a_storm_is_one_message_a_minute_about_all_of_them(
    place: Place, smtp_server: SmtpServer, clock: Clock
) -> None:
    opened(place, "agent01")
    page(place)
    cases = [opened(place, f"agent{number:02}") for number in range(2, 12)]
    assert page(place) == []
    clock.pass_by(seconds=61)
    page(place)
    assert len(smtp_server.delivered) == 4
    body = smtp_server.delivered[-1].message.get_body(("plain",))
    assert body is not None
    assert "It opened 10 incidents meanwhile" in body.get_content()
    assert cases[-1] in body.get_content()


def test_a_page_that_reached_nobody_is_tried_again(
    place: Place, smtp_server: SmtpServer, clock: Clock
) -> None:
    for name in ("lee", "kim"):
        smtp_server.answer_recipient(f"{name}@example.com", "550 5.1.1 no such mailbox")
    opened(place, "agent01")
    assert "0 people were told" in page(place)[0]
    assert page(place) == []
    for name in ("lee", "kim"):
        smtp_server.answer_recipient(f"{name}@example.com", "250 OK")
    clock.pass_by(minutes=6)
    page(place)
    assert told(smtp_server) == ["kim@example.com", "lee@example.com"]


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_hosts_that_see_an_incident_at_once_the_first_in_the_ledger_tells(
    place: Place,
    smtp_server: SmtpServer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    is_first: bool,
) -> None:
    """The lock that a teller holds lies on its own machine."""
    opened(place, "agent01")
    start, start_there = place.runs.start, place.ledger.runs.start

    def beside(*given: Any, **more: Any) -> str:
        ours = start(*given, **more) if is_first else ""
        start_there("page", "siem", "serve", "os:test", place.clock(), origin=Origin(host="host-2"))
        return ours or start(*given, **more)

    monkeypatch.setattr(place.runs, "start", beside)
    said = page(place)
    assert (said == ["another host tells people, or has"]) != is_first
    assert told(smtp_server) == (["kim@example.com", "lee@example.com"] if is_first else [])
    monkeypatch.undo()
    assert page(place) == [], "it leaves the other its time"
    clock.pass_by(minutes=3)
    page(place)  # and tells after all, where that one died over it
    assert told(smtp_server) == ["kim@example.com", "lee@example.com"]


def test_that_a_page_was_left_to_another_host_hides_no_failure(
    place: Place, smtp_server: SmtpServer, clock: Clock
) -> None:
    for name in ("lee", "kim"):
        smtp_server.answer_recipient(f"{name}@example.com", "550 5.1.1 no such mailbox")
    opened(place, "agent01")
    page(place)
    clock.pass_by(seconds=1)
    left = place.ledger.runs.start("page", "siem", "serve", "os:test", place.clock())
    place.ledger.runs.finish(left, "page", "done", {}, "os:test", place.clock())
    with closing(place.teller()) as outside:
        assert why_untold(place.ledger, outside, SIEM) == "its last page reached nobody"
    clock.pass_by(minutes=2)
    assert page(place) == []
    clock.pass_by(minutes=4)
    assert "0 people were told" in page(place)[0]


def test_a_clock_that_stood_ahead_keeps_no_page_back(
    place: Place, smtp_server: SmtpServer, clock: Clock
) -> None:
    clock.pass_by(days=30)
    opened(place, "agent01")
    page(place)
    clock.pass_by(days=-30)
    opened(place, "agent02")
    page(place)
    assert len(smtp_server.delivered) == 4


def test_what_acts_by_itself_says_so_and_what_a_person_opened_pages_nobody(
    place: Place, smtp_server: SmtpServer
) -> None:
    opened(place, "agent01", replace(SIEM, acts=True))
    page(place)
    body = smtp_server.delivered[0].message.get_body(("plain",))
    assert body is not None
    assert "containment has begun" in body.get_content()
    assert "carry-out" not in body.get_content()


def test_what_joins_a_stopped_incident_is_told_once_a_stop(
    place: Place, smtp_server: SmtpServer, clock: Clock
) -> None:
    acts = replace(SIEM, acts=True, key=parse("the same host"))
    case = opened(place, "agent01", acts)
    page(place)
    stop(place, case, by="dana")
    clock.pass_by(minutes=2)
    assert page(place) == []
    opened(place, "agent01", acts)  # the very message again
    assert page(place) == []
    assert opened(place, "agent02", acts) == case
    assert page(place) == [f"2 people were told of what waits in {case}"]
    mail = smtp_server.delivered[-1].message
    body = mail.get_body(("plain",))
    assert body is not None
    assert str(mail["subject"]) == f"Incident {case} is stopped, and siem brought more to it"
    assert "Nothing is done about that" in body.get_content()
    assert f"standfast incident resume {case}" in body.get_content()
    assert "agent02" not in smtp_server.delivered[-1].raw.decode()
    opened(place, "agent03", acts)
    clock.pass_by(hours=1)
    assert page(place) == []
    resume(place, case, by="dana")
    opened(place, "agent04", acts)
    clock.pass_by(hours=1)
    assert page(place) == []
    stop(place, case, by="dana")
    opened(place, "agent05", acts)
    assert page(place) == [f"2 people were told of what waits in {case}"]
    close(place, case, by="dana")
    clock.pass_by(hours=1)
    assert page(place) == []


def test_another_trigger_that_joins_a_stopped_incident_tells_its_own_people(
    place: Place, smtp_server: SmtpServer
) -> None:
    case = opened(place, "agent01", replace(SIEM, acts=True))
    page(place)
    stop(place, case, by="dana")
    other = replace(
        SIEM,
        name="edr",
        acts=True,
        page_roles=("operator",),
        inputs={"accounts": parse("agents:{/users/*}")},
    )
    said = {"users": ["agent01", "agent02"]}
    assert receive(place, other, said, message_id="another", key="another").is_stopped
    (due_now,) = due(place)
    assert due_now.trigger == "edr"
    send(place, due_now, {**TRIGGERS, "edr": other}, "serve")
    assert told(smtp_server) == ["dana@example.com", "kim@example.com", "lee@example.com"]


def test_a_closed_incident_is_no_news(place: Place) -> None:
    case = opened(place, "agent01")
    place.ledger.incidents.close(case, "olga", place.clock())
    assert due(place) == []


def test_a_plan_is_carried_out_once_with_the_same_inputs(place: Place) -> None:
    plan = opened(place, "a,b")
    live = carry_out(place, plan, "dana")
    row = place.ledger.incidents.get(live.incident)
    assert (row.mode, row.is_signed, row.opened_by) == (Mode.LIVE, True, "dana")
    assert row.inputs == place.ledger.incidents.get(plan).inputs
    assert not place.ledger.incidents.get(plan).is_open
    assert carry_out(place, plan, "dana").incident == live.incident
    with pytest.raises(UsageError, match="only a plan is carried out"):
        carry_out(place, live.incident, "dana")


def test_what_keeps_a_trigger_from_opening_is_said_beforehand(place: Place) -> None:
    assert obstacles(place.config, SIEM) == []
    assert "no playbook" in obstacles(place.config, replace(SIEM, scenario="nothing"))[0]
    wrong = replace(SIEM, inputs={"account": parse("x")})
    first, second = obstacles(place.config, wrong)
    assert "no input account" in first
    assert "needs the input accounts" in second


def test_a_plan_that_was_joined_since_is_carried_out_only_as_it_is_now(place: Place) -> None:
    by_host = replace(SIEM, key=parse("the same host"))
    plan = opened(place, "agent01", by_host)
    before = shown(place, plan).digest
    assert opened(place, "agent02", by_host) == plan
    with pytest.raises(ShowAnew, match="added to since"):
        carry_out(place, plan, "dana")
    with pytest.raises(ShowAnew, match="not the plan that was shown"):
        carry_out(place, plan, "dana", as_shown=before)
    assert [row.id for row in place.ledger.incidents.all()] == [plan]
    now = shown(place, plan)
    assert (now.joined, now.given["accounts"]) == (1, 2)
    live = carry_out(place, plan, "dana", as_shown=now.digest[:16]).incident
    accounts = place.ledger.incidents.get(live).inputs["accounts"]
    assert accounts == ["agents:agent01", "agents:agent02"]
    assert not place.ledger.incidents.get(plan).is_open


def with_its_own_playbook(place: Place, folder: Path) -> tuple[Place, Path, str]:
    """The place, its file, and what stands in it."""
    file = folder / "lock.yaml"
    folder.mkdir()
    planned = (SHIPPED / file.name).read_text()
    file.write_text(planned)
    own = PlaybooksConfig(folder=folder)
    return replace(place, config=place.config.replaced(playbooks=own)), file, planned


def test_a_plan_that_was_closed_is_carried_out_only_as_it_is_now_as_well(
    place: Place, tmp_path: Path
) -> None:
    place, file, planned = with_its_own_playbook(place, tmp_path / "own")
    plan = opened(place, "agent01")
    close(place, plan, by="dana")
    file.write_text(f"{planned}  wipe: {{title: Wipe it, manual: Wipe it.}}\n")
    with pytest.raises(ShowAnew, match="was edited since"):
        carry_out(place, plan, "dana")
    file.write_text(planned)
    assert carry_out(place, plan, "dana").incident != plan


def test_a_playbook_that_is_edited_while_its_plan_is_carried_out_is_not_carried_out(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, file, planned = with_its_own_playbook(place, tmp_path / "own")
    plan = opened(place, "agent01")

    def open_late(*words: Any, **more: Any) -> Any:
        file.write_text(f"{planned}  wipe: {{title: Wipe it, manual: Wipe it.}}\n")
        return open_incident(*words, **more)

    monkeypatch.setattr(plan_promotion, "open_incident", open_late)
    with pytest.raises(Refused, match="edited at this moment"):
        carry_out(place, plan, "dana")
    assert [row.id for row in place.ledger.incidents.all()] == [plan]


def test_a_plan_whose_playbook_was_edited_since_is_carried_out_only_as_it_is_now(
    place: Place, tmp_path: Path
) -> None:
    place, file, planned = with_its_own_playbook(place, tmp_path / "own")
    plan = opened(place, "agent01")
    before = shown(place, plan).digest
    file.write_text(f"{planned}  wipe: {{title: Wipe it, manual: Wipe it.}}\n")
    with pytest.raises(ShowAnew, match="was edited since"):
        carry_out(place, plan, "dana")
    with pytest.raises(ShowAnew, match="not the plan that was shown"):
        carry_out(place, plan, "dana", as_shown=before)
    assert [row.id for row in place.ledger.incidents.all()] == [plan]
    now = shown(place, plan).digest
    live = carry_out(place, plan, "dana", as_shown=now).incident
    assert "Wipe it" in place.ledger.incidents.get(live).playbook
    assert carry_out(place, plan, "dana", as_shown=now).incident == live, "typed again"
    file.write_text(planned)
    assert carry_out(place, plan, "dana").incident == live


@pytest.mark.parametrize("moment", ["open_incident", "close"])
def test_what_joins_a_plan_while_it_is_carried_out_stays_open_in_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    by_host = replace(SIEM, key=parse("the same host"))
    plan = opened(place, "agent01", by_host)

    def open_late(*words: Any, **more: Any) -> Any:
        found = open_incident(*words, **more)
        opened(place, "agent02", by_host)
        return found

    def close_late(*words: Any, **more: Any) -> None:
        opened(place, "agent02", by_host)
        close(*words, **more)

    late = {"open_incident": open_late, "close": close_late}
    monkeypatch.setattr(plan_promotion, moment, late[moment])
    live = carry_out(place, plan, "dana").incident
    monkeypatch.undo()
    assert place.ledger.incidents.get(live).inputs["accounts"] == ["agents:agent01"]
    assert place.ledger.incidents.get(plan).is_open
    again = carry_out(place, plan, "dana", as_shown=shown(place, plan).digest).incident
    assert place.ledger.incidents.get(again).inputs["accounts"] == [
        "agents:agent01",
        "agents:agent02",
    ]
