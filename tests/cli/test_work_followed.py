"""Work of the command line that a warm `serve` continues to its end."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from standfast import retry_rules
from standfast.errors import ExitStatus
from standfast.ledger import Ledger
from standfast.usecases.incidents import lifecycle
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk, furnish
from tests.servers.scim import ScimServer


def test_command_follows_work_of_a_live_serve(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    is_over = threading.Event()
    is_ready = threading.Event()

    def serve() -> None:
        with open_installation(config_file, env={}, actor="os:serve") as installation:
            token = installation.ledger.runners.register(None, "serve", installation.clock())
            is_ready.set()
            while not is_over.wait(0.05):
                for one in installation.ledger.incidents.all(only_open=True):
                    if lifecycle.has_work(installation, one.id):
                        lifecycle.advance(installation, one.id, "serve")
            installation.ledger.runners.retire(token, None, installation.clock())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert is_ready.wait(120)
        done = desk.json("lock", "alice", "--exercise")
    finally:
        is_over.set()
        thread.join()
    assert done["exit_status"] == 0
    assert ways(config_file) == ["serve"]


def test_idle_serve_is_not_awaited(desk: Desk, quiet_installation: Path) -> None:
    config_file = quiet_installation / "standfast.toml"
    with open_installation(config_file, env={}, actor="os:serve") as installation:
        installation.ledger.runners.register(None, "serve", installation.clock())
        done = desk.json("lock", "alice", "--exercise")
    assert done["exit_status"] == 0
    assert ways(config_file) == ["direct"]


def ways(config_file: Path) -> list[str]:
    """Return how incidents were continued, in order."""
    with open_installation(config_file, env={}) as installation:
        ledger: Ledger = installation.ledger
        return [
            event.detail["way"]
            for event in ledger.timeline()
            if event.action == "runner.started" and event.subject != "serve"
        ]


def test_followed_work_waits_only_while_relay_is_down(
    desk: Desk, installation: Path, scim_server: ScimServer
) -> None:
    # The runner below has a lease that outlasts this command, whose short patience leaves it
    # unused.
    desk.monkeypatch.setattr(retry_rules, "LONGEST_WAIT_FOR_PERSON", timedelta(seconds=0.2))
    config_file = furnish(installation, scim_url=scim_server.url)
    desk.monkeypatch.setenv("SCIM_TOKEN", scim_server.token)
    scim_server.create("alice")
    words = ("incident", "open", "account-takeover", "-i", "accounts=agents:alice")
    opened = desk.json(*words)
    case = opened["incident"]
    assert states(opened)["lock"] == "done", "a notice waits for the lock that it names"
    with open_installation(config_file, env={}, actor="os:test") as found:
        for of in (None, case):  # None registers a `serve`, and case its work on this incident
            found.ledger.runners.register(of, "serve", found.clock() + timedelta(minutes=5))
    followed = desk.json("incident", "resume", case)
    assert followed["exit_status"] == ExitStatus.WAITS_FOR_PEOPLE
    assert states(followed)["tell_staff"] == "running", "the message is still to be sent"
    assert ways(config_file) == ["direct", "serve"], "this process did none of the work"


def states(document: Any) -> dict[str, str]:
    """Return the state of each step that began, by its name."""
    return {step["step"]: step["state"] for step in document["steps"]}
