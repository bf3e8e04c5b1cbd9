"""The accounting of notices: every person once, in correct sums."""

import csv
import errno
import hashlib
import json
import os
import signal
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.errors import StandfastError, UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.messages.delivery_reports import Delivery
from standfast.records import DeliveryEvent, DeliveryState, EffectState, canonical, timestamp
from standfast.usecases.approvals import step_decisions
from standfast.usecases.health.status import look
from standfast.usecases.notices.accounting_export import export
from standfast.usecases.notices.delivery_accounting import (
    Account,
    End,
    Line,
    account,
    counted_rows,
    line,
)
from standfast.usecases.reports.result_pages import incident_report
from tests.effect_rows import effect_row
from tests.kill.tracing import in_own_process
from tests.usecases.conftest import Centre
from tests.usecases.installations import PASSPHRASES, installation_at

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TOLD = "tell_customers"
_ROW = st.builds(
    effect_row,
    token=st.uuids().map(lambda one: one.hex),
    step=st.sampled_from(["a", "b"]),
    round=st.integers(1, 3),
    verb=st.just("notices.send"),
    connector=st.just("mail"),
    target=st.sampled_from(["mail:ana@x.test", "mail:row 3", "held:7", "post:Ana\nLeeds"]),
    state=st.sampled_from(list(EffectState)),
    is_parked=st.booleans(),
    tries=st.integers(0, 3),
)


@given(
    st.lists(st.tuples(_ROW, st.none() | st.sampled_from(list(DeliveryState))), max_size=20),
    st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 3))),
)
def test_accounting_sums_to_the_audience(
    people: list[tuple[EffectRow, DeliveryState | None]], refused: set[tuple[str, int]]
) -> None:
    heard = {row.token: state for row, state in people}
    rows = counted_rows([row for row, _ in people], refused)
    lines = []
    for row in rows:
        state = heard[row.token]
        delivery = None if state is None else Delivery(state=state, at=NOW)
        is_refused = (row.step, row.round) in refused
        lines.append(line(row, delivery, (None, None), is_refused=is_refused, is_clear=False))
    one = Account(step="a", template="t", root="", counts=Counter(one.end for one in lines))
    assert one.audience == len(rows)
    told = one.counts.get(End.HANDED_OVER, 0) + one.counts.get(End.DELIVERED, 0)
    assert one.not_notified == len(rows) - told
    assert all(each.end is not End.DELIVERED or not each.address for each in lines)
    reached = (None, DeliveryState.TAKEN, DeliveryState.DELIVERED)
    for row, one_line in zip(rows, lines, strict=True):
        is_done = row.state is EffectState.DONE
        assert one_line.end.is_notified == (is_done and heard[row.token] in reached)
        is_to_be_posted = row.target.startswith("post:") and row.is_parked
        is_printed = row.state is EffectState.UNKNOWN and is_to_be_posted
        assert (one_line.end is End.PRINTED) == is_printed
        is_no = row.state is EffectState.PLANNED and (row.step, row.round) in refused
        assert (one_line.end is End.NOT_APPROVED) == is_no


@pytest.mark.parametrize("target", ["mail:ana@x.test", "post:Ana\nLeeds"])
@pytest.mark.parametrize("told", DeliveryState)
def test_final_report_keeps_its_own_time(told: DeliveryState, target: str) -> None:
    submitted, answered = NOW, NOW + timedelta(seconds=2)
    at, complained = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    one = line(
        effect_row(verb="notices.send", connector="mail", target=target, state=EffectState.DONE),
        Delivery(state=told, at=at, complained_at=complained),
        (submitted, answered),
        is_refused=False,
        is_clear=False,
    )
    # A mail is accepted at the time of its answer; a letter is posted at the reported time.
    is_answer = told is DeliveryState.TAKEN and target.startswith("mail:")
    assert one.ended_at == (answered if is_answer else at)
    assert (one.submitted_at, one.complained_at) == (submitted, complained)
    assert one.as_json()["complained_at"] == timestamp(complained)


def test_export_digest_is_in_the_timeline(centre: Centre, tmp_path: Path) -> None:
    case = told_centre(centre)
    lines: list[Line] = []
    export(centre.installation, case, tmp_path / "told.json", each=lines.append)
    written = json.loads((tmp_path / "told.json").read_text())["lines"]
    (noted,) = (
        event.detail
        for event in centre.installation.ledger.timeline(case)
        if event.action == "accounting.exported"
    )
    digest = hashlib.sha256(b"".join(map(canonical, written))).hexdigest()
    assert (noted["rows"], noted["lines"]) == (digest, len(lines))


