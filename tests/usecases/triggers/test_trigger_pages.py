"""Pages about triggered incidents: once, soon, not one for each message."""

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
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import close, open_incident, resume, stop
from standfast.usecases.playbooks.library import SHIPPED
from standfast.usecases.triggers import plan_promotion, trigger_pages
from standfast.usecases.triggers.message_intake import SignedTrigger, Trigger, obstacles, receive
from standfast.usecases.triggers.plan_promotion import PlanChanged, carry_out, read_plan
from standfast.usecases.triggers.trigger_pages import due, notification_obstacle, send
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people, furnish, installation_at

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
def installation(tmp_path: Path, clock: Clock, smtp_server: SmtpServer) -> Iterator[Installation]:
    """An installation with dana, lee, kim and an absent directory."""
    with installation_at(furnish(tmp_path, smtp_port=smtp_server.port), clock=clock) as found:
        enrol_people(found)
        yield found


def opened(installation: Installation, user: str, trigger: Trigger = SIEM) -> str:
    return receive(installation, trigger, {"user": user}, message_id=f"msg {user}").incident


def page(installation: Installation) -> list[str]:
    return [send(installation, one, TRIGGERS, "serve") for one in due(installation)]


def told(smtp_server: SmtpServer) -> list[str]:
    return sorted(mail.recipients[0] for mail in smtp_server.delivered)


def test_role_is_paged_once_without_account_names(
    installation: Installation, smtp_server: SmtpServer, clock: Clock
) -> None:
    case = opened(installation, "agent01")
    assert page(installation) == [f"2 people were notified of {case}"]
    assert told(smtp_server) == ["kim@example.com", "lee@example.com"]
    mail = smtp_server.delivered[0].message
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert case in str(mail["subject"])
    assert f"standfast incident status {case}" in text
    assert f"standfast incident carry-out {case}" in text
    assert "only a plan: nothing was done" in text
    assert "agent01" not in smtp_server.delivered[0].raw.decode()
    clock.pass_by(hours=1)
    assert page(installation) == []
    assert installation.ledger.audit.verify().is_whole


def test_plan_is_in_page_and_timeline(installation: Installation, smtp_server: SmtpServer) -> None:
    opened(installation, "break-glass")  # break-glass is a protected account
    page(installation)
    body = smtp_server.delivered[0].message.get_body(("plain",))
    assert body is not None
    assert "targets of the plan: 0. Refused by a rule: 1." in body.get_content()
    assert "At least one step cannot be carried out" in body.get_content()
    (run,) = installation.ledger.runs.all("page")
    assert run.summary["targets"] == 0
    planned = [
        event for event in installation.ledger.timeline() if event.action == "incident.planned"
    ]
    assert [event.detail["digest"] for event in planned] == [run.summary["plan"]]


def test_slow_plan_delays_no_page(
    installation: Installation, smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_pages, "PLAN_SECONDS", 0.0)
    opened(installation, "agent01")
    page(installation)
    body = smtp_server.delivered[0].message.get_body(("plain",))
    assert body is not None
    assert "could not be read yet" in body.get_content()


def test_alert_storm_is_one_page_a_minute(
    installation: Installation, smtp_server: SmtpServer, clock: Clock
) -> None:
    opened(installation, "agent01")
    page(installation)
    cases = [opened(installation, f"agent{number:02}") for number in range(2, 12)]
    assert page(installation) == []
    clock.pass_by(seconds=61)
    page(installation)
    assert len(smtp_server.delivered) == 4
    body = smtp_server.delivered[-1].message.get_body(("plain",))
    assert body is not None
    assert "has opened 10 incidents" in body.get_content()
    assert cases[-1] in body.get_content()


