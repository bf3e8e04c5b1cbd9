"""`incident stop --all` stops each open incident and reports its acts."""

from datetime import timedelta
from pathlib import Path

import pytest

from standfast import retry_rules
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk
from tests.servers.scim import ScimServer
from tests.usecases.incidents.test_stopping import claim_one_and_die


def test_stop_all_leaves_no_unknown_outcome(
    desk: Desk, live_installation: Path, scim_server: ScimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_rules, "OBSERVATION_PAUSE", timedelta(seconds=0.02))
    ids = {name: scim_server.create(name) for name in ("alice", "bob", "carl", "dora")}
    closed = desk.json("incident", "open", "lock", "-i", "accounts=eve", "--no-wait")["incident"]
    assert desk.run("incident", "close", closed, *desk.by("dana")).status == 0
    first, second = (
        desk.json("incident", "open", "lock", "-i", f"accounts={names}", "--no-wait")["incident"]
        for names in ("alice,bob", "carl,dora")
    )
    env = {"SCIM_TOKEN": scim_server.token}
    with open_installation(
        live_installation / "standfast.toml", env=env, actor="os:test"
    ) as installation:
        claim_one_and_die(installation, first)
        happened = claim_one_and_die(installation, second)
    scim_server.set_active(ids[happened], False)

    answer = desk.run("incident", "stop", "--all", "--json", *desk.by("dana"))

    stopped = answer.document["stopped"]
    for case in (first, second):
        assert (
            f"{case} is stopped: nothing more begins. Waiting for the outcome of 1 act"
            in answer.err
        )

    nothing = {"under_way": 0, "unknown": 0, "is_stopped": True}
    assert stopped == [
        {"incident": first, "done": 0, "not_begun": 2, **nothing},
        {"incident": second, "done": 1, "not_begun": 1, **nothing},
    ]
    active = {name for name, id_ in ids.items() if scim_server.is_active(id_)}
    assert active == {*ids} - {happened}, "nothing was locked after the stop"
    for case in (first, second):
        assert desk.json("incident", "resume", case, *desk.by("dana"))["exit_status"] == 0
    assert not any(scim_server.is_active(id_) for id_ in ids.values())
    for case in (first, second):
        desk.run("incident", "close", case, *desk.by("dana"))
    assert desk.run("incident", "stop", "--all", *desk.by("dana")).out.startswith(
        "No incident is open."
    )
