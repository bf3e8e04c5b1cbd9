"""Accounts locked and unlocked at the command line, and useless locks."""

from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer
from tests.usecases.installations import PASSPHRASES


def test_undo_restores_each_prior_state(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice, bob = scim_server.create("alice"), scim_server.create("bob", is_active=False)
    locked = desk.run("lock", "alice", "agents:bob")
    assert locked.status == 0, locked
    assert "2 locked" in locked.out
    assert not scim_server.is_active(alice)
    # The lock playbook proves nothing, so the undo needs the approval of another person.
    assert desk.run("incident", "undo", *desk.by("dana")).status == 2, (
        "everything must be asked for"
    )
    shown = desk.json("incident", "undo", "--all", "--plan")
    undone = desk.json("incident", "undo", "--all", *desk.by("dana"))
    assert shown["undo"] == undone["undo"]
    assert undone["exit_status"] == 5
    assert (undone["undo"]["restores"], undone["undo"]["needs_approvals"]) == (2, 2)
    for person in ("lee", "kim"):
        desk.sign_in_with(PASSPHRASES[person])
        approved = desk.json("incident", "approve", "--digest", desk.asked(), "--as", person)
    assert approved["exit_status"] == 0
    assert scim_server.is_active(alice)
    assert not scim_server.is_active(bob), "it was disabled before"


def test_undo_that_restores_nobody_says_so(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice = scim_server.create("alice")
    assert "Next: Everything is done." in desk.run("lock", "alice").out
    first = desk.json("incident", "list")["incidents"][0]["incident"]
    desk.json("lock", "alice")
    shown = desk.json("incident", "undo", first, "--all", "--plan")
    assert (shown["undo"]["restores"], shown["exit_status"]) == (0, 1)
    answer = desk.run("incident", "undo", first, "--all", *desk.by("dana"))
    assert answer.status == 1, "nothing was given back"
    assert desk.json("incident", "undo", first, "--all", *desk.by("dana"))["exit_status"] == 1
    assert answer.out.startswith("0 targets to restore, 1 left unchanged.\n  1 left unchanged: ")
    assert "locks it too" in answer.out
    assert "Next: Every step is done, but 1 target is not restored." in answer.out
    assert f"`standfast incident close {first} --as PERSON`" in answer.out
    assert not scim_server.is_active(alice)


def test_undo_of_some_accounts_is_partial(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice, bob = scim_server.create("alice"), scim_server.create("bob")
    (live_installation / "own").mkdir()
    (live_installation / "own/shut.yaml").write_text(
        "playbook: shut\nversion: 1\ntitle: Shut\nuse_when: A test shuts.\n"
        "inputs: {accounts: {type: accounts, required: true}}\nsteps:\n"
        '  lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}\n'
        "  prove: {title: Prove, needs: [lock], do: accounts.prove_locked,"
        ' with: {accounts: "{{ inputs.accounts }}"}}\n'
    )
    with (live_installation / "standfast.toml").open("a") as file:
        file.write('\n[playbooks]\nfolder = "own"\n')
    both = ("-i", "accounts=agents:alice,agents:bob")
    opened = desk.json("incident", "open", "shut", *both)
    assert opened["exit_status"] == 0, opened
    desk.json("lock", "alice")
    assert desk.json("incident", "undo", opened["incident"], "--all", "--plan")["exit_status"] == 3
    undone = desk.json("incident", "undo", opened["incident"], "--all", *desk.by("dana"))
    assert (undone["undo"]["restores"], len(undone["undo"]["kept"])) == (1, 1)
    assert undone["exit_status"] == 5, "two must approve that"
    (digest,) = (one["digest"] for one in undone["steps"] if one["step"] == "undo-1")
    for person in ("lee", "kim"):
        words = ("incident", "approve", opened["incident"], "--digest", digest)
        approved = desk.json(*words, *desk.by(person))
    assert approved["exit_status"] in (0, 3)
    assert (scim_server.is_active(alice), scim_server.is_active(bob)) == (False, True)


def test_renamed_directory_is_reported_with_known_ones(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice, bob = scim_server.create("alice"), scim_server.create("bob")
    first = desk.json("lock", "agents:alice")["incident"]
    words = ("incident", "open", "lock", "--input", "accounts=agents:bob", "--no-wait")
    second = desk.json(*words)["incident"]
    config_file = live_installation / "standfast.toml"
    before = config_file.read_text()
    renamed = before.replace("[accounts.agents]", "[accounts.helpers]")
    config_file.write_text(renamed.replace("agents:break-glass", "helpers:break-glass"))
    undone = desk.run("incident", "undo", first, "--all", *desk.by("dana"))
    assert undone.status == 2
    assert (
        "has no [accounts.agents]; the known names are: helpers; helpers: added or renamed"
        in undone.err
    )
    assert (
        "helpers: added or renamed" in desk.run("incident", "resume", second, *desk.by("dana")).out
    )
    assert scim_server.is_active(bob)
    again = before[before.index("[accounts.agents]") :].split("\n\n")[0]
    config_file.write_text(
        before.replace(again, f"{again}\n\n{again.replace('agents', 'helpers', 1)}")
    )
    assert desk.json("incident", "undo", first, "--all", *desk.by("dana"))["undo"]["restores"] == 1
    assert not scim_server.is_active(alice), "needs 2 approvals"


def test_signed_opening_saves_one_undo_approval(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    desk.sign_in_with(PASSPHRASES["dana"])
    assert desk.run("lock", "alice", "--as", "dana").status == 0
    undone = desk.json("incident", "undo", "--target", "agents:alice", "--as", "dana")
    assert undone["undo"]["needs_approvals"] == 1
    assert undone["exit_status"] == 5


def test_unknown_account_is_not_locked(desk: Desk, live_installation: Path) -> None:
    answer = desk.run("lock", "nobody")
    assert answer.status == 1
    assert "no directory knows this account" in answer.out


def test_large_lock_explains_its_approvals(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice, bob = scim_server.create("alice"), scim_server.create("bob")
    with (live_installation / "standfast.toml").open("a") as file:
        file.write("\n[limits]\naccounts_without_second_person = 1\n")
    answer = desk.run("lock", "alice", "bob")
    assert answer.status == ExitStatus.WAITS_FOR_PEOPLE
    why = "2 accounts within a day; more than 1 need a second person"
    assert f"Why `lock` needs an approval: {why}." in answer.out
    assert (
        "Next: `lock` waits for 2 approvals. Each approver runs: `standfast incident app"
        in answer.out
    )
    (step,) = desk.json("incident", "status")["steps"]
    assert (step["reason"], step["approvals_needed"]) == (why, 2)
    assert desk.json("status")["next_step"].endswith(desk.json("incident", "status")["next_step"])
    assert scim_server.is_active(alice)
    assert scim_server.is_active(bob)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("agents:", "alice"), "account 1: "),
        (("bob", "alice,carol"), "account 2: it contains a comma"),
        ((":",), "account 1: "),
    ],
)
def test_implausible_accounts_open_no_incident(
    desk: Desk, quiet_installation: Path, words: tuple[str, ...], told: str
) -> None:
    answer = desk.run("lock", *words)
    assert answer.status == 2
    assert told in answer.err
    assert desk.json("incident", "list")["incidents"] == []


@pytest.mark.parametrize("deed", ["plan", "open"])
def test_directory_without_account_opens_no_incident(
    desk: Desk, quiet_installation: Path, deed: str
) -> None:
    answer = desk.run("incident", deed, "lock", "--input", "accounts=alice,agents:")
    assert answer.status == ExitStatus.USAGE
    assert "input `accounts`: entry 2 has a directory without an account" in answer.err
    assert desk.json("incident", "list")["incidents"] == []


def test_installation_without_directory_opens_no_live_lock(desk: Desk, installation: Path) -> None:
    answer = desk.run("lock", "nobody")
    assert answer.status == ExitStatus.USAGE
    assert "Add [accounts.NAME]" in answer.err
    assert desk.json("incident", "list")["incidents"] == []
    rehearsed = desk.json("lock", "nobody", "--exercise")
    assert rehearsed["incident"].endswith("-0001")
    # This command reports the same gap.
    opened = desk.run("incident", "open", "lock", "-i", "accounts=nobody")
    assert "add [accounts.NAME]" in opened.out


def test_unreachable_directory_fails_and_retry_locks(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice = scim_server.create("alice")
    config_file = live_installation / "standfast.toml"
    right = config_file.read_text()
    config_file.write_text(right.replace(scim_server.url, "http://127.0.0.1:9/v2"))
    failed = desk.run("lock", "agents:alice")
    assert failed.status == 1
    assert "incident retry inc-" in failed.out
    config_file.write_text(right)
    retried = desk.json("incident", "retry")
    assert (retried["tried_again"], retried["exit_status"]) == (1, 0)
    assert not scim_server.is_active(alice)