def test_export_keeps_a_running_draft(centre: Centre, tmp_path: Path) -> None:
    case = told_centre(centre)
    living = tmp_path / f".told.csv.{os.getppid()}.draft"
    of_another = tmp_path / ".told.csv.mine.draft"
    for draft in (living, of_another):
        draft.write_text("half a line")
    export(centre.installation, case, tmp_path / "told.csv")
    assert living.exists()
    assert of_another.exists()


def test_export_removes_a_dead_draft(centre: Centre, tmp_path: Path) -> None:
    """In containers, commands often have the same process id."""
    case = told_centre(centre)
    (tmp_path / f".told.csv.{os.getpid()}.draft").write_text("half a line")
    _, digest = export(centre.installation, case, tmp_path / "told.csv")
    assert hashlib.sha256((tmp_path / "told.csv").read_bytes()).hexdigest() == digest
    assert [one.name for one in tmp_path.glob("*told*")] == ["told.csv"]


def told_centre(centre: Centre) -> str:
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agents:agent01")
    centre.advance(case)
    step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
    centre.advance(case)
    step_decisions.decide(centre.installation, case, TOLD, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    return case


def test_each_recipient_is_counted_masked_and_exported(centre: Centre, tmp_path: Path) -> None:
    config = centre.installation.config
    why = "\uff1dcmd(), says whoever wrote the list"
    customers = config.audiences["customers"].model_copy(update={"why": why})
    audiences = {**config.audiences, "customers": customers}
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"audiences": audiences})
    )
    case = told_centre(centre)
    installation = centre.installation
    there = installation.ledger.effects.of_incident(case)
    rows = [row for row in there if (row.step, row.verb) == (TOLD, "notices.send")]
    now = installation.clock()
    installation.ledger.deliveries.store_reports(
        [
            DeliveryEvent(token=rows[0].token, state=DeliveryState.DELIVERED, at=now),
            DeliveryEvent(token=rows[1].token, state=DeliveryState.BOUNCED, at=now),
            DeliveryEvent(token=rows[2].token, state=DeliveryState.DEFERRED, at=now),
            DeliveryEvent(token=rows[3].token, state=DeliveryState.DROPPED, at=now),
            DeliveryEvent(token=rows[4].token, state=DeliveryState.TAKEN, at=now),
        ],
        "event",
        now,
    )
    lines: list[Line] = []
    masked = account(installation, case, each=lines.append)
    mine = [each for each in lines if each.step == TOLD]
    (one,) = [each for each in masked if each.step == TOLD]
    assert one.counts == {
        End.HANDED_OVER: 16,
        End.DELIVERED: 1,
        End.DEFERRED: 1,
        End.BOUNCED: 1,
        End.DROPPED: 1,
    }
    assert (len(mine), one.audience, one.not_notified) == (20, 20, 3)
    (told,) = [each for each in incident_report(installation, case).notices if each.step == TOLD]
    ends = ("bounced", "deferred", "dropped")
    assert sorted(each.reason for each in told.not_notified) == [
        f"handed over, then {e}" for e in ends
    ]
    (status,) = look(centre.config_file, {}, now).incidents
    assert (status.not_notified, status.held) == (3, 0)
    assert all(each.submitted_at and each.channel == "mail" and each.why for each in mine)
    assert "@" not in json.dumps([each.as_json() for each in lines])

    clear: list[Line] = []
    account(installation, case, unmasked_because="the regulator asked", each=clear.append)
    assert {each.address for each in clear if each.step == TOLD} == {
        f"customer{n}@example.net" for n in range(1, 21)
    }
    views = [e for e in installation.ledger.timeline(case) if e.action == "accounting.viewed"]
    assert [event.detail["reason"] for event in views] == ["the regulator asked"]

    file = tmp_path / "told.csv"
    accounts, digest = export(installation, case, file)
    assert accounts == masked
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    with file.open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [(row["step"], row["person"], row["end"]) for row in written] == [
        (each.step, each.person, each.end) for each in lines
    ]
    assert "address" not in written[0]
    # The quote keeps a spreadsheet from reading a formula.
    assert {row["why"] for row in written if row["step"] == TOLD} == {f"'{why}"}
    assert file.stat().st_mode & 0o77 == 0
    export(installation, case, tmp_path / "told.json")
    document = json.loads((tmp_path / "told.json").read_text())
    assert document["notices"] == [each.as_json() for each in masked]
    assert document["lines"] == [each.as_json() for each in lines]
    export(installation, case, tmp_path / "clear.csv", unmasked_because="the regulator asked")
    assert "customer1@example.net" in (tmp_path / "clear.csv").read_text()
    events = [e for e in installation.ledger.timeline(case) if e.action == "accounting.exported"]
    assert events[0].detail["sha256"] == digest
    assert [event.detail["lines"] for event in events] == [len(lines)] * 3
    assert [event.detail["is_masked"] for event in events] == [True, True, False]
    assert "@" not in json.dumps([dict(event.detail) for event in events])
    before = file.read_bytes()
    with pytest.raises(StandfastError, match="Name another file"):
        export(installation, case, file)
    with pytest.raises(StandfastError, match="Name another file"):
        export(installation, case, tmp_path / "nowhere" / "told.csv")
    with pytest.raises(UsageError):
        export(installation, case, tmp_path / "told.pdf")
    assert file.read_bytes() == before
    assert {one.name for one in tmp_path.glob("*told*")} == {"told.csv", "told.json"}
    assert installation.ledger.audit.verify().findings == ()


