"""Reports for the tests: one full incident, and parts to vary."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from standfast.records import EffectState, Mode, Proof, StepState
from standfast.reports.report_records import (
    AccountLine,
    BackupLine,
    ChainLine,
    Check,
    Decision,
    DrillLine,
    EventLine,
    EvidenceLine,
    Heading,
    IncidentReport,
    Measure,
    NoticeLine,
    NotNotified,
    Reason,
    StepLine,
)

OPENED = datetime(2026, 11, 25, 2, 13, tzinfo=UTC)
_VOID = {"meta", "br"}


def at(seconds: float) -> datetime:
    """A moment so long after the opening."""
    return OPENED + timedelta(seconds=seconds)


def heading(**changes: Any) -> Heading:
    return replace(
        Heading(organisation="Example", time_zone="Europe/Madrid", written_at=at(600)), **changes
    )


def empty(**changes: Any) -> IncidentReport:
    """An incident that was just opened."""
    return replace(
        IncidentReport(
            heading=heading(),
            incident="inc-2026-0001",
            scenario="lock",
            title="Lock accounts",
            mode=Mode.LIVE,
            is_open=True,
            is_stopped=False,
            opened_at=OPENED,
            opened_by="dana",
            closed_at=None,
            next_step="Nothing to do now.",
            steps=(),
        ),
        **changes,
    )


def step(name: str = "lock", **changes: Any) -> StepLine:
    return replace(
        StepLine(
            name=name,
            title=f"The step {name}",
            state=StepState.DONE,
            does="accounts.lock",
            began_at=at(1),
            running_from=at(1),
            ended_at=at(3),
            counts={EffectState.DONE: 2},
        ),
        **changes,
    )


def notice(**changes: Any) -> NoticeLine:
    return replace(
        NoticeLine(
            step="tell",
            title="Tell the customers",
            template="customers-account-takeover",
            audience="customers",
            digest="d" * 64,
            root="e" * 64,
            by_language={"en": {EffectState.DONE: 3}},
        ),
        **changes,
    )


def drill(**changes: Any) -> DrillLine:
    return replace(
        DrillLine(
            at=at(-3600),
            set_name="main",
            point="host-1/0000000002",
            state="done",
            way="prefect",
            files=10,
            size_bytes=1_000_000,
            took=timedelta(seconds=4),
            measures=(measure(),),
            checks=(Check(name="hash of every file", state="passed", detail="10 files agree"),),
            is_destroyed=True,
            digest="f" * 64,
            controls=("ISO 27001 A.8.13",),
        ),
        **changes,
    )


def measure(**changes: Any) -> Measure:
    return replace(
        Measure(
            service="crm",
            rto=timedelta(seconds=3),
            rto_promised=timedelta(hours=1),
            rpo=timedelta(minutes=12),
            rpo_promised=timedelta(days=1),
            rpo_basis="the last change in the restored data",
        ),
        **changes,
    )


def full(text: str = "plain") -> IncidentReport:
    """An incident with one of everything; all free texts are `text`."""
    counts = {state: place + 1 for place, state in enumerate(EffectState)}
    return empty(
        heading=heading(organisation=text),
        title=text,
        opened_by=text,
        next_step=f"Look: `{text}`.",
        steps=(
            step(
                title=text,
                counts=counts,
                outcome=text,
                reasons=(Reason(state=EffectState.FAILED, text=text, count=1),),
            ),
            step("watch", title=text, state=StepState.PROMPTED, ended_at=None, running_from=None),
            step("later", title=text, state=None, began_at=None, running_from=None, ended_at=None),
        ),
        notices=(
            notice(
                title=text,
                template=text,
                audience=text,
                by_language={text: counts},
                not_notified=(NotNotified(who=text, state=EffectState.UNKNOWN, reason=text),),
            ),
        ),
        accounts=(
            AccountLine(who=text, lock=EffectState.DONE, proof=Proof.READ_BACK),
            AccountLine(who=text, lock=EffectState.REFUSED, reason=text),
            AccountLine(who=text, lock=EffectState.DONE, undo=EffectState.FAILED),
        ),
        decisions=(Decision(step=text, person=text, action="approved", at=at(60)),),
        evidence=(
            EvidenceLine(source=text, state=EffectState.DONE, files=2, manifest=text, clock=text),
            EvidenceLine(source=text, state=EffectState.FAILED, reason=text),
        ),
        ways={text: 2},
        chain=ChainLine(
            events=9,
            rows=8,
            heads=1,
            witnessed=1,
            signed_to=9,
            head=text,
            findings=(text,),
            key=text,
        ),
        seal_key=text,
        events=(EventLine(at=at(1), actor=text, action=text),),
        drills=(
            drill(
                set_name=text,
                point=text,
                state=text,
                measures=(measure(service=text, rpo_basis=text),),
                checks=(Check(name=text, state="failed", detail=text),),
                controls=(text,),
            ),
        ),
        backups=(BackupLine(at=at(-9999), set_name=text, point=text, state=text, way=text),),
    )


class Page(HTMLParser):
    """A page as a strict reader sees it: tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"<{tag}> names an attribute twice"
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        opened = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}
