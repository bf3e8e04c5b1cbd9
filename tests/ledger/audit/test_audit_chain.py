"""The chain and its heads: cuts, changes and forgeries are detected."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table

from standfast.errors import Damaged
from standfast.ledger import Ledger
from standfast.ledger.audit.hash_chain import event_hash
from standfast.ledger.schema.tables import audit_event, audit_head, run
from tests.ledger.intruder import Intruder, Row
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import open_incident

_DEEP = "[" * 100_000
_STRANGE: list[Any] = [
    "", "\0", "null", "[]", "{ }", "Infinity", '{"effect":[[]]}', '{"effect":5}', '{"":[[[],""]]}',
    _DEEP, "9" * 5_000, "\u202e\n\x1b[2J", b"", b"\xff", b"{", 0, -1, 2**62, 1.5, float("inf"),
]  # fmt: skip


def _findings(ledger: Ledger) -> str:
    found = ledger.audit.verify().findings
    return "\n".join(f"{finding.where}: {finding.problem}" for finding in found)


def _write(ledger: Ledger, name: str) -> None:
    """Write one event that changes one row."""
    ledger.runs.start("backup", name, "direct", "olga", NOW)


def _last(intruder: Intruder) -> Row:
    return intruder.rows(audit_event)[-1]


def _forged(event: Row, **changed: Any) -> Row:
    """Return an event with a matching hash, which needs no secret."""
    written = event | changed
    body = {name: written[name] for name in written if name not in ("hash", "seal")}
    return written | {"hash": event_hash(body)}


def test_tail_cut_after_signing_is_named(ledger: Ledger, intruder: Intruder) -> None:
    _write(ledger, "calls")
    sequence = ledger.audit.sign_head(NOW)
    intruder.run("DELETE FROM audit_event WHERE sequence = :last", last=sequence)
    intruder.run("DELETE FROM run")
    assert f"head {sequence}: its event {sequence} is missing" in _findings(ledger)
    intruder.run("DELETE FROM audit_head WHERE sequence = :last", last=sequence)
    assert _findings(ledger).startswith("witness line 2: ")


def test_tail_cut_before_signing_shows_in_rows(ledger: Ledger, intruder: Intruder) -> None:
    _write(ledger, "calls")
    intruder.delete(audit_event, _last(intruder))
    (row,) = intruder.rows(run)
    assert _findings(ledger) == f"run {row['id']}: no event has this row"


def test_inserted_event_is_named(ledger: Ledger, intruder: Intruder) -> None:
    last = _last(intruder)
    sequence = last["sequence"] + 1
    forged = _forged(last, sequence=sequence, previous=last["hash"], actor="somebody")
    intruder.add(audit_event, forged)
    assert _findings(ledger) == f"event {sequence}: not written by this ledger, its seal differs"


def test_rewritten_history_is_named(ledger: Ledger, intruder: Intruder) -> None:
    _write(ledger, "calls")
    intruder.run("DELETE FROM audit_head")
    previous = "0" * 64
    for event in intruder.rows(audit_event):
        forged = _forged(event, actor="somebody", previous=previous)
        intruder.set(audit_event, event, **forged)
        previous = forged["hash"]
    named = _findings(ledger)
    assert "event 1: not written by this ledger" in named
    assert "event 2: not written by this ledger" in named
    with pytest.raises(Damaged, match="event 1 "):
        ledger.audit.sign_head(NOW)


@pytest.mark.parametrize("column", ["actor", "detail", "changes", "previous", "hash", "seal"])
def test_broken_tail_is_never_signed(ledger: Ledger, intruder: Intruder, column: str) -> None:
    _write(ledger, "calls")
    intruder.set(audit_event, _last(intruder), **{column: "0" * 64})
    _write(ledger, "mail")
    heads = intruder.rows(audit_head)
    with pytest.raises(Damaged, match="event 2"):
        ledger.audit.sign_head(NOW)
    assert intruder.rows(audit_head) == heads


def test_missing_event_is_never_signed_over(ledger: Ledger, intruder: Intruder) -> None:
    _write(ledger, "calls")
    cut = _last(intruder)
    _write(ledger, "mail")
    intruder.delete(audit_event, cut)
    with pytest.raises(Damaged, match="event 3"):
        ledger.audit.sign_head(NOW)


def test_forged_head_is_never_extended(ledger: Ledger, intruder: Intruder) -> None:
    """A forged head would hide missing events that it claims to cover."""
    _write(ledger, "calls")
    forged = _forged(_last(intruder), actor="somebody")
    intruder.set(audit_event, _last(intruder), **forged)
    head = intruder.rows(audit_head)[0]
    intruder.add(audit_head, head | {"sequence": forged["sequence"], "hash": forged["hash"]})
    with pytest.raises(Damaged, match="head 2"):
        ledger.audit.sign_head(NOW)


def test_signing_twice_signs_once(ledger: Ledger, intruder: Intruder) -> None:
    _write(ledger, "calls")
    assert ledger.audit.sign_head(NOW) == ledger.audit.sign_head(NOW) == 2
    assert [head["sequence"] for head in intruder.rows(audit_head)] == [1, 2]


def test_idle_heartbeats_are_signed_hourly(ledger: Ledger, intruder: Intruder) -> None:
    """Heads are verified for ever, and a watch could sign 100,000 a year."""
    hour = timedelta(hours=1)
    token = ledger.runners.register(None, "serve", NOW)
    begun = ledger.audit.sign_head(NOW, beats_wait=hour)
    for minutes in (5, 30, 59):
        now = NOW + timedelta(minutes=minutes)
        ledger.runners.extend_lease(token, None, now)
        assert ledger.audit.sign_head(now, beats_wait=hour) == begun
    assert ledger.audit.sign_head(NOW + hour, beats_wait=hour) == begun + 3
    ledger.runners.extend_lease(token, None, NOW + hour)
    _write(ledger, "calls")
    assert ledger.audit.sign_head(NOW + hour, beats_wait=hour) == begun + 5
    ledger.runners.extend_lease(token, None, NOW + hour)
    assert ledger.audit.sign_head(NOW + hour) == begun + 6
    ledger.runners.extend_lease(token, None, NOW)  # the clock was set back
    assert ledger.audit.sign_head(NOW - hour, beats_wait=hour) == begun + 7
    assert ledger.audit.verify().is_whole


def test_renewed_lease_is_signed_at_once(ledger: Ledger) -> None:
    case = open_incident(ledger)
    token = ledger.runners.register(case, "direct", NOW)
    begun = ledger.audit.sign_head(NOW)
    ledger.runners.extend_lease(token, case, NOW)
    assert ledger.audit.sign_head(NOW, beats_wait=timedelta(hours=1)) == begun + 1


def test_many_who_sign_at_once_sign_one_head(ledger: Ledger, intruder: Intruder) -> None:
    for number in range(5):
        _write(ledger, f"set-{number}")
        together = threading.Barrier(4)
        signed: list[int] = []

        def sign(together: threading.Barrier = together, signed: list[int] = signed) -> None:
            together.wait(timeout=60)
            signed.append(ledger.audit.sign_head(NOW))

        threads = [threading.Thread(target=sign) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert signed == [number + 2] * 4
    report = ledger.audit.verify()
    assert (report.findings, report.heads, report.witnessed) == ((), 6, 6)


def test_verifying_while_others_write_raises_no_alarm(ledger: Ledger) -> None:
    """Rows that are written later do not contradict earlier events."""
    events: list[int] = []

    def write_on(sequence: int) -> None:
        events.append(sequence)
        open_incident(ledger)
        ledger.audit.sign_head(NOW)

    assert ledger.audit.verify(write_on).is_whole
    assert events == [1]


@pytest.mark.parametrize("table", [audit_event, audit_head], ids=lambda table: table.name)
def test_verification_raises_no_error_for_any_content(
    sqlite_ledger: Ledger, sqlite_intruder: Intruder, table: Table
) -> None:
    """Rows are only hashed, whatever they contain; events and heads are read."""
    _write(sqlite_ledger, "calls")
    sqlite_ledger.audit.sign_head(NOW)
    row = sqlite_intruder.rows(table)[0]
    for name in [column.name for column in table.columns if not column.primary_key]:
        for value in _STRANGE:
            ways = (":value", "CAST(:value AS TEXT)") if isinstance(value, bytes) else (":value",)
            for way in ways:
                sqlite_intruder.set(table, row, value=way, **{name: value})
                assert sqlite_ledger.audit.verify().findings, (name, value, way)
        sqlite_intruder.set(table, row, **row)
    assert sqlite_ledger.audit.verify().is_whole


def test_control_characters_in_names_are_removed(
    sqlite_ledger: Ledger, sqlite_intruder: Intruder
) -> None:
    _write(sqlite_ledger, "calls")
    sqlite_intruder.run("UPDATE run SET id = :name", name="\x1b[2J\nwhole")
    assert "\x1b" not in _findings(sqlite_ledger)
    assert r"run '\x1b[2J\nwhole': no event has" in _findings(sqlite_ledger)


def test_the_timeline_tells_one_subject_in_order(ledger: Ledger) -> None:
    first, second = open_incident(ledger), open_incident(ledger)
    ledger.incidents.set_stopped(first, True, "olga", NOW)
    ledger.incidents.close(second, "olga", NOW)
    ledger.incidents.set_stopped(first, False, "olga", NOW)
    assert [event.action for event in ledger.timeline(first)] == [
        "incident.opened",
        "incident.stopped",
        "incident.resumed",
    ]
    assert [event.sequence for event in ledger.timeline()] == [1, 2, 3, 4, 5, 6]