def test_a_page_that_reached_nobody_is_tried_again(
    installation: Installation, smtp_server: SmtpServer, clock: Clock
) -> None:
    for name in ("lee", "kim"):
        smtp_server.answer_recipient(f"{name}@example.com", "550 5.1.1 no such mailbox")
    opened(installation, "agent01")
    assert "0 people were notified" in page(installation)[0]
    assert page(installation) == []
    for name in ("lee", "kim"):
        smtp_server.answer_recipient(f"{name}@example.com", "250 OK")
    clock.pass_by(minutes=6)
    page(installation)
    assert told(smtp_server) == ["kim@example.com", "lee@example.com"]


@pytest.mark.parametrize("is_first", [True, False])
def test_first_host_in_the_ledger_pages(
    installation: Installation,
    smtp_server: SmtpServer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    is_first: bool,
) -> None:
    """The lock of the paging process is local to its machine."""
    opened(installation, "agent01")
    start, start_there = installation.runs.start, installation.ledger.runs.start

    def beside(*given: Any, **more: Any) -> str:
        ours = start(*given, **more) if is_first else ""
        start_there(
            "page", "siem", "serve", "os:test", installation.clock(), origin=Origin(host="host-2")
        )
        return ours or start(*given, **more)

    monkeypatch.setattr(installation.runs, "start", beside)
    said = page(installation)
    assert (said == ["another host sends the page, or has sent it"]) != is_first
    assert told(smtp_server) == (["kim@example.com", "lee@example.com"] if is_first else [])
    monkeypatch.undo()
    assert page(installation) == [], "it leaves the other its time"
    clock.pass_by(minutes=3)
    page(installation)  # and pages, if the other process died before its page
    assert told(smtp_server) == ["kim@example.com", "lee@example.com"]


def test_left_page_hides_no_failure(
    installation: Installation, smtp_server: SmtpServer, clock: Clock
) -> None:
    for name in ("lee", "kim"):
        smtp_server.answer_recipient(f"{name}@example.com", "550 5.1.1 no such mailbox")
    opened(installation, "agent01")
    page(installation)
    clock.pass_by(seconds=1)
    left = installation.ledger.runs.start("page", "siem", "serve", "os:test", installation.clock())
    installation.ledger.runs.finish(left, "page", "done", {}, "os:test", installation.clock())
    with closing(installation.alarm_channels()) as adapters:
        assert (
            notification_obstacle(installation.ledger, adapters, SIEM)
            == "its last page reached nobody"
        )
    clock.pass_by(minutes=2)
    assert page(installation) == []
    clock.pass_by(minutes=4)
    assert "0 people were notified" in page(installation)[0]


def test_fast_clock_delays_no_page(
    installation: Installation, smtp_server: SmtpServer, clock: Clock
) -> None:
    clock.pass_by(days=30)
    opened(installation, "agent01")
    page(installation)
    clock.pass_by(days=-30)
    opened(installation, "agent02")
    page(installation)
    assert len(smtp_server.delivered) == 4


def test_live_trigger_says_so_and_manual_is_silent(
    installation: Installation, smtp_server: SmtpServer
) -> None:
    opened(installation, "agent01", replace(SIEM, acts=True))
    page(installation)
    body = smtp_server.delivered[0].message.get_body(("plain",))
    assert body is not None
    assert "containment starts without an approval" in body.get_content()
    assert "carry-out" not in body.get_content()


