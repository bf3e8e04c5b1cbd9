"""Steps that call configured and built-in procedures: plan, run, undo."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.config.schema import ProtectedConfig
from standfast.config.sections.backup import BackupSetConfig, SqliteSourceConfig
from standfast.config.sections.procedures import ParameterConfig
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ExitStatus, PlaybookInvalid
from standfast.records import EffectState, Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import frozen
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.incidents.plan import PlanReport, plan_incident
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

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
[services.telephony.modes.paper]
kind = "paper"
instructions = "Write each order on form 7."
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
def installation(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Installation]:
    config_file = furnish(tmp_path, smtp_port=smtp_server.port)
    for name in ("isolated", "playbooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "ivr").write_text("normal\n")
    with config_file.open("a") as file:
        file.write(_MORE.format(folder=tmp_path))
    write(tmp_path, "  wait: {title: W, wait: 1s}")
    with installation_at(config_file) as opened:
        enrol_people(opened)
        yield opened


def write(folder: Path, steps: str) -> None:
    (folder / "playbooks/called.yaml").write_text(_PLAYBOOK.format(steps=steps))


def opened(installation: Installation, steps: str, *hosts: str, mode: Mode = Mode.LIVE) -> str:
    write(installation.config.folder, steps)
    return lifecycle.open_incident(
        installation, "called", {"accounts": list(hosts) or ["pc-1"]}, mode=mode, opened_by="dana"
    ).incident


def planned(installation: Installation, steps: str, *hosts: str) -> PlanReport:
    write(installation.config.folder, steps)
    return plan_incident(
        installation, "called", {"accounts": list(hosts) or ["pc-1"]}, is_signed=True
    )


def isolated(installation: Installation) -> set[str]:
    return {path.name for path in (installation.config.folder / "isolated").iterdir()}


def rows(installation: Installation, case: str, verb: str) -> dict[str, EffectState]:
    return {
        row.target: row.state
        for row in installation.ledger.effects.of_incident(case)
        if row.verb == verb
    }


ISOLATE = """
  isolate:
    title: Isolate
    do: run.command
    with: {command: isolate, targets: "{{ inputs.accounts }}"}
