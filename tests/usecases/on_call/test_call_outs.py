"""Call-outs: pages one after another until somebody acknowledges."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.errors import ApprovalRefused
from standfast.ledger.runs.call_outs import CallOut, CallOuts, CallOutState
from standfast.records import EffectState
from standfast.triggers.input_mapping import parse
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.check_results import CheckInputs
from standfast.usecases.health.on_call_checks import CHECKS
from standfast.usecases.incidents.lifecycle import close, stop
from standfast.usecases.on_call.call_outs import acknowledge, attend
from standfast.usecases.triggers.message_intake import SignedTrigger, Trigger, receive
from tests.servers.over_http import Answering, listening
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people, furnish, installation_at

SIEM = SignedTrigger(
    name="siem", scenario="lock", inputs={"accounts": parse("agents:{/user}")}, secrets=()
)
TRIGGERS: dict[str, Trigger] = {"siem": SIEM}
PAGER = """
[senders.{name}]
kind = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
sender_address = "{name}@example.com"
"""
APPRISE = """
[senders.push]
kind = "apprise"
url = "file:push-address"
"""
ROTA = """
[on_call]
fallback = ["person:dana"]
escalate_after_minutes = 10
rounds = 2

[on_call.people]
lee.pagers = [{ sender = "push" }, { sender = "phone", after_minutes = 5 }]
kim.pagers = [{ sender = "push" }]

[[on_call.shifts]]
people = ["lee"]
start = "08:00"
end = "20:00"