def test_joined_stopped_incident_is_paged_once(
    installation: Installation, smtp_server: SmtpServer, clock: Clock
) -> None:
    acts = replace(SIEM, acts=True, key=parse("the same host"))
    case = opened(installation, "agent01", acts)
    page(installation)
    stop(installation, case, by="dana")
    clock.pass_by(minutes=2)
    assert page(installation) == []
    opened(installation, "agent01", acts)  # the same message again
    assert page(installation) == []
    assert opened(installation, "agent02", acts) == case
    assert page(installation) == [f"2 people were notified of alerts that wait in {case}"]
    mail = smtp_server.delivered[-1].message
    body = mail.get_body(("plain",))
    assert body is not None
    assert case in str(mail["subject"])
    assert "siem" in str(mail["subject"])
    assert "Nothing happens to them while" in body.get_content()
    assert f"standfast incident resume {case}" in body.get_content()
    assert "agent02" not in smtp_server.delivered[-1].raw.decode()
    opened(installation, "agent03", acts)
    clock.pass_by(hours=1)
    assert page(installation) == []
    resume(installation, case, by="dana")
    opened(installation, "agent04", acts)
    clock.pass_by(hours=1)
    assert page(installation) == []
    stop(installation, case, by="dana")
    opened(installation, "agent05", acts)
    assert page(installation) == [f"2 people were notified of alerts that wait in {case}"]
    close(installation, case, by="dana")
    clock.pass_by(hours=1)
    assert page(installation) == []


def test_other_trigger_pages_its_own_people(
    installation: Installation, smtp_server: SmtpServer
) -> None:
    case = opened(installation, "agent01", replace(SIEM, acts=True))
    page(installation)
    stop(installation, case, by="dana")
    other = replace(
        SIEM,
        name="edr",
        acts=True,
        page_roles=("operator",),
        inputs={"accounts": parse("agents:{/users/*}")},
    )
    said = {"users": ["agent01", "agent02"]}
    assert receive(installation, other, said, message_id="another", key="another").is_stopped
    (due_now,) = due(installation)
    assert due_now.trigger == "edr"
    send(installation, due_now, {**TRIGGERS, "edr": other}, "serve")
    assert told(smtp_server) == ["dana@example.com", "kim@example.com", "lee@example.com"]


def test_closed_incident_is_not_paged(installation: Installation) -> None:
    case = opened(installation, "agent01")
    installation.ledger.incidents.close(case, "olga", installation.clock())
    assert due(installation) == []


def test_plan_is_promoted_once_with_its_inputs(installation: Installation) -> None:
    plan = opened(installation, "a,b")
    live = carry_out(installation, plan, "dana")
    row = installation.ledger.incidents.get(live.incident)
    assert (row.mode, row.is_signed, row.opened_by) == (Mode.LIVE, True, "dana")
    assert row.inputs == installation.ledger.incidents.get(plan).inputs
    assert not installation.ledger.incidents.get(plan).is_open
    assert carry_out(installation, plan, "dana").incident == live.incident
    with pytest.raises(UsageError, match="Only a plan can be promoted"):
        carry_out(installation, live.incident, "dana")


def test_trigger_obstacles_are_reported_beforehand(installation: Installation) -> None:
    assert obstacles(installation.config, SIEM) == []
    assert (
        "playbook 'nothing'" in obstacles(installation.config, replace(SIEM, scenario="nothing"))[0]
    )
    wrong = replace(SIEM, inputs={"account": parse("x")})
    first, second = obstacles(installation.config, wrong)
    assert "no input account" in first
    assert "needs the input accounts" in second


def test_joined_plan_is_promoted_as_shown(
    installation: Installation,
) -> None:
    by_host = replace(SIEM, key=parse("the same host"))
    plan = opened(installation, "agent01", by_host)
    before = read_plan(installation, plan).digest
    assert opened(installation, "agent02", by_host) == plan
    with pytest.raises(PlanChanged, match="accounts were added"):
        carry_out(installation, plan, "dana")
    with pytest.raises(PlanChanged, match="the plan has changed"):
        carry_out(installation, plan, "dana", as_shown=before)
    assert [row.id for row in installation.ledger.incidents.all()] == [plan]
    now = read_plan(installation, plan)
    assert (now.joined, now.given["accounts"]) == (1, 2)
    live = carry_out(installation, plan, "dana", as_shown=now.digest[:16]).incident
    accounts = installation.ledger.incidents.get(live).inputs["accounts"]
    assert accounts == ["agents:agent01", "agents:agent02"]
    assert not installation.ledger.incidents.get(plan).is_open


