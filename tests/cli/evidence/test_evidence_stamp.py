"""Time stamps at the command line: requested, missing, then fetched."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfast.usecases.evidence import time_stamp_requests
from tests.cli.desk import ENTRY, ROOT, Desk
from tests.servers import timestamp_authority as servers
from tests.servers import wait_until
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK
from tests.usecases.evidence.test_time_stamp_requests import NOBODY_ANSWERS


@pytest.fixture
def stamped_installation(live_installation: Path, timestamp_authority: servers.Authority) -> Path:
    """An installation with an authority, and a playbook that only freezes."""
    (live_installation / "playbooks").mkdir(exist_ok=True)
    (live_installation / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    settings = live_installation / "standfast.toml"
    settings.write_text(
        f'{settings.read_text()}\n[playbooks]\nfolder = "playbooks"\n\n[custody.timestamp]\n'
        f'url = "{timestamp_authority.url}"\nroots = "{timestamp_authority.roots}"\n'
    )
    return live_installation


def at(installation: Path, url: str) -> None:
    """Move the authority to another address."""
    settings = installation / "standfast.toml"
    lines = settings.read_text().splitlines()
    found = [f'url = "{url}"' if one.endswith('/stamp"') else one for one in lines]
    settings.write_text("\n".join(found) + "\n")


def froze(desk: Desk) -> str:
    opened = desk.json("incident", "open", "keep-logs")
    assert opened["exit_status"] == 0, opened
    return str(opened["incident"])


def test_evidence_is_stamped_after_the_answer(
    desk: Desk,
    stamped_installation: Path,
    timestamp_authority: servers.Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    stamp_pending = time_stamp_requests.stamp_pending

    def noted(*given: Any, **named: Any) -> Iterator[object]:
        said.append(desk.capture.readouterr().out)
        return stamp_pending(*given, **named)

    monkeypatch.setattr(time_stamp_requests, "stamp_pending", noted)
    answer = desk.run("incident", "open", "keep-logs")
    assert answer.status == 0
    assert answer.out == ""  # the command prints nothing more after its result
    assert "Next: " in said[0]
    assert len(timestamp_authority.asked) == 1
    listed = desk.json("evidence", "list")["evidence"]
    assert listed[0]["stamp"].startswith("stamped 20")
    assert desk.run("evidence", "verify", listed[0]["incident"]).status == 0
    assert desk.json("status")["unstamped"] is None


def test_an_exercise_asks_no_authority(
    desk: Desk, stamped_installation: Path, timestamp_authority: servers.Authority
) -> None:
    assert desk.run("incident", "open", "keep-logs", "--exercise").status == 0
    assert timestamp_authority.asked == []
    assert not list((stamped_installation / "evidence").glob("*"))


def test_failed_stamps_are_named_and_requested_again(
    desk: Desk, stamped_installation: Path, timestamp_authority: servers.Authority
) -> None:
    at(stamped_installation, NOBODY_ANSWERS)
    incident = froze(desk)
    assert "time stamp: none yet" in desk.run("evidence", "list").out
    seen = desk.json("status")["unstamped"]
    assert (seen["count"], seen["incident"]) == (1, incident)
    told = desk.run("status").out
    assert "Evidence: 1 sealed folder without a time stamp, the first for " in told
    verified = desk.run("evidence", "verify", incident)
    assert verified.status == 3
    assert "time stamp: no time stamp authority has stamped it yet" in verified.out
    failed = desk.run("evidence", "stamp", incident)
    assert failed.status == 3
    assert "no connection was made" in failed.out
    at(stamped_installation, timestamp_authority.url)
    stamped = desk.json("evidence", "stamp", incident)
    assert stamped["exit_status"] == 0
    assert stamped["stamps"][0]["authority"] == "Example Time Stamps"
    assert desk.run("evidence", "stamp", incident).out == "Every folder already has a time stamp.\n"
    assert desk.run("evidence", "verify", incident).status == 0
    assert desk.json("status")["unstamped"] is None


def test_a_stamp_that_was_replaced_is_damage(
    desk: Desk, stamped_installation: Path, timestamp_authority: servers.Authority
) -> None:
    incident = froze(desk)
    (stamp,) = (stamped_installation / "evidence").glob("*/*/*/seal.tsr")
    stamp.write_bytes(timestamp_authority.answer(timestamp_authority.asked[0]))
    verified = desk.run("evidence", "verify", incident)
    assert verified.status == 6
    assert "seal.tsr is not the one that the chain of custody has" in verified.out


def test_killed_stamp_request_is_left_to_next_command(
    desk: Desk, stamped_installation: Path, timestamp_authority: servers.Authority
) -> None:
    at(stamped_installation, NOBODY_ANSWERS)
    incident = froze(desk)
    at(stamped_installation, timestamp_authority.url)
    goes_on = threading.Event()

    def silent(question: bytes) -> servers.Said:
        goes_on.wait()
        return (200, {}, b"")

    timestamp_authority.say = silent
    config_file = stamped_installation / "standfast.toml"
    words = [sys.executable, "-c", ENTRY, "evidence", "stamp", incident, "-c", str(config_file)]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("STANDFAST_")}
    with subprocess.Popen(words, env={**plain, "PYTHONPATH": str(ROOT)}) as process:
        try:
            wait_until(lambda: bool(timestamp_authority.asked), "the authority is asked")
            held = desk.run("evidence", "stamp", incident)
            assert held.status == 3
            assert "another process is requesting its stamp" in held.out
        finally:
            process.kill()
            goes_on.set()
    timestamp_authority.say = None
    assert desk.run("evidence", "verify", incident).status == 3  # the folder still has no stamp
    assert desk.run("evidence", "stamp", incident).status == 0
    assert desk.run("evidence", "verify", incident).status == 0


def test_interrupted_stamp_wait_keeps_exit_status(
    desk: Desk, stamped_installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("standfast.usecases.evidence.time_stamp_requests.stamp_pending", ended)
    answer = desk.run("incident", "open", "keep-logs")
    assert answer.status == 0
    assert "Next: " in answer.out


def test_stamp_without_authority_says_how_to_configure(desk: Desk, live_installation: Path) -> None:
    answer = desk.run("evidence", "stamp", "inc-2026-0001")
    assert answer.status == 2
    assert "Add [custody.timestamp]" in answer.err
