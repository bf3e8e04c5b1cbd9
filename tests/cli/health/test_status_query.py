"""The status query returns the same facts as the ledger's own interfaces."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast import ledger
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ConfigurationError, Damaged
from standfast.ledger import Ledger
from standfast.ledger.incidents.incident_facts import Statement
from standfast.ledger.status_overview import IncidentOverview, LedgerOverview
from standfast.ledger.status_query import query_status
from standfast.playbook.run_state import StepView, merged
from standfast.records import Mode, Proof
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk


def compare(installation: Installation, seen: LedgerOverview) -> None:
    """Compare every answer of the status query with the ledger's."""
    opened = {one.id: one for one in installation.ledger.incidents.all(only_open=True)}
    assert [one.id for one in seen.incidents] == list(opened)
    for one in seen.incidents:
        row, state = opened[one.id], installation.ledger.incidents.state(one.id)
        assert (one.scenario, one.mode, one.opened_at) == (row.scenario, row.mode, row.opened_at)
        assert (one.is_stopped, one.playbook) == (row.is_stopped, row.playbook)
        assert one.opened_by == row.opened_by
        assert (one.unrestored_count, one.joined) == (state.unrestored_count, state.joined)
        assert one.has_runner == lifecycle.look(installation, one.id).state.has_runner
        facts = installation.ledger.facts.of_incident(one.id)
        assert [vars(fact) for fact in one.facts] == [
            {key: value for key, value in vars(fact).items() if key != "reference"}
            for fact in facts
        ]
        for view in (*state.steps.values(), *state.extra):
            assert latest(one, view.step) == replace(
                view,
                # `status` shows no sealed values and no values that need a key for their
                # verification.
                answer=None if view.answer is None else "",
                approvals=0,
                why="",
                moved_at=None,
                proof=Proof.NONE,
            )
    newest = installation.ledger.timeline()[-1].sequence
    assert seen.events == newest
    for kind in ("backup", "drill", "verify"):
        for run in installation.ledger.runs.all(kind):
            (last,) = [
                one
                for one in seen.last_runs
                if (one.kind, one.subject, one.state) == (kind, run.subject, run.state)
            ]
            assert last.started_at >= run.started_at


def latest(one: IncidentOverview, name: str) -> StepView:
    return merged([view for view in one.steps if view.step == name])