"""


def test_command_runs_per_target_and_undo_restores(
    installation: Installation,
) -> None:
    (installation.config.folder / "isolated/pc-2").touch()
    case = opened(installation, ISOLATE, "pc-1", "pc-2")
    outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert isolated(installation) == {"pc-1", "pc-2"}
    plan = effect_undo.undo(installation, case, requested_by="dana")
    assert (plan.restores, plan.kept) == (2, ())
    outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert isolated(installation) == {"pc-2"}
    assert rows(installation, case, "run.undo") == {
        "commands.isolate:pc-1": EffectState.DONE,
        "commands.isolate:pc-2": EffectState.DONE,
    }
    assert installation.ledger.audit.verify().is_whole


def test_single_target_is_undone_unless_held(
    installation: Installation,
) -> None:
    first, second = (opened(installation, ISOLATE, "pc-1", "pc-2") for _ in range(2))
    for case in (first, second):
        lifecycle.advance(installation, case, "direct")
    kept = effect_undo.undo(installation, first, targets=["pc-1"], requested_by="dana")
    assert kept.restores == 0
    assert second in kept.kept[0]
    lifecycle.close(installation, first, by="dana")
    assert (
        effect_undo.undo(installation, second, targets=["pc-1"], requested_by="dana").restores == 1
    )
    lifecycle.advance(installation, second, "direct")
    assert isolated(installation) == {"pc-2"}


def test_unfit_target_is_refused_by_name(
    installation: Installation,
) -> None:
    report = planned(installation, ISOLATE, "pc-1", "--all")
    (step,) = report.steps
    assert step.targets == 1
    (reason,) = step.refused
    assert "the parameter 'target' of commands.isolate must be" in reason
    assert report.exit_status is ExitStatus.PARTIAL
    assert isolated(installation) == set()


def test_irreversible_call_needs_an_approval(
    installation: Installation,
) -> None:
    bare = "  wipe: {title: W, do: run.command, with: {command: wipe}}"
    report = planned(installation, bare)
    assert report.exit_status is ExitStatus.REFUSED
    assert "'wipe'" in report.steps[0].impossible
    assert "cannot be undone" in report.steps[0].impossible
    asked = bare.replace("with:", "approval: {count: 1}, with:")
    (step,) = planned(installation, asked).steps
    assert "commands.wipe: cannot be undone" in step.notes
    assert any("cannot be checked" in note for note in step.notes)
    assert step.approvals == 1
    case = opened(installation, asked)
    assert (
        lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.WAITS_FOR_PEOPLE
    )
    assert not (installation.config.folder / "wiped").exists()
    step_decisions.decide(installation, case, "wipe", "lee", PASSPHRASES["lee"])
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    assert (installation.config.folder / "wiped").exists()
    assert "no undo" in effect_undo.undo(installation, case, requested_by="dana").kept[0]


def test_a_service_is_switched_and_switched_back(installation: Installation) -> None:
    ivr = installation.config.folder / "ivr"
    steps = "  ivr: {title: I, do: service.degrade, with: {service: telephony, mode: callback}}"
    case = opened(installation, steps)
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    assert ivr.read_text() == "callback\n"
    assert rows(installation, case, "service.degrade") == {
        "service.telephony:telephony": EffectState.DONE
    }
    effect_undo.undo(installation, case, targets=["telephony"], requested_by="dana")
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    assert ivr.read_text() == "normal\n"
    report = planned(installation, steps.replace("callback", "pigeons"))
    assert "no mode 'pigeons'; its modes: callback" in report.steps[0].impossible
    by_hand = planned(installation, steps.replace("callback", "paper"))
    assert "entered by hand" in by_hand.steps[0].impossible


def test_mode_locking_protected_account_is_refused(
    installation: Installation,
) -> None:
    steps = "  ivr: {title: I, do: service.degrade, with: {service: telephony, mode: callback}}"
    protected = ProtectedConfig(accounts={"phones:callback": "the emergency line"})
    ivr = installation.config.commands["ivr"]
    line = ParameterConfig(type="choice", options=("callback", "closed"), account_of="phones")
    command = ivr.model_copy(update={"parameters": {"mode": line}})
    config = installation.config.model_copy(
        update={"protected": protected, "commands": {"ivr": command}}
    )
    installation = replace(installation, config=config)
    case = opened(installation, steps)
    lifecycle.advance(installation, case, "direct")
    assert rows(installation, case, "service.degrade") == {
        "service.telephony:telephony": EffectState.REFUSED
    }
    assert (installation.config.folder / "ivr").read_text() == "normal\n"


def test_unlisted_procedure_lists_the_existing_ones(installation: Installation) -> None:
    write(installation.config.folder, "  x: {title: X, do: http.request, with: {request: nothing}}")
    with pytest.raises(PlaybookInvalid, match=r"`nothing`\n.*nowhere"):
        plan_incident(installation, "called", {"accounts": ["pc-1"]})


def test_fact_starts_clocks_with_its_author(installation: Installation) -> None:
    steps = "  know: {title: K, do: deadlines.start, with: {fact: detection, note: seen at desk}}"
    case = opened(installation, steps)
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    (fact,) = installation.ledger.facts.of_incident(case)
    assert (fact.kind, fact.name, fact.author) == (FactKind.TIME, "detection", "dana")
    assert fact.reference == "seen at desk"
    report = planned(installation, steps.replace("detection", "tuesday"))
    assert "no legal clock starts with it" in report.steps[0].impossible


def test_clock_counts_from_opening_or_answer(
    installation: Installation,
) -> None:
    steps = """
  seen: {title: S, do: deadlines.start, with: {fact: detection}}
  sure: {title: Are you sure?, decide: May we?, options: ["yes", "no"]}
  know: {title: K, needs: [sure], do: deadlines.start, with: {fact: awareness}}
