"""Work that a warm `serve` takes over from the command line, which follows it to its end."""

import threading
from pathlib import Path

from standfast.ledger import Ledger
from standfast.operations import incident
from standfast.operations.place import open_place
from tests.cli.desk import Desk, furnish
from tests.servers.scim import ScimServer


def test_a_serve_that_is_alive_gets_the_incident_and_its_work_is_followed(
    desk: Desk, quiet_place: Path
) -> None:
    config_file = quiet_place / "standfast.toml"
    is_over = threading.Event()
    is_ready = threading.Event()

    def serve() -> None:
        with open_place(config_file, env={}, actor="os:serve") as place:
            token = place.ledger.runners.register(None, "serve", place.clock())
            is_ready.set()
            while not is_over.wait(0.05):
                for one in place.ledger.incidents.all(only_open=True):
                    if incident.has_work(place, one.id):
                        incident.advance(place, one.id, "serve")
            place.ledger.runners.retire(token, None, place.clock())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert is_ready.wait(20)
        done = desk.json("lock", "alice", "--exercise")
    finally:
        is_over.set()
        thread.join()
    assert done["exit_status"] == 0
    assert ways(config_file) == ["serve"]


def test_a_serve_that_does_not_pick_it_up_is_not_waited_for(desk: Desk, quiet_place: Path) -> None:
    config_file = quiet_place / "standfast.toml"
    with open_place(config_file, env={}, actor="os:serve") as place:
        place.ledger.runners.register(None, "serve", place.clock())
        done = desk.json("lock", "alice", "--exercise")
    assert done["exit_status"] == 0
    assert ways(config_file) == ["direct"]


def ways(config_file: Path) -> list[str]:
    """Give the ways in which incidents were carried on, in order."""
    with open_place(config_file, env={}) as place:
        ledger: Ledger = place.ledger
        return [
            event.detail["way"]
            for event in ledger.timeline()
            if event.action == "runner.started" and event.subject != "serve"
        ]


def test_a_terminal_that_follows_serve_is_given_back_while_only_a_relay_is_away(
    desk: Desk, place: Path, scim_server: ScimServer
) -> None:
    config_file = furnish(place, scim_url=scim_server.url)
    desk.monkeypatch.setenv("SCIM_TOKEN", scim_server.token)
    scim_server.create("alice")
    words = ("incident", "open", "account-takeover", "-i", "accounts=agents:alice")
    case = desk.json(*words)["incident"]
    with open_place(config_file, env={}, actor="os:test") as opened:
        for of in (None, case):  # a `serve`, and its work on this incident
            opened.ledger.runners.register(of, "serve", opened.clock())
    answer = desk.run("incident", "resume", case)
    assert answer.status == 5, "the account is locked, and a question waits"
    assert "Still to be sent: `tell_staff`; `standfast serve` goes on" in answer.out
