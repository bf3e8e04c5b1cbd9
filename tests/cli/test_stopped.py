"""Stopped, closed, abandoned and interrupted incidents."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, Unavailable
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk
from tests.servers import refused_to_root
from tests.servers.scim import ScimServer
from tests.usecases.backup_installation import full_disk
from tests.usecases.incidents.test_stopping import claim_one_and_die

_PAGE_BYTES = 4096


@pytest.fixture
def case(desk: Desk, live_installation: Path, scim_server: ScimServer) -> str:
    """Return an incident of two accounts; its runner died at the first."""
    for name in ("alice", "bob"):
        scim_server.create(name)
    opened = desk.json("incident", "open", "lock", "-i", "accounts=alice,bob", "--no-wait")
    case = str(opened["incident"])
    with open_installation(
        live_installation / "standfast.toml", env=dict(os.environ), actor="os:test"
    ) as installation:
        claim_one_and_die(installation, case)
    return case


def test_act_under_way_is_not_called_not_begun(desk: Desk, case: str) -> None:
    said = [line.split() for line in desk.run("incident", "status", case).out.splitlines()]
    assert ["1", "under", "way"] in [words[:3] for words in said]
    assert ["1", "not", "started"] in [words[:3] for words in said]


def test_stopped_incident_is_not_shown_as_running(desk: Desk, case: str) -> None:
    desk.run("incident", "stop", case, *desk.by("dana"))
    answer = desk.run("incident", "status", case)
    head, _, lock, *_ = answer.out.splitlines()
    assert head.endswith("(live, stopped)")
    assert lock.split()[:2] == ["lock", "stopped"]
    assert answer.status == ExitStatus.WAITS_FOR_PEOPLE


def test_closed_incident_waits_for_nobody(desk: Desk, case: str) -> None:
    desk.run("incident", "stop", case, *desk.by("dana"))
    desk.run("incident", "close", case, *desk.by("dana"))
    answer = desk.run("incident", "status", case)
    assert answer.out.splitlines()[0].endswith("(live, closed)")
    assert answer.status == ExitStatus.PARTIAL
    assert desk.json("incident", "status", case)["is_closed"]


def test_retry_counts_the_effects_that_resume_sends(desk: Desk, case: str) -> None:
    desk.run("incident", "stop", case, *desk.by("dana"))
    said = desk.json("incident", "retry", case)
    assert said["tried_again"] == 0
    assert said["not_begun"] == [{"step": "lock", "planned": 2, "targets": "accounts"}]
    assert desk.json("incident", "resume", case, *desk.by("dana"))["resumes"] == said["not_begun"]


@pytest.mark.parametrize(
    "fault", [Unavailable("the disk under the ledger is full"), OSError(28, "full")], ids=type
)
def test_fault_after_opening_names_the_incident(
    desk: Desk, live_installation: Path, scim_server: ScimServer, fault: Exception
) -> None:
    alice = scim_server.create("alice")

    def full(*_args: object, **_more: object) -> Outcome:
        raise fault

    with desk.monkeypatch.context() as patched:
        patched.setattr(lifecycle, "advance", full)
        answer = desk.run("incident", "open", "lock", "-i", "accounts=alice")
    (one,) = desk.json("incident", "list")["incidents"]
    resume = ("incident", "resume", one["incident"])
    assert answer.status == ExitStatus.FAILED
    assert f"`standfast {' '.join(resume)}`" in answer.err
    desk.run(*resume)
    assert not scim_server.is_active(alice)


def test_same_command_continues_after_a_full_disk(
    desk: Desk, live_installation: Path, scim_server: ScimServer, tmp_path: Path
) -> None:
    """The disk has room for the opening, then for nothing, then for all."""
    alice = scim_server.create("alice")
    command = ("lock", "alice")
    with full_disk(tmp_path / "small", "2m") as is_full:
        if not is_full:
            refused_to_root("no file system may be mounted here")
        config_file = live_installation / "standfast.toml"
        shutil.copy(live_installation / "ledger.db", tmp_path / "small")
        url = f"sqlite:///{tmp_path}/small/ledger.db"
        config_file.write_text(f'{config_file.read_text()}\n[ledger]\nurl = "{url}"\n')
        filler = tmp_path / "small" / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(_PAGE_BYTES)):
                pass
        while not (opened := incidents(desk)):
            os.truncate(filler, filler.stat().st_size - _PAGE_BYTES)
            failed = desk.run(*command)
        assert failed.status == ExitStatus.FAILED
        assert f"{opened[0]} is open" in failed.err
        assert desk.run(*command).status == ExitStatus.FAILED
        assert incidents(desk) == opened
        filler.unlink()
        assert desk.json(*command)["incident"] == opened[0]
        assert incidents(desk) == opened
        assert not scim_server.is_active(alice)


def incidents(desk: Desk) -> list[str]:
    listed = desk.run("incident", "list", "--json").document
    return [one["incident"] for one in listed.get("incidents", [])]