"""
    case = opened(installation, steps)
    lifecycle.advance(installation, case, "direct")
    step_decisions.answer(installation, case, "sure", "yes", by=None)
    lifecycle.advance(installation, case, "direct")
    facts = installation.ledger.facts.of_incident(case)
    times = {fact.name: fact.at for fact in facts}
    answered = [e.at for e in installation.ledger.timeline(case) if e.action == "step.answered"]
    assert times == {
        "detection": installation.ledger.incidents.get(case).opened_at,
        "awareness": answered[0],
    }
    assert all(fact.at and fact.at < fact.recorded_at for fact in facts)


def test_prepared_notice_counts_and_notifies_nobody(
    installation: Installation,
) -> None:
    steps = (
        "  write: {title: W, do: notices.prepare, with: {template: staff-heads-up,"
        " audience: staff, context: {what_happened: account-takeover}}}"
    )
    case = opened(installation, steps)
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    (row,) = installation.ledger.effects.of_incident(case)
    assert (row.verb, row.facts["recipients"]) == ("notices.prepare", 3)
    assert installation.ledger.incidents.notice(case, "write", 1).digest == row.facts["digest"]


def test_evidence_review_is_recorded_in_custody(
    installation: Installation,
) -> None:
    steps = """
  freeze: {title: F, do: evidence.snapshot}
  look:
    title: L
    needs: [freeze]
    do: evidence.review
    with: {accounts: [agent01], indicators: ["path:calls.*"]}
"""
    case = opened(installation, steps)
    outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    (row,) = [
        r for r in installation.ledger.effects.of_incident(case) if r.verb == "evidence.review"
    ]
    timeline = installation.config.custody.folder / str(row.facts["timeline"])
    lines = timeline.read_text().splitlines()
    assert len(lines) == row.facts["entries"] == 3
    assert '"at":"2026-11-25T02:13:00.000000Z"' in lines[0]
    (one,) = frozen(installation.config, case)
    assert "viewed" in (one.folder / "custody.jsonl").read_text()


def test_short_name_does_not_stop_the_search(
    installation: Installation,
) -> None:
    steps = """
  freeze: {title: F, do: evidence.snapshot}
  look:
    title: L
    needs: [freeze]
    do: evidence.review
    with: {accounts: [agents:agent01, agents:bob]}
"""
    case = opened(installation, steps)
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    (row,) = [
        r for r in installation.ledger.effects.of_incident(case) if r.verb == "evidence.review"
    ]
    assert row.facts["entries"] == 2
    assert row.reason.endswith("; 1 account not searched, because the name is too short")
    (_, look) = planned(installation, steps.replace("agents:agent01, ", "")).steps
    assert "the frozen copies for them by hand" in look.impossible


def test_protection_without_keeper_names_the_action(
    installation: Installation,
) -> None:
    (step,) = planned(installation, "  hold: {title: H, do: backup.protect}").steps
    (reason,) = step.refused
    assert "standfast backup keep hold" in reason


def test_clean_points_are_searched_in_sets_with_data(installation: Installation) -> None:
    backup = installation.config.backup
    source = SqliteSourceConfig(kind="sqlite", name="crm", path=Path("crm.db"))
    sets = {name: BackupSetConfig(sources=(source,)) for name in ("crm", "installation")}
    config = installation.config.model_copy(
        update={"backup": backup.model_copy(update={"sets": sets})}
    )
    step = '  back: {title: B, do: drill.last_clean_point, with: {indicators: ["text:wallet"]}}'
    (back,) = planned(replace(installation, config=config), step).steps
    assert list(back.refused.values()) == [1]


def test_an_exercise_calls_nothing(installation: Installation) -> None:
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
    case = opened(installation, steps, mode=Mode.EXERCISE)
    outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome
    assert isolated(installation) == set()
    assert (installation.config.folder / "ivr").read_text() == "normal\n"
    assert list(installation.ledger.facts.of_incident(case)) == []
