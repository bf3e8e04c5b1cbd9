"""Sealed evidence, stamped by a real authority, at once or later."""

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import serve_loop
from flows.serve_loop import Serving
from standfast.errors import ConfigurationError, Damaged, ExitStatus, UsageError
from standfast.evidence.custody import CUSTODY_FILE, Act, read_custody
from standfast.evidence.seal import SEAL_FILE, STAMP_FILE
from standfast.records import EffectState, Mode, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence import time_stamp_requests
from standfast.usecases.evidence.frozen_folders import frozen, verify_frozen
from standfast.usecases.evidence.time_stamp_requests import stamp_frozen, stamp_pending
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.incidents.lifecycle import advance, open_incident
from standfast.usecases.setup.installation_opening import open_installation
from tests.servers import timestamp_authority as servers
from tests.servers import wait_until
from tests.servers.seaweedfs import Bucket
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK
from tests.usecases.installations import enrol_people, furnish, installation_at

NOBODY_ANSWERS = "http://127.0.0.1:9/stamp"
MISSING = "no time stamp authority has stamped it yet"


def set_up(folder: Path, server: servers.Authority, *, url: str = "", more: str = "") -> Path:
    """Write an installation with an authority; return its configuration."""
    config_file = folder / "standfast.toml"
    plain = folder / "plain.toml"
    if not config_file.exists():
        furnish(folder)
        (folder / "playbooks").mkdir()
        (folder / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
        plain.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    config_file.write_text(
        f'{plain.read_text()}\n[custody.timestamp]\nurl = "{url or server.url}"\n'
        f'roots = "{server.roots}"\n{more}'
    )
    return config_file


@pytest.fixture
def server(timestamp_authority: servers.Authority) -> servers.Authority:
    return timestamp_authority


@pytest.fixture
def installation(tmp_path: Path, server: servers.Authority) -> Iterator[Installation]:
    with installation_at(set_up(tmp_path, server)) as installation:
        enrol_people(installation)
        yield installation


def freeze(installation: Installation, mode: Mode = Mode.LIVE) -> str:
    """Run an incident that freezes logs to its end; return its id."""
    opened = open_incident(installation, "keep-logs", {}, mode=mode, opened_by="dana")
    advance(installation, opened.incident, "direct")
    return opened.incident


def folder_of(installation: Installation, incident: str) -> Path:
    (one,) = frozen(installation.config, incident)
    return one.folder


def test_frozen_evidence_is_stamped_and_verified(
    installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation)
    assert server.asked == []  # the response does not wait for the authority
    (row,) = installation.ledger.effects.of_incident(incident)
    assert row.state is EffectState.DONE
    (before,) = frozen(installation.config, incident)
    assert before.stamp == "none yet"
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.PARTIAL
    assert verified.evidence[0].stamp_unchecked == (MISSING,)
    (stamped,) = stamp_frozen(installation, incident)
    assert stamped.problem == ""
    assert stamped.sentence.endswith(" by Example Time Stamps")
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DONE
    assert " by Example Time Stamps, " in verified.evidence[0].stamp
    (after,) = frozen(installation.config, incident)
    assert after.stamp.startswith("stamped 20")
    line = read_custody(after.folder)[-1]
    assert (line.act, line.who) == (Act.STAMPED, "os:test")
    assert stamp_frozen(installation, incident) == []
    assert len(server.asked) == 1


def test_absent_authority_delays_nothing(tmp_path: Path, server: servers.Authority) -> None:
    with installation_at(set_up(tmp_path, server, url=NOBODY_ANSWERS)) as installation:
        enrol_people(installation)
        incidents = [freeze(installation), freeze(installation), freeze(installation)]
        for incident in incidents:
            (row,) = installation.ledger.effects.of_incident(incident)
            assert row.state is EffectState.DONE
        stamped = list(stamp_pending(installation))
        assert len(stamped) == 3
        assert all("no connection was made" in one.problem for one in stamped)
        assert verify_frozen(installation, incidents[0]).exit_status is ExitStatus.PARTIAL
    with installation_at(set_up(tmp_path, server)) as installation:
        assert [one.problem for one in stamp_pending(installation)] == ["", "", ""]
        assert [verify_frozen(installation, one).exit_status for one in incidents] == [
            ExitStatus.DONE
        ] * 3


def test_failing_authority_is_asked_once_a_round(
    installation: Installation, server: servers.Authority
) -> None:
    for _ in range(3):
        freeze(installation)
    server.say = (500, {}, b"")
    assert [one.may_pass for one in stamp_pending(installation)] == [True] * 3
    assert len(server.asked) == 1


def test_invalid_seal_is_not_stamped(installation: Installation, server: servers.Authority) -> None:
    first, second = freeze(installation), freeze(installation)
    (folder_of(installation, first) / SEAL_FILE).write_bytes(b"{}")
    (stamped,) = stamp_pending(installation)
    assert stamped.stamp is not None
    assert stamped.folder == folder_of(installation, second)
    assert len(server.asked) == 1


def test_an_exercise_does_not_reach_the_authority(
    installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation, Mode.EXERCISE)
    assert list(stamp_pending(installation, incident)) == []
    assert list(stamp_pending(installation)) == []
    assert server.asked == []


def test_wrong_or_missing_stamp_is_damage(
    installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation)
    stamp_frozen(installation, incident)
    stamp = folder_of(installation, incident) / STAMP_FILE
    kept = stamp.read_bytes()
    stamp.write_bytes(server.answer(server.asked[0]))
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DAMAGED
    assert verified.evidence[0].problems == (
        "seal.tsr is not the one that the chain of custody has",
    )
    stamp.unlink()
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DAMAGED
    assert "seal.tsr is missing" in verified.evidence[0].problems[0]
    assert stamp_frozen(installation, incident) == []  # a later stamp would hide the loss
    stamp.write_bytes(kept)
    assert verify_frozen(installation, incident).exit_status is ExitStatus.DONE


def test_ledger_misses_a_removed_stamp(
    installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation)
    (stamped,) = stamp_frozen(installation, incident)
    assert stamped.stamp is not None
    (event,) = [
        one for one in installation.ledger.timeline(incident) if one.action == "evidence.stamped"
    ]
    assert event.detail["stamped_at"] == timestamp(stamped.stamp.at)
    custody = stamped.folder / CUSTODY_FILE
    custody.write_bytes(custody.read_bytes().splitlines(keepends=True)[0])
    (stamped.folder / STAMP_FILE).unlink()
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DAMAGED
    assert "lacks a line that the ledger records" in verified.evidence[0].problems[0]


def test_evidence_is_stamped_without_a_ledger(
    tmp_path: Path, installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation)
    (tmp_path / "ledger.db").rename(tmp_path / "away.db")
    config_file = tmp_path / "standfast.toml"
    with open_installation(config_file, env={}, actor="os:test", needs_ledger=False) as without:
        (stamped,) = stamp_frozen(without, incident)
    assert stamped.stamp is not None
    assert [one.act for one in read_custody(stamped.folder)] == [Act.COLLECTED, Act.STAMPED]


def test_stamp_is_verified_by_present_roots(
    tmp_path: Path, installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation)
    stamp_frozen(installation, incident)
    roots = installation.config.custody.timestamp
    assert roots is not None
    roots.roots.write_bytes(servers.issuer("Another Root").pem)
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DAMAGED
    assert "by an authority below the given roots" in verified.evidence[0].problems[0]
    roots.roots.unlink()
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.PARTIAL
    assert "cannot be read: No such file" in verified.evidence[0].stamp_unchecked[0]
    with pytest.raises(ConfigurationError, match="No such file"):
        list(stamp_pending(installation) if freeze(installation) else [])
    with installation_at(tmp_path / "plain.toml") as without:
        verified = verify_frozen(without, incident)
        assert verified.exit_status is ExitStatus.PARTIAL
        assert "no time stamp authority is set" in verified.evidence[0].stamp_unchecked[0]
        assert list(stamp_pending(without)) == []
        with pytest.raises(UsageError, match=r"Add \[custody.timestamp\]"):
            stamp_frozen(without, incident)
        with pytest.raises(UsageError, match="nothing was frozen"):
            stamp_frozen(installation, "inc-1999-0001")
    shutil.rmtree(installation.config.custody.folder / incident)
    with pytest.raises(Damaged, match="missing"):
        stamp_frozen(installation, incident)


def stamps_checked(config_file: Path) -> list[tuple[Verdict, str, str]]:
    """Return the checks that concern stamps."""
    report = check_installation(config_file, env={})
    return [
        (one.verdict, one.found, one.what_to_do)
        for one in report.checks
        if one.part in ("evidence", "custody") and re.search("time.stamp", one.found)
    ]


def test_check_requests_a_stamp(
    tmp_path: Path, installation: Installation, server: servers.Authority
) -> None:
    (found,) = stamps_checked(tmp_path / "standfast.toml")
    assert found[0] is Verdict.OK
    assert found[1].startswith("time stamps: Example Time Stamps stamps, and its certificate leads")
    assert len(server.asked) == 1
    incident = freeze(installation)
    left, _ = stamps_checked(tmp_path / "standfast.toml")
    assert left[0] is Verdict.WARN
    assert left[2] == f"standfast evidence stamp {incident}"
    server.say = (200, {}, b"garbage")
    left, found = stamps_checked(tmp_path / "standfast.toml")
    assert (left[0], found[0]) == (Verdict.WARN, Verdict.FAIL)
    assert "is rejected: it cannot be read as a time stamp" in found[1]


def with_bucket(folder: Path, server: servers.Authority, bucket: Bucket) -> Path:
    """Configure a bucket as the second location of frozen folders."""
    key = bucket.key("evidence")
    for name, value in (("id", key.access_key), ("secret", key.secret_key)):
        (folder / f"evidence.{name}").write_text(value + "\n")
        (folder / f"evidence.{name}").chmod(0o600)
    copied = (
        f'\n[custody.s3]\nbucket = "{bucket.name}"\nendpoint_url = "{bucket.server.url}"\n'
        'access_key_id = "file:evidence.id"\nsecret_access_key = "file:evidence.secret"\n'
    )
    return set_up(folder, server, more=copied)


def test_stamp_is_copied_to_the_bucket(
    tmp_path: Path, server: servers.Authority, s3_bucket: Bucket
) -> None:
    with installation_at(with_bucket(tmp_path, server, s3_bucket)) as installation:
        enrol_people(installation)
        incident = freeze(installation)
        folder = folder_of(installation, incident)
        assert [one.problem for one in stamp_pending(installation)] == [""]
        acts = [entry.act for entry in read_custody(folder)]
        assert acts == [Act.COLLECTED, Act.TRANSFERRED, Act.STAMPED, Act.TRANSFERRED]
        verified = verify_frozen(installation, incident)
        assert verified.exit_status is ExitStatus.DONE
        there = s3_bucket.client(s3_bucket.admin).get_object(
            Bucket=s3_bucket.name, Key=f"{incident}/telephony/{folder.name}/{STAMP_FILE}"
        )
        assert there["Body"].read() == (folder / STAMP_FILE).read_bytes()
        assert list(stamp_pending(installation)) == []


def test_crash_between_stamp_and_copy_continues(
    tmp_path: Path,
    server: servers.Authority,
    s3_bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Crash(BaseException):
        """The simulated end of the process."""

    def dies(*_: object) -> None:
        raise Crash

    with installation_at(with_bucket(tmp_path, server, s3_bucket)) as installation:
        enrol_people(installation)
        incident = freeze(installation)
        with monkeypatch.context() as patched:
            patched.setattr(time_stamp_requests, "copy_stamp", dies)
            with pytest.raises(Crash):
                list(stamp_pending(installation))
        verified = verify_frozen(installation, incident)
        assert verified.exit_status is ExitStatus.PARTIAL
        assert any(
            one.endswith("/seal.tsr: is missing") for one in verified.evidence[0].copy_problems
        )
        assert list(stamp_pending(installation)) == []
        assert len(server.asked) == 1
        assert verify_frozen(installation, incident).exit_status is ExitStatus.DONE


def test_incident_does_not_wait_for_the_authority(
    tmp_path: Path,
    installation: Installation,
    server: servers.Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve_loop, "STAMP_SECONDS", 0.1)
    goes_on = threading.Event()

    def silent(question: bytes) -> servers.Said:
        goes_on.wait()
        return (200, {}, server.answer(question))

    server.say = silent
    loop = Serving(installation=installation, config_file=tmp_path / "standfast.toml", prefect=None)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        first = open_incident(
            installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana"
        ).incident
        loop.begin_work(first)
        wait_until(lambda: bool(server.asked), "the authority is asked")
        second = open_incident(
            installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana"
        ).incident
        loop.begin_work(second)
        wait_until(lambda: _is_done(installation, second), "the second one is frozen meanwhile")
        assert frozen(installation.config, second)[0].stamp == "none yet"
        goes_on.set()
        for incident in (first, second):
            wait_until(lambda: not _unstamped(installation, incident), "it is stamped")  # noqa: B023
        assert verify_frozen(installation, second).exit_status is ExitStatus.DONE
    finally:
        goes_on.set()
        loop.stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_serve_asks_a_failing_authority_less_often(
    tmp_path: Path,
    installation: Installation,
    server: servers.Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve_loop, "FIRST_STAMP_PAUSE_SECONDS", 0.05)
    incident = freeze(installation)
    loop = Serving(installation=installation, config_file=tmp_path / "standfast.toml", prefect=None)
    pauses: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            if len(pauses) == 4:
                server.say = None
            if len(pauses) == 5:
                self.set()
                loop._news.set()
            return self.is_set()

    loop.stop = Stop()
    server.say = (503, {}, b"")
    loop._stamp_seals()
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    # All seals are stamped, so the loop waits for its usual pause.
    assert pauses[4] == serve_loop.STAMP_SECONDS
    assert frozen(installation.config, incident)[0].stamp.startswith("stamped ")


def _is_done(installation: Installation, incident: str) -> bool:
    return any(
        row.state is EffectState.DONE for row in installation.ledger.effects.of_incident(incident)
    )


def _unstamped(installation: Installation, incident: str) -> list[Path]:
    return time_stamp_requests.unstamped(installation.config, incident)


def test_openssl_verifies_the_stamp_of_a_copy(
    tmp_path: Path, installation: Installation, server: servers.Authority
) -> None:
    incident = freeze(installation)
    stamp_frozen(installation, incident)
    handed = tmp_path / "handed over"
    shutil.copytree(folder_of(installation, incident), handed)
    digest = hashlib.sha256((handed / SEAL_FILE).read_bytes()).hexdigest()
    words = ["-in", handed / STAMP_FILE, "-digest", digest, "-CAfile", server.roots]
    assert "Verification: OK" in servers.run("ts", "-verify", *words)
