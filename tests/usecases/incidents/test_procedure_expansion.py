"""Steps that call what the configuration allows, and acts of our own: planned, done, undone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.config.schema import ProtectedConfig
from standfast.config.sections.procedures import ParameterConfig
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ExitStatus, PlaybookInvalid
from standfast.records import EffectState, Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Place
from standfast.usecases.evidence.frozen_folders import frozen
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.incidents.plan import PlanReport, plan_incident
from tests.servers.smtp import SmtpServer
from tests.usecases.places import PASSPHRASES, enrol_people, furnish, place_at

_MORE = """
[playbooks]
folder = "playbooks"

[commands.isolate]
argv = ["/usr/bin/touch", "{folder}/isolated/{{target}}"]
observe = ["/usr/bin/test", "-e", "{folder}/isolated/{{target}}"]
undo = ["/bin/rm", "-f", "{folder}/isolated/{{target}}"]
[commands.isolate.parameters.target]
type = "host"

[commands.wipe]
argv = ["/usr/bin/touch", "{folder}/wiped"]

[commands.ivr]
argv = ["/bin/sh", "-c", "echo $1 > {folder}/ivr", "ivr", "{{mode}}"]
observe = ["/usr/bin/grep", "-qx", "{{mode}}", "{folder}/ivr"]
undo = ["/bin/sh", "-c", "echo normal > {folder}/ivr"]
[commands.ivr.parameters.mode]
type = "choice"
options = ["callback", "closed"]

[requests.nowhere]
url = "http://127.0.0.1:9/x"

[services.telephony]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 60
[services.telephony.modes.callback]
command = "ivr"
parameters = {{ mode = "callback" }}
"""

_PLAYBOOK = """
playbook: called
version: 1
title: Called
use_when: In a test.
inputs:
  accounts: {{type: accounts, required: true, description: Hosts.}}
steps:
{steps}
"""


@pytest.fixture
def place(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Place]:
    config_file = furnish(tmp_path, smtp_port=smtp_server.port)
    for name in ("isolated", "playbooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "ivr").write_text("normal\n")
    with config_file.open("a") as file:
        file.write(_MORE.format(folder=tmp_path))
    write(tmp_path, "  wait: {title: W, wait: 1s}")
    with place_at(config_file) as opened:
        enrol_people(opened)
        yield opened


def write(folder: Path, steps: str) -> None:
    (folder / "playbooks/called.yaml").write_text(_PLAYBOOK.format(steps=steps))


def opened(place: Place, steps: str, *hosts: str, mode: Mode = Mode.LIVE) -> str:
    write(place.config.folder, steps)
    return lifecycle.open_incident(
        place, "called", {"accounts": list(hosts) or ["pc-1"]}, mode=mode, opened_by="dana"
    ).incident


def planned(place: Place, steps: str, *hosts: str) -> PlanReport:
    write(place.config.folder, steps)
    return plan_incident(place, "called", {"accounts": list(hosts) or ["pc-1"]}, is_signed=True)


def isolated(place: Place) -> set[str]:
    return {path.name for path in (place.config.folder / "isolated").iterdir()}


def rows(place: Place, case: str, verb: str) -> dict[str, EffectState]:
    return {
        row.target: row.state for row in place.ledger.effects.of_incident(case) if row.verb == verb
    }


ISOLATE = """
  isolate:
    title: Isolate
    do: run.command
    with: {command: isolate, targets: "{{ inputs.accounts }}"}
