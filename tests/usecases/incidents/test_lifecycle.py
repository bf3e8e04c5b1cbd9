"""An incident on a real SCIM directory and a real mail server."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.adapters.senders.smtp import sender
from standfast.errors import ApprovalRefused, ExitStatus, Refused, UsageError
from standfast.records import EffectState, Mode, Proof, StepState
from standfast.usecases.approvals import effect_settlement, step_decisions, step_retry
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.incidents.plan import plan_incident
from tests.usecases.conftest import Centre
from tests.usecases.installations import PASSPHRASES, furnish, installation_at, undo_approved


def states(centre: Centre, incident_id: str, verb: str) -> dict[str, EffectState]:
    return {
        row.target.partition(":")[2]: row.state
        for row in centre.installation.ledger.effects.of_incident(incident_id)
        if row.verb == verb
    }


def test_takeover_is_contained_proven_notified_and_undone(centre: Centre) -> None:
    ids = {name: centre.scim.create(name) for name in ("agent01", "agent02", "agent03")}
    case = centre.open("account-takeover", *ids)
    outcome = centre.advance(case)
    assert outcome.exit_status is ExitStatus.WAITS_FOR_PEOPLE
    assert not any(centre.scim.is_active(id_) for id_ in ids.values())
    proofs = [
        row.proof
        for row in centre.installation.ledger.effects.of_incident(case)
        if row.verb == "accounts.prove_locked"
    ]
    assert proofs == [Proof.READ_BACK] * 3
    assert centre.mails_to("staff1@example.com") == 1
    assert centre.mails_to("customer1@example.net") == 0

    step_decisions.answer(centre.installation, case, "customers_affected", "YES", by="lee")
    assert centre.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    assert centre.mails_to("lee@example.com") == centre.mails_to("kim@example.com") == 1
    assert centre.mails_to("customer1@example.net") == 0

    step_decisions.decide(centre.installation, case, None, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    assert all(centre.mails_to(f"customer{n}@example.net") == 1 for n in range(1, 21))

    plan = undo_approved(centre.installation, case, targets=["agent02", "agents:agent03"])
    assert (plan.restores, plan.needs_approvals, plan.kept) == (2, 1, ())
    step_decisions.answer(centre.installation, case, "watch", "nothing more was found")
    step_decisions.answer(
        centre.installation, case, "clocks", "02:40, the client was called", by="lee"
    )
    centre.advance(case)
    half_past = datetime.now(UTC) + timedelta(minutes=31)
    token = centre.scim.token
    with installation_at(centre.config_file, token=token, clock=lambda: half_past) as later:
        lifecycle.advance(later, case, "direct")
        step_decisions.answer(later, case, "close", "handed over to lee")
        outcome = lifecycle.advance(later, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome.summary
    again = outcome.state.steps["still_shut"].counts
    assert (again.done, again.failed) == (1, 0), "the two that were given back are left out"
    assert {name: centre.scim.is_active(id_) for name, id_ in ids.items()} == {
        "agent01": False,
        "agent02": True,
        "agent03": True,
    }
    assert centre.installation.ledger.audit.verify().is_whole


def test_account_disabled_before_stays_disabled(centre: Centre) -> None:
    gone, here = centre.scim.create("gone", is_active=False), centre.scim.create("here")
    case = centre.open("account-takeover", "gone", "here")
    centre.advance(case)
    undo_approved(centre.installation, case)
    centre.advance(case)
    assert (centre.scim.is_active(gone), centre.scim.is_active(here)) == (False, True)


def test_undo_keeps_targets_of_another_incident(centre: Centre) -> None:
    shared, own = centre.scim.create("shared"), centre.scim.create("own")
    first = centre.open("account-takeover", "shared", "own")
    centre.advance(first)
    second = centre.open("account-takeover", "shared")
    centre.advance(second)

    plan = undo_approved(centre.installation, first)
    assert plan.restores == 1
    assert second in plan.kept[0]
    centre.advance(first)
    assert (centre.scim.is_active(shared), centre.scim.is_active(own)) == (False, True)

    # The second incident found the account locked; its undo still restores the state before the
    # first.
    lifecycle.close(centre.installation, first, by="dana")
    undo_approved(centre.installation, second)
    centre.advance(second)
    assert centre.scim.is_active(shared)


def test_unproven_undo_needs_an_approval(centre: Centre) -> None:
    account = centre.scim.create("agent01")
    case = centre.open("lock", "agent01")  # this playbook locks without a proof
    centre.advance(case)
    plan = effect_undo.undo(centre.installation, case, requested_by="dana")
    assert plan.needs_approvals == 1
    centre.advance(case)
    assert not centre.scim.is_active(account)
    step_decisions.decide(centre.installation, case, plan.step, "kim", PASSPHRASES["kim"])
    centre.advance(case)
    assert centre.scim.is_active(account)


def test_protected_and_unknown_accounts_are_refused_and_named(centre: Centre) -> None:
    protected, account = centre.scim.create("break-glass"), centre.scim.create("agent01")
    case = centre.open("lock", "break-glass", "agent01", "nobody")
    outcome = centre.advance(case)
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert states(centre, case, "accounts.lock") == {
        "break-glass": EffectState.REFUSED,
        "agent01": EffectState.DONE,
        "nobody": EffectState.REFUSED,
    }
    assert centre.scim.is_active(protected)
    assert not centre.scim.is_active(account)


def test_unsigned_requester_needs_one_more_approval(centre: Centre) -> None:
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agent01", opened_by=None)
    centre.advance(case)
    step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
    centre.advance(case)
    assert (
        step_decisions.decide(centre.installation, case, None, "lee", PASSPHRASES["lee"]).given == 1
    )
    assert centre.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    assert centre.mails_to("customer1@example.net") == 0
    step_decisions.decide(centre.installation, case, None, "kim", PASSPHRASES["kim"])
    centre.advance(case)
    assert centre.mails_to("customer1@example.net") == 1


def test_many_accounts_wait_for_a_second_person(centre: Centre) -> None:
    accounts = [f"agent{n:03}" for n in range(201)]
    case = centre.open("lock", *(f"agents:{name}" for name in accounts))
    assert centre.advance(case).state.steps["lock"].state is StepState.ASKING
    assert set(states(centre, case, "accounts.lock").values()) == {EffectState.PLANNED}


@pytest.mark.parametrize(
    ("person", "passphrase", "why"),
    [
        ("lee", "not the passphrase", "not the passphrase"),
        ("dana", PASSPHRASES["dana"], "lacks the roles"),
    ],
)
def test_invalid_approval_is_refused_and_recorded(
    centre: Centre, person: str, passphrase: str, why: str
) -> None:
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agent01")
    centre.advance(case)
    step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
    centre.advance(case)
    with pytest.raises(ApprovalRefused, match=why):
        step_decisions.decide(centre.installation, case, None, person, passphrase)
    assert centre.advance(case).state.steps["tell_customers"].state is StepState.ASKING


def test_owner_of_a_targeted_account_cannot_approve(centre: Centre) -> None:
    centre.scim.create("lee")
    case = centre.open("account-takeover", "lee")
    centre.advance(case)
    step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
    centre.advance(case)
    with pytest.raises(ApprovalRefused, match="among the targets"):
        step_decisions.decide(centre.installation, case, None, "lee", PASSPHRASES["lee"])


def test_stopped_incident_acts_after_resume_only(centre: Centre) -> None:
    account = centre.scim.create("agent01")
    case = centre.open("lock", "agent01")
    lifecycle.stop(centre.installation, case, by="dana")
    assert centre.advance(case).exit_status is ExitStatus.WAITS_FOR_PEOPLE
    assert centre.scim.is_active(account)
    lifecycle.resume(centre.installation, case, by="dana")
    assert centre.advance(case).exit_status is ExitStatus.DONE
    assert not centre.scim.is_active(account)


def test_a_repeated_trigger_joins_the_open_incident(centre: Centre) -> None:
    first = centre.open("lock", "agent01", trigger="alert 17")
    assert centre.open("lock", "agent01", trigger="alert 17") == first
    lifecycle.close(centre.installation, first, by="dana")
    assert centre.open("lock", "agent01", trigger="alert 17") != first


def test_two_runners_act_once(centre: Centre) -> None:
    ids = [centre.scim.create(f"agent{n:02}") for n in range(12)]
    case = centre.open("account-takeover", *(f"agent{n:02}" for n in range(12)))
    runners = [threading.Thread(target=centre.advance, args=(case,)) for _ in range(3)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert not any(centre.scim.is_active(id_) for id_ in ids)
    rows = centre.installation.ledger.effects.of_incident(case)
    assert {row.tries for row in rows} == {1}
    assert all(centre.mails_to(f"staff{n}@example.com") == 1 for n in (1, 2, 3))


def test_refused_recipient_does_not_stop_others(
    centre: Centre,
) -> None:
    centre.smtp.answer_recipient("staff2@example.com", "550 5.1.1 no such mailbox")
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agent01")
    centre.advance(case)
    assert states(centre, case, "notices.send") == {
        "staff1@example.com": EffectState.DONE,
        "staff2@example.com": EffectState.REFUSED,
        "staff3@example.com": EffectState.DONE,
    }


@pytest.mark.usefixtures("calls_settle_at_once")
def test_possibly_accepted_message_waits_for_a_person(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "RELAY_AWAY_SECONDS", 0.2)
    centre.smtp.drop_after_data()
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agent01")
    centre.advance(case)
    unknown = [
        row
        for row in centre.installation.ledger.effects.of_incident(case)
        if row.state is EffectState.UNKNOWN
    ]
    assert len(unknown) == 1
    assert unknown[0].is_parked
    effect_settlement.settle(centre.installation, case, unknown[0].token[:8], happened=True)
    assert set(states(centre, case, "notices.send").values()) == {EffectState.DONE}
    assert sum(centre.mails_to(f"staff{n}@example.com") for n in (1, 2, 3)) == 3


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "agnets:agent01",
            "and no directory has that name; the known names are: agents; did you mean",
        ),
        ("agent01,agent02", "separate several accounts by spaces"),
    ],
)
def test_probable_typo_is_reported_without_name(centre: Centre, typed: str, says: str) -> None:
    report = plan_incident(centre.installation, "lock", {"accounts": [typed]})
    (step,) = report.steps
    (reason,) = dict(step.refused)
    assert says in reason
    assert "agent01" not in reason


def test_a_plan_reads_and_changes_nothing(centre: Centre) -> None:
    account = centre.scim.create("agent01")
    version = centre.scim.version(account)
    report = plan_incident(
        centre.installation, "account-takeover", {"accounts": ["agent01", "nobody"]}
    )
    by_name = {step.name: step for step in report.steps}
    assert by_name["lock"].targets == 1
    assert dict(by_name["lock"].refused) == {"no directory knows this account": 1}
    assert by_name["tell_customers"].targets == 20
    assert by_name["tell_customers"].is_irreversible
    assert report.exit_status is ExitStatus.PARTIAL
    assert centre.scim.version(account) == version
    assert centre.smtp.delivered == ()
    assert "customer1@example.net" not in json.dumps(report.as_json())


def test_excluded_step_is_planned_as_skipped(centre: Centre) -> None:
    report = plan_incident(centre.installation, "ransomware", {})
    lock = next(step for step in report.steps if step.name == "lock")
    assert (lock.is_left_out, lock.impossible, lock.targets) == (True, "", 0)
    assert any("left out by the inputs" in note for note in lock.notes)


def test_an_answer_that_is_no_option_is_refused(centre: Centre) -> None:
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agent01")
    centre.advance(case)
    with pytest.raises(UsageError, match="yes"):
        step_decisions.answer(centre.installation, case, "customers_affected", "perhaps", by="lee")
    with pytest.raises(UsageError, match="no_such_step"):
        step_decisions.answer(centre.installation, case, "no_such_step", "yes")


def test_unwritable_witness_stops_no_containment(
    centre: Centre,
) -> None:
    account = centre.scim.create("agent01")
    witness = centre.installation.config.ledger.witness
    witness.unlink()
    witness.mkdir()
    outcome = centre.advance(centre.open("lock", "agent01"))
    assert not centre.scim.is_active(account)
    assert outcome.exit_status is ExitStatus.USAGE
    assert any("witness" in trouble for trouble in outcome.troubles)


def test_directory_added_later_is_not_touched(centre: Centre) -> None:
    account = centre.scim.create("agent01")
    text = centre.config_file.read_text()
    without = text.replace("[accounts.agents]", "[accounts.old]").replace("agents:", "old:")
    centre.config_file.write_text(without)
    with installation_at(centre.config_file, token=centre.scim.token) as before:
        case = lifecycle.open_incident(
            before, "lock", {"accounts": ["agent01"]}, mode=Mode.LIVE, opened_by="dana"
        ).incident
    outcome = centre.advance(case)  # the directory was renamed to `agents` meanwhile
    assert centre.scim.is_active(account)
    assert states(centre, case, "accounts.lock") == {"agent01": EffectState.REFUSED}
    assert outcome.exit_status is ExitStatus.FAILED


def test_a_closed_incident_undoes_nothing(centre: Centre) -> None:
    centre.scim.create("agent01")
    case = centre.open("lock", "agent01")
    centre.advance(case)
    lifecycle.close(centre.installation, case, by="dana")
    with pytest.raises(Refused, match="closed"):
        effect_undo.undo(centre.installation, case, requested_by="dana")


def test_closed_incident_can_be_neither_stopped_nor_resumed(centre: Centre) -> None:
    centre.scim.create("agent01")
    case = centre.open("lock", "agent01")
    centre.advance(case)
    lifecycle.close(centre.installation, case, by="dana")
    for ask in (lifecycle.stop, lifecycle.resume):
        with pytest.raises(Refused, match=f"{case}: closed"):
            ask(centre.installation, case)


def test_unknown_step_is_not_retried(centre: Centre) -> None:
    case = centre.open("lock", "agent01")
    with pytest.raises(UsageError, match=r"'lok'.*steps are: lock"):
        step_retry.retry(centre.installation, case, "lok")


def test_missing_mail_password_prevents_no_lock(tmp_path: Path, centre: Centre) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    config_file = furnish(folder, scim_url=centre.scim.url, smtp_port=1)
    text = config_file.read_text().replace(
        'security = "none"', 'security = "starttls"\nusername = "u"\npassword = "env:NOT_THERE"'
    )
    config_file.write_text(text)
    account = centre.scim.create("agent01")
    with installation_at(config_file, token=centre.scim.token) as installation:
        opened = lifecycle.open_incident(
            installation, "account-takeover", {"accounts": ["agent01"]}, mode=Mode.LIVE
        )
        outcome = lifecycle.advance(installation, opened.incident, "direct")
        failed = [
            row
            for row in installation.ledger.effects.of_incident(opened.incident)
            if row.verb == "notices.send"
        ]
    assert not centre.scim.is_active(account)
    assert outcome.state.steps["tell_staff"].counts.failed == 3
    assert all("env:NOT_THERE" in row.reason for row in failed)
