"""Incidents at the command line, on a real directory and mail server."""

from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES


def test_account_takeover_runs_from_plan_to_closure(
    desk: Desk, live_installation: Path, scim_server: ScimServer, smtp_server: SmtpServer
) -> None:
    ids = [scim_server.create(f"agent{n:02}") for n in range(1, 4)]
    (live_installation / "accounts.txt").write_text("agent01\nagent02\n\nagent03\n")
    given = (
        "-i",
        f"accounts=@{live_installation}/accounts.txt",
        "--input",
        "reason=strange sign-ins",
    )

    planned = desk.json("incident", "plan", "account-takeover", *given, "--as", "dana")
    assert planned["exit_status"] == 0, planned
    assert {one["step"]: one["targets"] for one in planned["steps"]}["lock"] == 3
    assert all(scim_server.is_active(one) for one in ids)

    desk.sign_in_with(PASSPHRASES["dana"])
    opened = desk.json("incident", "open", "account-takeover", *given, "--as", "dana")
    assert opened["exit_status"] == 5
    assert not any(scim_server.is_active(one) for one in ids)
    incident_id = opened["incident"]
    assert "read back only" in desk.run("incident", "status", "--targets").out

    unsigned = desk.run("incident", "answer", "customers_affected", "YES")
    assert unsigned.status == 4
    assert "--as PERSON" in unsigned.err
    desk.sign_in_with(PASSPHRASES["lee"])
    answered = desk.run("incident", "answer", "customers_affected", "YES", "--as", "lee")
    assert answered.status == 5
    assert "customers_affected: recorded." in answered.out
    assert len(smtp_server.delivered) == 1 + 2, "staff, and the two duty managers are paged"

    desk.sign_in_with(PASSPHRASES["kim"])
    asked = ("incident", "approve", incident_id, "tell_customers", "--digest", desk.asked())
    approved = desk.run(*asked, "--as", "kim")
    assert approved.status == 5
    assert "tell_customers: 1 of 1 approval." in approved.out
    assert "3 notified" in approved.out
    assert len(smtp_server.delivered) == 1 + 2 + 3

    ended = desk.run("incident", "answer", incident_id, "watch", "given in person")
    assert ended.status == 5, "half an hour is let pass, and a person hands over"
    assert desk.run("evidence", "verify", incident_id).status == 0
    closed = desk.run("incident", "close", *desk.by("dana"))
    assert closed.status == 0
    left = "Not finished: clocks, reuse, freeze_again, traces, still_shut, close."
    assert left in closed.out
    assert desk.run("incident", "close", incident_id, *desk.by("dana")).status == 2
    assert desk.run("audit", "verify").status == 0