def test_addresses_need_a_meaningful_reason(centre: Centre, tmp_path: Path) -> None:
    case = told_centre(centre)
    lines: list[Line] = []
    for look_in_clear in (
        partial(account, each=lines.append),
        partial(export, file=tmp_path / "told.csv"),
    ):
        with pytest.raises(UsageError, match="reason: missing"):
            look_in_clear(centre.installation, case, unmasked_because=" \n")
    assert lines == []
    assert list(tmp_path.glob("*told*")) == []
    noted = {one.action for one in centre.installation.ledger.timeline(case)}
    assert not noted & {"accounting.viewed", "accounting.exported"}


@pytest.mark.sampled
@pytest.mark.parametrize("why", ["  =cmd()", "+1", "-1", "@cmd"])
def test_export_contains_no_formula(centre: Centre, tmp_path: Path, why: str) -> None:
    config = centre.installation.config
    customers = config.audiences["customers"].model_copy(update={"why": why})
    audiences = {**config.audiences, "customers": customers}
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"audiences": audiences})
    )
    case = told_centre(centre)
    export(centre.installation, case, tmp_path / "told.csv")
    with (tmp_path / "told.csv").open(newline="") as stream:
        written = [row["why"] for row in csv.DictReader(stream) if row["step"] == TOLD]
    assert written == [f"'{why}"] * 20


def test_an_export_that_fails_leaves_no_file(
    centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = told_centre(centre)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StandfastError, match="No space left"):
        export(centre.installation, case, tmp_path / "told.csv")
    assert list(tmp_path.glob("*told*")) == []


def test_export_works_without_hard_links(
    centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = told_centre(centre)

    def one_name(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", one_name)
    file = tmp_path / "told.csv"
    _, digest = export(centre.installation, case, file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    with pytest.raises(StandfastError, match="File exists"):
        export(centre.installation, case, file)
    assert [one.name for one in tmp_path.glob("*told*")] == ["told.csv"]


@pytest.mark.sampled
@pytest.mark.parametrize("call", ["write", "fsync", "link", "unlink"])
def test_interrupted_export_is_whole_or_absent(centre: Centre, tmp_path: Path, call: str) -> None:
    case = told_centre(centre)
    file = tmp_path / "told.csv"
    given = (centre.config_file, centre.scim.token, case, file, call)
    assert in_own_process(_die_exporting, *given) == -signal.SIGKILL
    drafts = list(tmp_path.glob(".told.csv.*"))
    assert len(drafts) == 1
    if call == "unlink":  # the export already had its final name
        with pytest.raises(StandfastError, match="File exists"):
            export(centre.installation, case, file)
        whole = [
            e
            for e in centre.installation.ledger.timeline(case)
            if e.action == "accounting.exported"
        ]
        digest = whole[0].detail["sha256"]
    else:
        assert not file.exists()
        _, digest = export(centre.installation, case, file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert [one.name for one in tmp_path.glob("*told*")] == ["told.csv"]


def _die_exporting(config_file: Path, token: str, case: str, file: Path, call: str) -> None:
    """Export, and die at the named call; `write` dies in the middle of a line."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with installation_at(config_file, token=token) as installation:
        if call == "unlink":
            monkey = pytest.MonkeyPatch()
            monkey.setattr(Path, "unlink", die)
        elif call != "write":
            monkey = pytest.MonkeyPatch()
            monkey.setattr(f"standfast.usecases.notices.accounting_export.os.{call}", die)
        export(installation, case, file, each=die if call == "write" else lambda line: None)