"""


def test_a_command_is_run_for_each_target_and_its_undo_leaves_what_was_before(place: Place) -> None:
    (place.config.folder / "isolated/pc-2").touch()
    case = opened(place, ISOLATE, "pc-1", "pc-2")
    outcome = lifecycle.advance(place, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert isolated(place) == {"pc-1", "pc-2"}
    plan = effect_undo.undo(place, case, requested_by="dana")
    assert (plan.restores, plan.kept) == (2, ())
    outcome = lifecycle.advance(place, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert isolated(place) == {"pc-2"}
    assert rows(place, case, "run.undo") == {
        "commands.isolate:pc-1": EffectState.DONE,
        "commands.isolate:pc-2": EffectState.DONE,
    }
    assert place.ledger.audit.verify().is_whole


def test_one_target_is_undone_by_its_name_and_what_another_incident_holds_is_kept(
    place: Place,
) -> None:
    first, second = (opened(place, ISOLATE, "pc-1", "pc-2") for _ in range(2))
    for case in (first, second):
        lifecycle.advance(place, case, "direct")
    kept = effect_undo.undo(place, first, targets=["pc-1"], requested_by="dana")
    assert kept.restores == 0
    assert second in kept.kept[0]
    lifecycle.close(place, first, by="dana")
    assert effect_undo.undo(place, second, targets=["pc-1"], requested_by="dana").restores == 1
    lifecycle.advance(place, second, "direct")
    assert isolated(place) == {"pc-2"}


def test_a_target_that_does_not_fit_is_refused_by_name_in_the_plan(place: Place) -> None:
    report = planned(place, ISOLATE, "pc-1", "--all")
    (step,) = report.steps
    assert step.targets == 1
    (reason,) = step.refused
    assert "the parameter 'target' of commands.isolate must be" in reason
    assert report.exit_status is ExitStatus.PARTIAL
    assert isolated(place) == set()


def test_what_cannot_be_taken_back_needs_an_approval_and_the_plan_says_so(place: Place) -> None:
    bare = "  wipe: {title: W, do: run.command, with: {command: wipe}}"
    report = planned(place, bare)
    assert report.exit_status is ExitStatus.REFUSED
    assert "'wipe'" in report.steps[0].impossible
    assert "cannot be taken back" in report.steps[0].impossible
    asked = bare.replace("with:", "approval: {count: 1}, with:")
    (step,) = planned(place, asked).steps
    assert "commands.wipe: cannot be taken back" in step.notes
    assert any("nobody can look" in note for note in step.notes)
    assert step.approvals == 1
    case = opened(place, asked)
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.WAITS_FOR_PEOPLE
    assert not (place.config.folder / "wiped").exists()
    step_decisions.decide(place, case, "wipe", "lee", PASSPHRASES["lee"])
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.DONE
    assert (place.config.folder / "wiped").exists()
    assert "no undo" in effect_undo.undo(place, case, requested_by="dana").kept[0]


def test_a_service_is_switched_and_switched_back(place: Place) -> None:
    ivr = place.config.folder / "ivr"
    steps = "  ivr: {title: I, do: service.degrade, with: {service: telephony, mode: callback}}"
    case = opened(place, steps)
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.DONE
    assert ivr.read_text() == "callback\n"
    assert rows(place, case, "service.degrade") == {"service.telephony:telephony": EffectState.DONE}
    effect_undo.undo(place, case, targets=["telephony"], requested_by="dana")
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.DONE
    assert ivr.read_text() == "normal\n"
    report = planned(place, steps.replace("callback", "pigeons"))
    assert "no mode 'pigeons'; there are: callback" in report.steps[0].impossible


def test_a_mode_of_a_service_that_locks_a_protected_account_is_refused(place: Place) -> None:
    steps = "  ivr: {title: I, do: service.degrade, with: {service: telephony, mode: callback}}"
    protected = ProtectedConfig(accounts={"phones:callback": "the emergency line"})
    ivr = place.config.commands["ivr"]
    line = ParameterConfig(type="choice", options=("callback", "closed"), account_of="phones")
    command = ivr.replaced(parameters={"mode": line})
    config = place.config.replaced(protected=protected, commands={"ivr": command})
    place = replace(place, config=config)
    case = opened(place, steps)
    lifecycle.advance(place, case, "direct")
    assert rows(place, case, "service.degrade") == {
        "service.telephony:telephony": EffectState.REFUSED
    }
    assert (place.config.folder / "ivr").read_text() == "normal\n"


def test_what_is_not_allow_listed_is_refused_with_what_there_is(place: Place) -> None:
    write(place.config.folder, "  x: {title: X, do: http.request, with: {request: nothing}}")
    with pytest.raises(
        PlaybookInvalid, match=r"there is no request `nothing`\n.*there are: nowhere"
    ):
        plan_incident(place, "called", {"accounts": ["pc-1"]})


def test_a_fact_starts_the_clocks_once_with_its_author(place: Place) -> None:
    steps = "  know: {title: K, do: deadlines.start, with: {fact: detection, note: seen at desk}}"
    case = opened(place, steps)
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.DONE
    (fact,) = place.ledger.facts.of(case)
    assert (fact.kind, fact.name, fact.author) == (FactKind.TIME, "detection", "dana")
    assert fact.reference == "seen at desk"
    report = planned(place, steps.replace("detection", "tuesday"))
    assert "no legal clock starts with that" in report.steps[0].impossible


def test_a_clock_counts_from_the_opening_or_the_answer_and_not_from_when_a_runner_came(
    place: Place,
) -> None:
    steps = """
  seen: {title: S, do: deadlines.start, with: {fact: detection}}
  sure: {title: Are you sure?, decide: May we?, options: ["yes", "no"]}
  know: {title: K, needs: [sure], do: deadlines.start, with: {fact: awareness}}