[[on_call.shifts]]
people = ["kim"]
"""
MORNING = datetime(2030, 3, 4, 9, tzinfo=UTC)  # lee is on duty, then kim
IN_ORDER = ["lee by push", "lee by phone", "kim by push", "dana by mail"]


@dataclass(kw_only=True)
class Centre:
    """An installation on call, its clock and its mailbox."""

    config_file: Path
    smtp: SmtpServer
    now: datetime = MORNING
    installation: Installation = field(init=False)

    def opened(self, user: str, trigger: Trigger = SIEM) -> str:
        message = f"msg {user}"
        return receive(self.installation, trigger, {"user": user}, message_id=message).incident

    def attend(self, minutes: float = 0) -> None:
        self.now += timedelta(minutes=minutes)
        for _ in attend(self.installation, TRIGGERS):
            pass

    def pass_time(self, minutes: int, step: int = 1) -> None:
        for _ in range(0, minutes, step):
            self.attend(step)

    def acknowledge(self, incident: str, by: str | None = "lee") -> int:
        return acknowledge(self.installation, TRIGGERS, incident, by).ended

    @property
    def paged(self) -> list[str]:
        """The pages in order, as PERSON by SENDER."""
        return [
            f"{mail.recipients[0].partition('@')[0]} by {sender}"
            for mail in self.smtp.delivered
            if (sender := mail.sender.partition("@")[0].replace("security", "mail"))
        ]

    def newest(self, subject: str = "trigger.siem") -> CallOut:
        found = self.installation.ledger.call_outs.newest(subject)
        assert found is not None
        return found


@pytest.fixture
def centre(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Centre]:
    port = smtp_server.port
    file = furnish(tmp_path, smtp_port=port)
    pagers = "".join(PAGER.format(name=name, port=port) for name in ("push", "phone"))
    file.write_text(file.read_text() + pagers + ROTA)
    centre = Centre(config_file=file, smtp=smtp_server)
    with installation_at(file, clock=lambda: centre.now) as installation:
        enrol_people(installation)
        centre.installation = installation
        yield centre


def configured(centre: Centre, **on_call: Any) -> None:
    """Use other settings of `on_call`."""
    config = centre.installation.config
    changed = config.on_call.model_copy(update=on_call)
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"on_call": changed})
    )


def test_next_pager_then_next_person_then_fallback(centre: Centre) -> None:
    centre.opened("agent01")
    centre.attend()
    assert centre.paged == IN_ORDER[:1]
    centre.pass_time(4)
    assert centre.paged == IN_ORDER[:1]
    centre.pass_time(1)
    assert centre.paged == IN_ORDER[:2]
    centre.pass_time(9)
    assert centre.paged == IN_ORDER[:2]
    centre.pass_time(1)
    assert centre.paged == IN_ORDER[:3]
    centre.pass_time(10)
    assert centre.paged == IN_ORDER
    assert centre.installation.ledger.audit.verify().is_whole


def test_page_names_the_incident_and_no_account(centre: Centre) -> None:
    case = centre.opened("agent01")
    centre.attend()
    mail = centre.smtp.delivered[0].message
    body = mail.get_body(("plain",))
    assert body is not None
    assert case in str(mail["subject"])
    assert f"standfast incident acknowledge {case} --as lee" in body.get_content()
    assert "agent01" not in centre.smtp.delivered[0].raw.decode()


def test_everybody_is_paged_once_in_each_round(centre: Centre) -> None:
    centre.opened("agent01")
    centre.pass_time(120, step=5)
    assert centre.paged == IN_ORDER * 2
    assert centre.newest().state is CallOutState.UNANSWERED


def test_check_names_an_unanswered_call_out(centre: Centre) -> None:
    case = centre.opened("agent01")
    assert not warned(centre, case)
    centre.pass_time(120, step=5)
    assert warned(centre, case)
    centre.now += timedelta(days=8)
    assert not warned(centre, case)


def warned(centre: Centre, case: str) -> bool:
    """Return whether the check warns of the call-out about an incident."""
    installation = centre.installation
    with closing(installation.reading_adapters()) as adapters:
        inputs = CheckInputs(
            config=installation.config,
            resolver=installation.resolver,
            clock=installation.clock,
            ledger=installation.ledger,
            adapters=adapters,
        )
        return any(f"about {case}" in check.found for check in CHECKS["on call"](inputs))


def test_acknowledgement_ends_the_pages(centre: Centre) -> None:
    case = centre.opened("agent01")
    centre.pass_time(6)
    assert centre.acknowledge(case) == 1
    assert centre.acknowledge(case, "kim") == 0
    centre.pass_time(60, step=10)
    assert centre.paged == IN_ORDER[:2]
    assert (centre.newest().state, centre.newest().acknowledged_by) == ("acknowledged", "lee")
    events = centre.installation.ledger.timeline(case)
    actions = [event.action for event in events if event.action.startswith("call-out.")]
    assert actions == [
        "call-out.began",
        *["call-out.paging", "call-out.paged"] * 2,
        "call-out.acknowledged",
    ]


def test_unanswered_call_out_is_acknowledged_late(centre: Centre) -> None:
    case = centre.opened("agent01")
    centre.pass_time(120, step=5)
    before = centre.newest()
    assert before.state is CallOutState.UNANSWERED
    centre.now += timedelta(minutes=30)
    done = acknowledge(centre.installation, TRIGGERS, case, "lee")
    assert (done.ended, done.late) == (1, 1)
    found = centre.newest()
    assert (found.state, found.acknowledged_by) == (CallOutState.ACKNOWLEDGED, "lee")
    assert (found.ended_at, found.unanswered_at) == (centre.now, before.ended_at)
    assert found.pages == before.pages
    event = centre.installation.ledger.timeline(case)[-1]
    assert (event.action, event.actor) == ("call-out.acknowledged", "lee")
    assert event.detail["is_late"] is True
    assert not warned(centre, case)
    assert centre.acknowledge(case, "kim") == 0
    assert centre.newest().acknowledged_by == "lee"
    assert centre.installation.ledger.audit.verify().is_whole


def test_late_acknowledgement_covers_nothing_newer(centre: Centre) -> None:
    case = centre.opened("agent01")
    centre.pass_time(120, step=5)
    earlier = len(centre.paged)
    centre.opened("agent02")
    assert centre.acknowledge(case) == 1
    centre.pass_time(11)
    assert centre.paged[earlier:] == IN_ORDER[:1], "nobody had been paged about the newer incident"


def test_late_acknowledgement_is_refused_to_a_target(centre: Centre) -> None:
    case = centre.opened("lee")
    centre.pass_time(120, step=5)
    for by, reason in ((None, "nobody signed in"), ("lee", "among its targets")):
        with pytest.raises(ApprovalRefused, match=reason):
            centre.acknowledge(case, by)
    assert centre.newest().state is CallOutState.UNANSWERED


def test_closed_incident_pages_nobody(centre: Centre) -> None:
    case = centre.opened("agent01")
    centre.attend()
    close(centre.installation, case, by="dana")
    centre.pass_time(30, step=10)
    assert centre.paged == IN_ORDER[:1]
    assert centre.newest().state is CallOutState.OVER


def test_flood_of_incidents_pages_as_one_does(centre: Centre) -> None:
    first = centre.opened("agent01")
    for number in range(2, 12):
        centre.opened(f"agent{number:02}")
        centre.attend()
    assert centre.paged == IN_ORDER[:1]
    last = centre.opened("agent12")
    assert centre.acknowledge(last) == 1, "it joined the open call-out"
    centre.pass_time(60, step=10)
    assert centre.paged == IN_ORDER[:1]
    assert [
        event.actor
        for event in centre.installation.ledger.timeline(last)
        if event.action == "call-out.acknowledged"
    ] == ["lee"]
    assert centre.acknowledge(first) == 0


def test_later_incident_calls_out_again_after_a_pause(centre: Centre) -> None:
    centre.acknowledge(centre.opened("agent01"))
    case = centre.opened("agent01")
    centre.attend()
    centre.acknowledge(case)
    centre.opened("agent02")
    centre.pass_time(9)
    assert centre.paged == IN_ORDER[:1]
    centre.pass_time(2)
    assert centre.paged == IN_ORDER[:1] * 2


def test_alert_in_a_stopped_incident_calls_out(centre: Centre) -> None:
    live = replace(SIEM, acts=True, key=parse("the same host"))
    case = centre.opened("agent01", live)
    centre.attend()
    centre.acknowledge(case)
    stop(centre.installation, case, by="dana")
    assert centre.opened("agent02", live) == case
    centre.pass_time(11)
    assert centre.paged == IN_ORDER[:1] * 2


def test_failed_page_is_followed_at_once(centre: Centre) -> None:
    centre.smtp.answer_recipient("lee@example.com", "550 5.1.1 no such mailbox")
    centre.opened("agent01")
    centre.attend()
    assert centre.paged == ["kim by push"]
    assert [page.state for page in centre.newest().pages][:2] == [EffectState.REFUSED] * 2


def test_unknown_page_by_apprise_is_not_repeated(centre: Centre) -> None:
    posts: list[str] = []
    statuses = [200, 500]

    class Phone(Answering):
        def do_POST(self) -> None:
            post = json.loads(self.body())
            posts.append(f"{post['title']} {post['message']}")
            self.answer(statuses.pop(0))

    file = centre.config_file
    by_mail = PAGER.format(name="push", port=centre.smtp.port)
    assert by_mail in file.read_text()
    file.write_text(file.read_text().replace(by_mail, APPRISE))
    with listening(Phone) as port:
        address = file.parent / "push-address"
        address.touch(mode=0o600)
        address.write_text(f"json://127.0.0.1:{port}/phone")
        with installation_at(file, clock=lambda: centre.now) as centre.installation:
            case = centre.opened("agent01")
            centre.pass_time(24)
            assert centre.paged == ["lee by phone"]
            centre.pass_time(2)
            assert centre.paged == ["lee by phone", "dana by mail"]
            assert [page.state for page in centre.newest().pages] == [
                EffectState.DONE,
                EffectState.DONE,
                EffectState.UNKNOWN,
                EffectState.DONE,
            ]
            assert centre.acknowledge(case, "kim") == 1
            centre.pass_time(60, step=10)
    assert len(posts) == 2
    for post, person in zip(posts, ("lee", "kim"), strict=True):
        assert f"standfast incident acknowledge {case} --as {person}" in post
        assert "agent01" not in post


def test_change_of_shift_applies_to_the_next_page(centre: Centre) -> None:
    centre.now = MORNING.replace(hour=19, minute=58)
    centre.opened("agent01")
    centre.attend()
    centre.pass_time(10)
    assert centre.paged == ["lee by push", "kim by push"], "lee is off duty since 20:00"


def test_outage_uses_up_no_round(centre: Centre) -> None:
    for name in ("lee", "kim", "dana"):
        centre.smtp.answer_recipient(f"{name}@example.com", "450 4.2.1 try later")
    centre.opened("agent01")
    centre.pass_time(60, step=10)
    assert centre.paged == []
    for name in ("lee", "kim", "dana"):
        centre.smtp.answer_recipient(f"{name}@example.com", "250 OK")
    centre.pass_time(120, step=5)
    assert centre.paged == IN_ORDER * 2
    assert centre.newest().state is CallOutState.UNANSWERED


def test_acknowledgement_covers_no_incident_of_its_person(centre: Centre) -> None:
    case = centre.opened("agent01")
    centre.opened("lee")
    centre.attend()
    centre.acknowledge(case, "lee")
    centre.pass_time(9)
    assert centre.paged == IN_ORDER[:1]
    centre.pass_time(20, step=5)
    assert "kim by push" in centre.paged
    centre.acknowledge(case, "kim")
    centre.pass_time(60, step=10)
    assert centre.newest().acknowledged_by == "kim"


@pytest.mark.parametrize("calendar", [None, Path("missing.ics")])
def test_fallback_is_paged_at_once_without_a_duty(centre: Centre, calendar: Path | None) -> None:
    configured(centre, shifts=(), calendar=calendar)
    centre.opened("agent01")
    centre.attend()
    assert centre.paged == ["dana by mail"]


def test_page_roles_limit_the_people_on_duty(centre: Centre) -> None:
    TRIGGERS["siem"] = replace(SIEM, page_roles=("operator",))
    try:
        centre.opened("agent01")
        centre.attend()
    finally:
        TRIGGERS["siem"] = SIEM
    assert centre.paged == ["dana by mail"], "lee and kim are duty managers"


def test_nobody_is_paged_without_a_rota(centre: Centre) -> None:
    configured(centre, shifts=(), fallback=())
    centre.opened("agent01")
    centre.pass_time(30, step=10)
    assert centre.paged == []


def test_unsigned_or_targeted_person_cannot_acknowledge(centre: Centre) -> None:
    case = centre.opened("lee")
    centre.attend()
    with pytest.raises(ApprovalRefused, match="nobody signed in"):
        centre.acknowledge(case, None)
    with pytest.raises(ApprovalRefused, match="among its targets"):
        centre.acknowledge(case, "lee")
    assert centre.newest().state is CallOutState.OPEN
    assert centre.acknowledge(case, "kim") == 1


def test_two_hosts_send_each_page_once(centre: Centre) -> None:
    centre.opened("agent01")
    with installation_at(centre.config_file, clock=lambda: centre.now) as other:
        for _ in range(14):
            centre.attend(5)
            for _ in attend(other, TRIGGERS):
                pass
    assert centre.paged == IN_ORDER * 2


class Killed(BaseException):
    """The end of a process."""


def killed(method: Callable[..., Any], *, is_after: bool) -> Callable[..., Any]:
    """Wrap a method so that its first call ends the process, before or after."""
    is_alive = [True]

    def call(*given: Any, **more: Any) -> Any:
        if not is_alive:
            return method(*given, **more)
        is_alive.clear()
        if is_after:
            method(*given, **more)
        raise Killed

    return call


def test_killed_acknowledgement_is_in_both_timelines_or_none(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [centre.opened("agent01")]
    centre.attend()
    cases.append(centre.opened("agent02"))
    monkeypatch.setattr(CallOuts, "end", killed(CallOuts.end, is_after=True))
    with pytest.raises(Killed):
        centre.acknowledge(cases[1])
    timeline = centre.installation.ledger.timeline
    ends = [[e.actor for e in timeline(c) if e.action.endswith("acknowledged")] for c in cases]
    assert ends == [["lee"], ["lee"]]
    assert centre.installation.ledger.audit.verify().is_whole


@pytest.mark.sampled
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("name", ["begin", "begin_page", "finish_page", "end"])
def test_killed_process_loses_and_doubles_no_page(
    centre: Centre, monkeypatch: pytest.MonkeyPatch, name: str, is_after: bool
) -> None:
    case = centre.opened("agent01")
    monkeypatch.setattr(CallOuts, name, killed(getattr(CallOuts, name), is_after=is_after))
    deaths = 0
    for _ in range(20):
        try:
            centre.attend(5)
        except Killed:
            deaths += 1
    assert deaths == 1
    pages = centre.newest().pages
    assert [f"{page.person} by {page.sender or 'mail'}" for page in pages] == IN_ORDER * 2
    assert centre.newest().state is CallOutState.UNANSWERED
    if name == "begin_page" and is_after:
        assert pages[0].state is EffectState.UNKNOWN
        assert centre.paged == (IN_ORDER * 2)[1:], "it is not sent again in its round"
    else:
        assert centre.paged == IN_ORDER * 2
    assert pages[0].state is (
        EffectState.UNKNOWN
        if (name, is_after) in (("begin_page", True), ("finish_page", False))
        else EffectState.DONE
    )
    assert centre.installation.ledger.timeline(case)
    assert centre.installation.ledger.audit.verify().is_whole