def test_incomplete_targets_are_counted_with_reason_and_action(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    scim_server.create("break-glass")
    answer = desk.run("lock", "alice", "agents:break-glass", "agents:nobody")
    assert answer.status == 3
    assert "lock: 1 of 3 locked" in answer.out
    assert "protected: the way in when all else is locked" in answer.out
    assert "no such account" in answer.out
    assert "→ not retried: remove the cause" in answer.out
    assert "nobody" not in answer.out, "targets are named where they are asked for"
    shown = desk.run("incident", "status", "--targets")
    assert (shown.status, "agents:nobody" in shown.out) == (3, True)


def test_each_view_of_targets_is_in_timeline(desk: Desk, quiet_installation: Path) -> None:
    desk.run("lock", "alice", "--exercise")
    desk.json("incident", "status", "--targets")
    looks = [
        event
        for event in desk.json("incident", "status", "--timeline")["timeline"]
        if event["action"] == "targets.viewed"
    ]
    assert [event["detail"] for event in looks] == [{"count": 1}]


def test_stopped_incident_waits_for_resume(desk: Desk, quiet_installation: Path) -> None:
    opened = desk.json("incident", "open", "leaver", "-i", "accounts=a", "--exercise", "--no-wait")
    assert opened["serve"] is False
    assert desk.json("incident", "stop", *desk.by("dana"))["is_stopped"] is True
    assert "is stopped" in desk.run("incident", "stop", opened["incident"], *desk.by("dana")).out
    still = desk.json("incident", "status")
    assert (still["exit_status"], still["steps"]) == (5, [])
    resumed = desk.json("incident", "resume", *desk.by("dana"))
    assert {one["step"]: one["state"] for one in resumed["steps"]}["lock"] == "done"


def test_refusal_closes_the_step_visibly(desk: Desk, quiet_installation: Path) -> None:
    desk.sign_in_with(PASSPHRASES["dana"])
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    desk.run(*words, "--as", "dana")
    desk.sign_in_with(PASSPHRASES["lee"])
    desk.run("incident", "answer", "customers_affected", "yes", "--as", "lee")
    refused = desk.json("incident", "approve", "--as", "lee", "--refuse")
    assert refused["approval"]["decision"] == "refuse"
    (tell,) = [one for one in refused["steps"] if one["step"] == "tell_customers"]
    assert tell["state"] == "refused"
    (planned,) = tell["results"][0]["not_done"]
    assert planned["what_to_do"] == "an approver refused the step: nothing of it is done"


def test_corrected_answer_names_the_begun_steps(desk: Desk, quiet_installation: Path) -> None:
    desk.run("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    desk.sign_in_with(PASSPHRASES["lee"])
    answer = ("incident", "answer", "customers_affected")
    desk.run(*answer, "no", "--as", "lee")
    refused = desk.run(*answer, "yes", "--as", "lee")
    assert refused.status == 2
    assert "--again" in refused.err
    corrected = desk.run(*answer, "yes", "--again", "--as", "lee")
    assert corrected.status == 5
    assert "customers_affected: corrected." in corrected.out
    back = desk.run(*answer, "no", "--again", "--as", "lee").out
    assert "not undone: start_clocks, clocks." in back
    assert "tell_customers still asks for approval" in back
    forth = desk.json(*answer, "yes", "--again", "--as", "lee")
    assert forth["begun_by_the_earlier_answer"] == ["start_clocks", "clocks", "tell_customers"]


def test_requester_cannot_approve(desk: Desk, quiet_installation: Path) -> None:
    desk.sign_in_with(PASSPHRASES["dana"])
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    desk.run(*words, "--as", "dana")
    desk.sign_in_with(PASSPHRASES["lee"])
    desk.run("incident", "answer", "customers_affected", "yes", "--as", "lee")
    desk.sign_in_with(PASSPHRASES["dana"])
    answer = desk.run("incident", "approve", "--digest", desk.asked(), "--as", "dana")
    assert answer.status == 4
    assert "duty-manager" in answer.err or "opened the incident" in answer.err


def test_incident_id_is_optional_while_one_is_open(desk: Desk, quiet_installation: Path) -> None:
    assert "incident: none is open" in desk.run("incident", "status").err
    first = desk.json("lock", "alice", "--exercise")["incident"]
    assert desk.json("incident", "status")["incident"] == first
    second = desk.json("lock", "bob", "--exercise")["incident"]
    answer = desk.run("incident", "status")
    assert answer.status == 2
    assert f"{first} (lock, exercise), {second} (lock, exercise)" in answer.err
    assert desk.json("incident", "status", second)["incident"] == second
    listed = desk.json("incident", "list", "--open")["incidents"]
    assert [one["incident"] for one in listed] == [first, second]


def test_wrong_argument_count_is_an_error(desk: Desk, quiet_installation: Path) -> None:
    desk.run("lock", "alice", "--exercise")
    for words in (["answer", "lock"], ["accept"], ["settle", "3f", "yes", "no"], ["settle", "3f"]):
        answer = desk.run("incident", *words)
        assert answer.status == 2, words
    assert "not yes or no" in desk.run("incident", "settle", "3f", "perhaps").err
    assert "0 unknown effects" in desk.run("incident", "settle", "3f", "yes").err


HELD = """\
playbook: held
version: 1
title: Lock, then look
use_when: A test asks for it.
inputs:
  accounts: {type: accounts, required: true}
steps:
  lock:
    title: Lock
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
    on_partial: hold
  after:
    title: Look
    needs: [lock]
    manual: Look.
"""


def test_accepted_partial_step_lets_the_rest_continue(
    desk: Desk, live_installation: Path, scim_server: ScimServer, smtp_server: SmtpServer
) -> None:
    scim_server.create("alice")
    held = live_installation / "held.yaml"
    held.write_text(HELD)
    config_file = live_installation / "standfast.toml"
    config_file.write_text(
        config_file.read_text() + f'\n[playbooks]\nfolder = "{live_installation}"\n'
    )
    opened = desk.json("incident", "open", "held", "-i", "accounts=alice,agents:nobody")
    assert opened["exit_status"] == 5
    assert "`lock` blocks `after`" in opened["next_step"]
    accepted = desk.json("incident", "accept", "lock")
    assert {one["step"]: one["state"] for one in accepted["steps"]}["after"] == "prompted"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["-i", "accounts"], "the form is NAME=VALUE"),
        (["-i", "accounts=a", "-i", "accounts=b"], "is given twice"),
        (["-i", "accounts=@missing.txt"], "missing.txt: cannot be read"),
        (["-i", "acounts=a"], "has no input `acounts`"),
        ([], "input `accounts` is missing"),
    ],
)
def test_inputs_that_do_not_fit_open_nothing(
    given: list[str], why: str, desk: Desk, quiet_installation: Path
) -> None:
    answer = desk.run("incident", "open", "lock", *given)
    assert answer.status == 2
    assert why in answer.err
    assert desk.json("incident", "list")["incidents"] == []