def with_its_own_playbook(
    installation: Installation, folder: Path
) -> tuple[Installation, Path, str]:
    """Give an installation its own playbook; return the file and its text."""
    file = folder / "lock.yaml"
    folder.mkdir()
    planned = (SHIPPED / file.name).read_text()
    file.write_text(planned)
    own = PlaybooksConfig(folder=folder)
    return (
        replace(installation, config=installation.config.model_copy(update={"playbooks": own})),
        file,
        planned,
    )


def test_closed_plan_is_promoted_as_shown(installation: Installation, tmp_path: Path) -> None:
    installation, file, planned = with_its_own_playbook(installation, tmp_path / "own")
    plan = opened(installation, "agent01")
    close(installation, plan, by="dana")
    file.write_text(f"{planned}  wipe: {{title: Wipe it, manual: Wipe it.}}\n")
    with pytest.raises(PlanChanged, match="was edited since"):
        carry_out(installation, plan, "dana")
    file.write_text(planned)
    assert carry_out(installation, plan, "dana").incident != plan


def test_playbook_edited_during_promotion_stops_it(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, file, planned = with_its_own_playbook(installation, tmp_path / "own")
    plan = opened(installation, "agent01")

    def open_late(*words: Any, **more: Any) -> Any:
        file.write_text(f"{planned}  wipe: {{title: Wipe it, manual: Wipe it.}}\n")
        return open_incident(*words, **more)

    monkeypatch.setattr(plan_promotion, "open_incident", open_late)
    with pytest.raises(Refused, match="edited"):
        carry_out(installation, plan, "dana")
    assert [row.id for row in installation.ledger.incidents.all()] == [plan]


def test_edited_playbook_needs_a_new_plan(installation: Installation, tmp_path: Path) -> None:
    installation, file, planned = with_its_own_playbook(installation, tmp_path / "own")
    plan = opened(installation, "agent01")
    before = read_plan(installation, plan).digest
    file.write_text(f"{planned}  wipe: {{title: Wipe it, manual: Wipe it.}}\n")
    with pytest.raises(PlanChanged, match="was edited since"):
        carry_out(installation, plan, "dana")
    with pytest.raises(PlanChanged, match="the plan has changed"):
        carry_out(installation, plan, "dana", as_shown=before)
    assert [row.id for row in installation.ledger.incidents.all()] == [plan]
    now = read_plan(installation, plan).digest
    live = carry_out(installation, plan, "dana", as_shown=now).incident
    assert "Wipe it" in installation.ledger.incidents.get(live).playbook
    assert carry_out(installation, plan, "dana", as_shown=now).incident == live, "typed again"
    file.write_text(planned)
    assert carry_out(installation, plan, "dana").incident == live


@pytest.mark.parametrize("moment", ["open_incident", "close"])
def test_message_during_promotion_stays_open(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    by_host = replace(SIEM, key=parse("the same host"))
    plan = opened(installation, "agent01", by_host)

    def open_late(*words: Any, **more: Any) -> Any:
        found = open_incident(*words, **more)
        opened(installation, "agent02", by_host)
        return found

    def close_late(*words: Any, **more: Any) -> None:
        opened(installation, "agent02", by_host)
        close(*words, **more)

    late = {"open_incident": open_late, "close": close_late}
    monkeypatch.setattr(plan_promotion, moment, late[moment])
    live = carry_out(installation, plan, "dana").incident
    monkeypatch.undo()
    assert installation.ledger.incidents.get(live).inputs["accounts"] == ["agents:agent01"]
    assert installation.ledger.incidents.get(plan).is_open
    again = carry_out(
        installation, plan, "dana", as_shown=read_plan(installation, plan).digest
    ).incident
    assert installation.ledger.incidents.get(again).inputs["accounts"] == [
        "agents:agent01",
        "agents:agent02",
    ]