"""
    case = opened(place, steps)
    lifecycle.advance(place, case, "direct")
    step_decisions.answer(place, case, "sure", "yes", by=None)
    lifecycle.advance(place, case, "direct")
    facts = place.ledger.facts.of(case)
    times = {fact.name: fact.at for fact in facts}
    answered = [e.at for e in place.ledger.timeline(case) if e.action == "step.answered"]
    assert times == {
        "detection": place.ledger.incidents.get(case).opened_at,
        "awareness": answered[0],
    }
    assert all(fact.at and fact.at < fact.recorded_at for fact in facts)


def test_a_notice_is_written_and_its_readers_counted_and_nobody_is_told(place: Place) -> None:
    steps = (
        "  write: {title: W, do: notices.prepare, with: {template: staff-heads-up,"
        " audience: staff, context: {what_happened: account-takeover}}}"
    )
    case = opened(place, steps)
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.DONE
    (row,) = place.ledger.effects.of_incident(case)
    assert (row.verb, row.facts["recipients"]) == ("notices.prepare", 3)
    assert place.ledger.incidents.notice(case, "write", 1).digest == row.facts["digest"]


def test_evidence_is_reviewed_into_a_timeline_and_each_look_is_in_the_custody(
    place: Place,
) -> None:
    steps = """
  freeze: {title: F, do: evidence.snapshot}
  look:
    title: L
    needs: [freeze]
    do: evidence.review
    with: {accounts: [agent01], indicators: ["path:calls.*"]}
"""
    case = opened(place, steps)
    outcome = lifecycle.advance(place, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    (row,) = [r for r in place.ledger.effects.of_incident(case) if r.verb == "evidence.review"]
    timeline = place.config.custody.folder / str(row.facts["timeline"])
    lines = timeline.read_text().splitlines()
    assert len(lines) == row.facts["entries"] == 3
    assert '"at":"2026-11-25T02:13:00.000000Z"' in lines[0]
    (one,) = frozen(place.config, case)
    assert "viewed" in (one.folder / "custody.jsonl").read_text()


def test_an_account_with_a_short_name_keeps_no_other_from_being_looked_for(place: Place) -> None:
    steps = """
  freeze: {title: F, do: evidence.snapshot}
  look:
    title: L
    needs: [freeze]
    do: evidence.review
    with: {accounts: [agents:agent01, agents:bob]}
"""
    case = opened(place, steps)
    assert lifecycle.advance(place, case, "direct").exit_status is ExitStatus.DONE
    (row,) = [r for r in place.ledger.effects.of_incident(case) if r.verb == "evidence.review"]
    assert row.facts["entries"] == 2
    assert row.reason.endswith("; 1 account not looked for, by a name that is too short")
    (_, look) = planned(place, steps.replace("agents:agent01, ", "")).steps
    assert "look for them in the frozen copies by hand" in look.impossible


def test_protecting_backups_where_the_keeper_is_not_names_what_to_do_there(place: Place) -> None:
    (step,) = planned(place, "  hold: {title: H, do: backup.protect}").steps
    (reason,) = step.refused
    assert "standfast backup keep hold" in reason


def test_an_exercise_calls_nothing(place: Place) -> None:
    steps = (
        ISOLATE
        + """
  ivr: {title: I, do: service.degrade, with: {service: telephony, mode: callback}}
  hold: {title: H, do: backup.protect}
  know: {title: K, do: deadlines.start, with: {fact: detection}}
  look: {title: L, do: evidence.review, with: {indicators: ["text:wallet"]}}
  back: {title: B, do: drill.last_clean_point, with: {indicators: ["text:wallet"]}}
"""
    )
    case = opened(place, steps, mode=Mode.EXERCISE)
    outcome = lifecycle.advance(place, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert isolated(place) == set()
    assert (place.config.folder / "ivr").read_text() == "normal\n"
    assert list(place.ledger.facts.of(case)) == []