def test_approval_without_possible_approver_is_reported(
    desk: Desk, quiet_installation: Path
) -> None:
    desk.sign_in_with(PASSPHRASES["dana"])
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    assert desk.json(*words, "--as", "dana")["warnings"] == []
    desk.sign_in_with(PASSPHRASES["lee"])
    answer = ("incident", "answer", "customers_affected", "yes", "--as", "lee")
    assert desk.json(*answer)["warnings"] == []
    for name in ("lee", "kim"):
        owner = ("--owner-key", quiet_installation / "offline/owner.json")
        assert desk.run("people", "remove", name, *owner).status == 0
    told = desk.run("incident", "status")
    assert (
        "Warning: `tell_customers` needs 1 approval, but 0 people with the role duty-manager "
        "can approve it now" in told.out
    )
    assert "was paged" not in told.out


def test_closure_names_unexecuted_steps(desk: Desk, quiet_installation: Path) -> None:
    desk.run("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    closed = desk.run("incident", "close", *desk.by("dana"))
    assert closed.status == 0
    assert (
        "Not finished: customers_affected, start_clocks, clocks, tell_customers, "
        "reuse, freeze_again, traces, still_shut, watch, close." in closed.out
    )


def test_stop_counts_calls_that_still_end(desk: Desk, quiet_installation: Path) -> None:
    desk.run("incident", "open", "leaver", "-i", "accounts=a", "--exercise", "--no-wait")
    assert (
        "is stopped; 0 done, 0 not started." in desk.run("incident", "stop", *desk.by("dana")).out
    )


def test_inputs_and_targets_are_shown_and_recorded(desk: Desk, quiet_installation: Path) -> None:
    given = ("--input", "accounts=agents:lee", "--input", "reason=a strange call")
    opened = desk.json("incident", "open", "lock", "--exercise", *given)
    assert "a strange call" not in desk.run("incident", "status", opened["incident"]).out
    shown = desk.run("incident", "status", opened["incident"], "--targets")
    assert "a strange call" in shown.out
    assert "targets.viewed" in desk.run("audit", "show", opened["incident"]).out


def test_manual_tasks_precede_the_next_step(desk: Desk, quiet_installation: Path) -> None:
    opened = desk.run("incident", "open", "platform-outage", "--exercise", "-i", "service=phones")
    assert opened.status == 5
    assert opened.out.index("Find out first:\n  - ") < opened.out.index("Next: ")
    answered = desk.run("incident", "answer", "attack", "no")
    assert "\nInform callers about the outage:\n  - " in answered.out


def test_stop_takes_one_incident_or_all(desk: Desk, quiet_installation: Path) -> None:
    given = ("--input", "accounts=agents:lee")
    opened = desk.json("incident", "open", "lock", "--exercise", *given)["incident"]
    answer = desk.run("incident", "stop", opened, "--all", *desk.by("dana"))
    assert (answer.status, "exclude each other" in answer.err) == (2, True)
    (only,) = desk.json("incident", "list")["incidents"]
    assert not only["is_stopped"]


def test_missing_argument_lists_all_arguments(desk: Desk, quiet_installation: Path) -> None:
    answer = desk.run("incident", "answer", "inc-2026-0001", "lock")
    assert answer.status == 2
    assert "expected STEP and TEXT" in answer.err


def test_plan_counts_only_enrolled_approvers(desk: Desk, quiet_installation: Path) -> None:
    words = ("incident", "plan", "lock", "--input", "accounts=agents:lee", "--as")
    answer = desk.run(*words, "danna")
    assert (answer.status, "'danna': not enrolled" in answer.err) == (2, True)
    assert "nobody signed in" not in desk.run(*words, "dana").out


def test_impossible_plan_states_the_next_action(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(
        text[: text.index("[accounts.agents]")] + text[text.index("[evidence") :]
    )
    text = config_file.read_text()
    config_file.write_text(text[: text.index("[protected.accounts]")])
    answer = desk.run("incident", "plan", "account-takeover", "-i", "accounts=alice")
    assert answer.status == 4
    last = answer.out.splitlines()[-1]
    assert last.startswith("Next: ")
    assert "lock, prove" in last
    assert "`standfast lock ACCOUNT…`" in last


def test_invalid_exercise_does_not_suggest_an_exercise(
    desk: Desk, quiet_installation: Path
) -> None:
    (quiet_installation / "playbooks").mkdir()
    (quiet_installation / "playbooks/odd.yaml").write_text(
        "playbook: odd\nversion: 1\ntitle: Odd\n"
    )
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    live = desk.run("incident", "open", "odd")
    played = desk.run("incident", "open", "odd", "--exercise")
    assert (live.status, played.status) == (2, 2)
    assert "Nothing was opened" in live.err
    assert "Nothing was opened" in played.err
    assert "add --exercise" in live.err
    assert "--exercise" not in played.err


def test_note_is_added_and_listed(desk: Desk, quiet_installation: Path) -> None:
    (quiet_installation / "letter.txt").write_text("We have your data.")
    incident = desk.json("lock", "alice", "--no-wait")["incident"]
    added = desk.json("incident", "note", "A demand.", "--file", f"{quiet_installation}/letter.txt")
    assert added["exit_status"] == 0, added
    assert added["note"]["files"] == 1
    listed = desk.json("incident", "note", incident)
    assert [note["text"] for note in listed["notes"]] == ["A demand."]
    assert desk.run("incident", "note", "--file", "letter.txt").status == 2
    assert desk.run("evidence", "verify", incident).status == 0


def test_affected_people_are_listed_and_shown(desk: Desk, quiet_installation: Path) -> None:
    people = quiet_installation / "people.csv"
    people.write_text("mail,id\nana@example.net,1\nbob@example.net,2\n")
    incident = desk.json("lock", "alice", "--no-wait")["incident"]
    given = ("--csv", str(people), "--column", "address=mail", "--column", "key=id")
    added = desk.json("incident", "affected", "add", *given, "--exposed", "iban")
    assert added["added"] == 2, added
    shown = desk.json("incident", "affected", "show", incident, "--names")
    assert shown["by_field"] == {"iban": 2}
    assert [person["key"] for person in shown["names"]] == ["1", "2"]
    assert desk.run("incident", "affected", "add", incident).status == 2


def test_opening_takes_affected_people(desk: Desk, quiet_installation: Path) -> None:
    people = quiet_installation / "people.csv"
    words = ("incident", "open", "lock", "-i", "accounts=alice", "--no-wait")
    assert desk.run(*words, "--affected", str(people)).status == 2
    people.write_text("mail\nana@example.net\n")
    assert desk.run(*words, "--affected", str(people)).status == 2
    assert desk.json("incident", "list")["incidents"] == []
    people.write_text("email,name,place\nana@example.net,Ana,US-CA\n")
    incident = desk.json(*words, "--affected", str(people))["incident"]
    assert desk.json("incident", "affected", "show", incident)["by_place"] == {"US-CA": 1}


def test_accounts_are_added_to_an_incident(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    ids = [scim_server.create(name) for name in ("alice", "bob")]
    assert desk.run("lock", "alice").status == 0
    added = desk.json("incident", "add", "--input", "accounts=bob,alice")
    assert added["added"] == 1, added
    assert not any(scim_server.is_active(account) for account in ids)
    assert desk.run("incident", "add", "--input", "reason=x").status == 2
