"""An incident that was closed too soon is reopened to undo its locks."""

import os
from pathlib import Path

from standfast.records import Mode
from standfast.usecases.incidents.lifecycle import open_incident
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer


def test_account_is_unlocked_after_early_closure(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice = scim_server.create("alice")
    desk.run("lock", "alice")
    incident = desk.json("incident", "list")["incidents"][0]["incident"]
    closed = desk.run("incident", "close", *desk.by("dana"))
    assert closed.status == 0
    assert f"`standfast incident reopen {incident} --as PERSON`" in closed.out
    refused = desk.run("incident", "undo", incident, "--all", *desk.by("dana"))
    assert refused.status == 4
    assert f"`standfast incident reopen {incident}`" in refused.err
    for word in ("stop", "resume", "retry"):
        answer = desk.run("incident", word, incident, *desk.by("dana"))
        assert (answer.status, f"incident reopen {incident}" in answer.err) == (4, True)
    assert not scim_server.is_active(alice)
    opened = desk.run("incident", "reopen", incident, *desk.by("dana"))
    assert opened.status == 0
    assert f"{incident} is open again, in its former state." in opened.out
    assert f"`standfast incident undo {incident} --all --as PERSON`, or --target" in opened.out
    undone = desk.run("incident", "undo", incident, "--all", *desk.by("dana"))
    assert undone.status == 5  # the undo of an unproven lock needs two approvals
    assert undone.out.startswith("1 target to restore (agents: 1), 0 left unchanged.")


def test_closed_plan_says_that_nothing_was_done(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    alice = scim_server.create("alice")
    with open_installation(
        live_installation / "standfast.toml", env=dict(os.environ), actor="os:test"
    ) as installation:
        plan = open_incident(installation, "lock", {"accounts": ["alice"]}, mode=Mode.PLAN).incident
    closed = desk.run("incident", "close", plan, *desk.by("dana"))
    assert closed.out.startswith(f"{plan} is closed; it was a plan, and did nothing.\nNext: ")
    carry_out = f"incident carry-out {plan}"
    assert f"`standfast {carry_out}`" in closed.out
    assert "reopen" not in closed.out
    assert desk.run(*carry_out.split()).status == 0
    assert not scim_server.is_active(alice)
    assert desk.run("incident", "undo", "--all", *desk.by("dana")).status == 5


def test_undo_of_nothing_says_so(desk: Desk, live_installation: Path) -> None:
    assert desk.run("lock", "nobody").status == 1
    answer = desk.run("incident", "undo", "--all", *desk.by("dana"))
    assert answer.status == 1, "the lock is still failed"
    assert answer.out.startswith("Nothing to restore: ")


def test_closure_names_incomplete_steps(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    scim_server.create("alice")
    failed = desk.json("lock", "nobody")["incident"]
    closed = desk.json("incident", "close", failed, *desk.by("dana"))
    assert closed["fell_short"] == {"lock": "failed"}
    partial = desk.json("lock", "alice", "nobody")["incident"]
    shown = "Not fully done: `lock` partial. See why: "
    assert shown in desk.run("incident", "close", partial, *desk.by("dana")).out
    whole = desk.json("lock", "alice")["incident"]
    assert "Not fully done" not in desk.run("incident", "close", whole, *desk.by("dana")).out


def test_impossible_reopening_states_its_reason(desk: Desk, quiet_installation: Path) -> None:
    opened = desk.json("lock", "alice", "--exercise")["incident"]
    for incident, status, says in (
        (opened, 2, f"incident {opened}: open"),
        ("inc-2026-0099", 2, "inc-2026-0099"),
    ):
        answer = desk.run("incident", "reopen", incident, *desk.by("dana"))
        assert (answer.status, says in answer.err) == (status, True), answer.err
    desk.run("incident", "close", *desk.by("dana"))
    document = desk.json("incident", "reopen", opened, *desk.by("dana"))
    assert (document["incident"], document["state"]) == (opened, "open")