def test_every_answer_is_the_ledgers_own(quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    with open_installation(config_file, env={}, actor="os:test") as installation:
        url, now = f"sqlite:///{quiet_installation / 'ledger.db'}", installation.clock()
        for scenario in ("account-takeover", "leaver", "lock"):
            opened = lifecycle.open_incident(
                installation,
                scenario,
                {"accounts": ["alice"]},
                mode=Mode.EXERCISE,
                opened_by="dana",
            )
            lifecycle.advance(installation, opened.incident, "direct")
        takeover = installation.ledger.incidents.all()[0].id
        compare(installation, query_status(url, now))
        step_decisions.answer(installation, takeover, "customers_affected", "yes", by="lee")
        compare(installation, query_status(url, now))
        lifecycle.advance(installation, takeover, "direct")
        compare(installation, query_status(url, now))
        delay = Statement(
            kind=FactKind.DELAY, name="EU/EEA", at=now, reference="a letter", is_so=True
        )
        installation.ledger.facts.state(takeover, delay, "lee", now)
        compare(installation, query_status(url, now))
        effect_undo.undo(installation, takeover, requested_by="dana")
        lifecycle.stop(installation, takeover, by="dana")
        for kind, state in (("backup", "done"), ("backup", "failed"), ("drill", "partial")):
            token = installation.ledger.runs.start(kind, "main", "direct", "os:test", now)
            installation.ledger.runs.finish(token, kind, state, {}, "os:test", now)
        installation.ledger.runs.start("backup", "main", "direct", "os:test", now)
        for account in ("bob", "carol", "dora"):
            if account == "dora":
                lifecycle.advance(installation, opened.incident, "direct")
                lifecycle.stop(installation, opened.incident, by="dana")
            opened = lifecycle.open_incident(
                installation,
                "lock",
                {"accounts": [account]},
                mode=Mode.EXERCISE,
                trigger="an alert",
            )
            assert opened.has_joined is (account != "bob")
        compare(installation, query_status(url, now))
        lifecycle.close(installation, takeover, by="dana")
        seen = query_status(url, now)
        compare(installation, seen)
    assert seen.signed_events == seen.events
    assert len(seen.incidents) == 3
    assert seen.closed == ()  # an exercise has no obligations


def test_closed_incident_is_shown_with_its_facts(quiet_installation: Path) -> None:
    url = f"sqlite:///{quiet_installation / 'ledger.db'}"
    with open_installation(
        quiet_installation / "standfast.toml", env={}, actor="os:test"
    ) as installation:
        now, cases = installation.clock(), []
        for account in ("alice", "bob"):
            opened = lifecycle.open_incident(
                installation, "lock", {"accounts": [account]}, mode=Mode.LIVE, opened_by="dana"
            )
            cases.append(opened.incident)
        aware = Statement(kind=FactKind.TIME, name="awareness", at=now)
        installation.ledger.facts.state(cases[0], aware, "lee", now)
        assert query_status(url, now).closed == ()
        for case in cases:
            lifecycle.close(installation, case, by="dana")
        (closed,) = query_status(url, now).closed
        assert (closed.id, closed.scenario) == (cases[0], "lock")
        assert [(fact.name, fact.at) for fact in closed.facts] == [("awareness", now)]


def fill(opened: Ledger, now: datetime) -> str:
    """Write a row of every kind that the query reads; return the incident."""
    token = opened.runs.start("backup", "main", "serve", "os:test", now)
    opened.runs.finish(token, "backup", "partial", {"files": 3}, "os:test", now)
    incident_id, _ = opened.incidents.open(
        scenario="lock",
        mode=Mode.LIVE,
        playbook="the text of a playbook",
        adapters=[],
        inputs={},
        opened_by="os:test",
        is_signed=False,
        trigger=None,
        now=now,
    )
    opened.steps.prompt(incident_id, "lock", 1, now)
    opened.runners.register(None, "serve", now)
    opened.audit.sign_head(now)
    return incident_id


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_both_databases_show_the_same(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("postgres_url")
    now = datetime.now(UTC)
    ledger.create(url, tmp_path / "keys", tmp_path / "witness", now)
    with ledger.open_ledger(url, tmp_path / "keys", tmp_path / "witness") as opened:
        incident_id = fill(opened, now)
        seen = query_status(url, now)
        ahead = query_status(url, now + timedelta(minutes=6))
        later = query_status(url, now + timedelta(minutes=11))
    (one,) = seen.incidents
    (step,) = one.steps
    assert (one.id, one.mode, one.playbook) == (incident_id, "live", "the text of a playbook")
    assert (step.step, step.state, step.answer) == ("lock", "prompted", None)
    (run,) = seen.last_runs
    assert (run.kind, run.subject, run.state, run.started_at) == ("backup", "main", "partial", now)
    assert (*seen.serve_hosts,) == (os.uname().nodename,)
    # A host with a wrong clock uses the server's clock, if there is one.
    assert bool(ahead.serve_hosts) == (database == "postgresql")
    assert not later.serve_hosts
    assert seen.signed_events == seen.events > 3
    assert seen.signed_at == now


def test_empty_database_is_not_a_ledger(tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "empty.db").touch()
    for url in (f"sqlite:///{tmp_path / 'empty.db'}", postgres_url):
        with pytest.raises(ConfigurationError, match="init"):
            query_status(url, datetime.now(UTC))


def test_invalid_database_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)
    with pytest.raises(Damaged, match="its file is damaged"):
        query_status(f"sqlite:///{tmp_path / 'ledger.db'}", datetime.now(UTC))


def test_status_query_changes_and_creates_nothing(desk: Desk, installation: Path) -> None:
    before = (installation / "ledger.db").read_bytes()
    assert desk.run("status").status == 0
    assert (installation / "ledger.db").read_bytes() == before
    # SQLite itself creates its empty log there while a process reads.
    assert [path.stat().st_size for path in installation.glob("ledger.db-wal")] in ([], [0])
    missing = installation / "other.db"
    with pytest.raises(ConfigurationError, match="missing"):
        query_status(f"sqlite:///{missing}", datetime.now(UTC))
    assert not missing.exists()


@pytest.mark.parametrize(
    "command", ["status", "lock alice --exercise", "incident status", "audit verify"]
)
def test_truncated_ledger_is_always_damaged(desk: Desk, installation: Path, command: str) -> None:
    with (installation / "ledger.db").open("r+b") as file:
        file.truncate(file.seek(0, 2) // 2)
    answer = desk.run(*command.split())
    assert answer.status == 6
    assert "its file is damaged (SQLITE_CORRUPT)" in answer.err
    assert "restore it from a backup" in answer.err
