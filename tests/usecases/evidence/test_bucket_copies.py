"""Frozen evidence, copied to a real bucket with locks; copies are resumed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from backup.stores.s3.store import S3Store
from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import Damaged, ExitStatus, UsageError
from standfast.evidence import bucket_copy
from standfast.evidence.custody import Act, read_custody
from standfast.records import EffectState, Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import second_location
from standfast.usecases.evidence.frozen_folders import copy_frozen, frozen, verify_frozen
from standfast.usecases.health.check_results import Check, Verdict
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.adapters.evidence_sources.contract import order
from tests.adapters.settings import reveal
from tests.backup.s3_proxy import Fault, running_proxy
from tests.servers.seaweedfs import Bucket, SeaweedFs
from tests.usecases.installations import enrol_people, furnish, installation_at

# A playbook that only freezes the log.
PLAYBOOK = """\
playbook: keep-logs
version: 1
title: Keep the logs
use_when: A test wants them.
steps:
  freeze_logs:
    title: Keep the logs as they are now
    do: evidence.snapshot
    with:
      sources: all
    on_partial: go_on
"""


CASE = "2026-014"


class Crash(BaseException):
    """The simulated end of the process."""


@contextmanager
def installation_over(
    folder: Path, bucket: Bucket, *, url: str = "", more: str = ""
) -> Iterator[Installation]:
    """Installation that copies evidence into the bucket with add-only rights."""
    config_file = folder / "standfast.toml"
    if not config_file.exists():
        furnish(folder)
        (folder / "playbooks").mkdir(exist_ok=True)
        (folder / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
        (folder / "plain.toml").write_text(
            config_file.read_text() + '\n[playbooks]\nfolder = "playbooks"\n'
        )
    key = bucket.key("evidence")
    for name, value in (("id", key.access_key), ("secret", key.secret_key)):
        (folder / f"evidence.{name}").write_text(value + "\n")
        (folder / f"evidence.{name}").chmod(0o600)
    config_file.write_text(
        (folder / "plain.toml").read_text()
        + f'\n[custody.s3]\nbucket = "{bucket.name}"\nendpoint_url = "{url or bucket.server.url}"\n'
        'access_key_id = "file:evidence.id"\nsecret_access_key = "file:evidence.secret"\n'
        f'prefix = "centre/"\n{more}'
    )
    with installation_at(config_file) as installation:
        yield installation


@pytest.fixture
def installation(tmp_path: Path, s3_bucket: Bucket) -> Iterator[Installation]:
    with installation_over(tmp_path, s3_bucket) as installation:
        enrol_people(installation)
        yield installation


def freeze(installation: Installation) -> str:
    """Open the incident, run it to its end, return its id."""
    opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
    advance(installation, opened.incident, "direct")
    return opened.incident


def copies_checked(folder: Path) -> list[Check]:
    """Return the checks that concern copies."""
    report = check_installation(folder / "standfast.toml", env={})
    words = ("copied", "second copy")
    evidence = [check for check in report.checks if check.part == "evidence"]
    return [check for check in evidence if any(word in check.found for word in words)]


def folder_of(installation: Installation, incident: str) -> Path:
    (one,) = frozen(installation.config, incident)
    return one.folder


def names_in(installation: Installation) -> list[str]:
    to = second_location(installation.config, installation.resolver, installation.clock)
    assert to is not None
    return [stat.name for stat in to.open().list("")]


def effect_of(installation: Installation, incident: str) -> tuple[EffectState, str]:
    (row,) = installation.ledger.effects.of_incident(incident)
    return row.state, row.reason


def test_frozen_evidence_is_locked_in_the_bucket(
    installation: Installation, s3_bucket: Bucket
) -> None:
    incident = freeze(installation)
    state, reason = effect_of(installation, incident)
    assert state is EffectState.DONE
    assert reason == f"2 files frozen, and copied to bucket {s3_bucket.name} below centre/"
    folder = folder_of(installation, incident)
    assert [entry.act for entry in read_custody(folder)] == [Act.COLLECTED, Act.TRANSFERRED]
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DONE
    assert verified.evidence[0].copy_problems == ()
    assert ", locked until 20" in verified.evidence[0].copy
    client = s3_bucket.client(s3_bucket.admin)
    for name in names_in(installation):
        (version,) = client.list_object_versions(Bucket=s3_bucket.name, Prefix=f"centre/{name}")[
            "Versions"
        ]
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            client.delete_object(
                Bucket=s3_bucket.name, Key=version["Key"], VersionId=version["VersionId"]
            )


def test_the_bucket_alone_gives_back_every_byte(installation: Installation) -> None:
    incident = freeze(installation)
    folder = folder_of(installation, incident)
    to = second_location(installation.config, installation.resolver, installation.clock)
    assert to is not None
    store, name = to.open(), folder.relative_to(installation.config.custody.folder).as_posix()
    for one in ("manifest.json", "seal.dsse.json"):
        assert store.get(f"{name}/{one}") == (folder / one).read_bytes()
    first_line = (folder / "custody.jsonl").read_bytes().splitlines(keepends=True)[0]
    assert store.get(f"{name}/custody/00000001") == first_line
    contents = {store.get(stat.name) for stat in store.list(f"{name}/files/")}
    logs = installation.config.folder / "logs"
    assert contents == {path.read_bytes() for path in logs.iterdir()}


def source_of(installation: Installation) -> tuple[FilesEvidence, Custody]:
    """Return the log source of an incident, without automatic retries."""
    source = FilesEvidence(
        "telephony",
        FilesEvidenceConfig(kind="files", paths=(installation.config.folder / "logs",)),
        SourceContext(
            signing_key=read_signing_key(installation.config.custody.key),
            clock=installation.clock,
            copy_destination=second_location(
                installation.config, installation.resolver, installation.clock
            ),
            reveal=reveal,
        ),
    )
    folder = installation.config.custody.folder / CASE
    return source, Custody(incident=CASE, collector="dana", reason="takeover", folder=folder)


@pytest.mark.sampled
@pytest.mark.parametrize("puts", range(6))
def test_interrupted_copy_is_continued(
    puts: int, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before each object, or before it records the last one."""
    put, made = S3Store.put, list[str]()

    def dies(store: S3Store, name: str, data: bytes) -> None:
        if len(made) == puts:
            raise Crash
        made.append(name)
        put(store, name, data)

    def dies_noting(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(S3Store, "calls_at_once", 1)
        patched.setattr(S3Store, "put", dies)
        patched.setattr(bucket_copy, "append_custody", dies_noting)
        source, custody = source_of(installation)
        with pytest.raises(Crash):
            source.collect(order(), custody)
    assert len(names_in(installation)) == min(puts, 5)
    source, custody = source_of(installation)
    # The freeze is not recorded as done, so it is repeated.
    assert not source.find(order(), custody)
    result = source.collect(order(), custody)
    assert (result.state, result.reason[:14]) == (EffectState.DONE, "2 files frozen")
    assert source.find(order(), custody)
    assert len(names_in(installation)) == 5
    (one,) = frozen(installation.config, CASE)
    assert [entry.act for entry in read_custody(one.folder)] == [Act.COLLECTED, Act.TRANSFERRED]
    assert verify_frozen(installation, CASE).exit_status is ExitStatus.DONE


def test_silent_bucket_leaves_evidence_sealed(tmp_path: Path, s3_bucket: Bucket) -> None:
    with running_proxy(s3_bucket.server.url) as proxy:
        proxy.will(Fault.FALSE_UNAVAILABLE, "GET", times=1000)
        with installation_over(tmp_path, s3_bucket, url=proxy.url) as installation:
            source, custody = source_of(installation)
            failed = source.collect(order(), custody)
            assert failed.state is EffectState.FAILED
            assert failed.retry_after_seconds == 60
            assert failed.reason.startswith(
                f"2 files frozen and sealed here, but not copied to bucket {s3_bucket.name}"
            )
            # So that the ledger names the folder.
            assert failed.facts["folder"] == "telephony/token-1"
            verified = verify_frozen(installation, CASE)
            assert verified.exit_status is ExitStatus.PARTIAL
            assert verified.evidence[0].problems == ()
            proxy.heal()
            assert source.collect(order(), custody).state is EffectState.DONE
            assert verify_frozen(installation, CASE).exit_status is ExitStatus.DONE


def test_earlier_evidence_is_copied_once(tmp_path: Path, s3_bucket: Bucket) -> None:
    with installation_over(tmp_path, s3_bucket):
        pass
    with installation_at(tmp_path / "plain.toml") as before:
        enrol_people(before)
        incident = freeze(before)
        with pytest.raises(UsageError, match=r"Add \[custody.s3\]"):
            copy_frozen(before, incident)
    with installation_over(tmp_path, s3_bucket) as installation:
        assert verify_frozen(installation, incident).exit_status is ExitStatus.PARTIAL
        checks = copies_checked(tmp_path)
        assert [one.verdict for one in checks] == [Verdict.OK, Verdict.WARN]
        assert checks[1].what_to_do == f"standfast evidence copy {incident}"
        assert [one.objects for one in copy_frozen(installation, incident)] == [5]
        # The record of the first copy is part of the second copy, which adds no further record.
        assert [one.objects for one in copy_frozen(installation, incident)] == [1]
        assert [one.objects for one in copy_frozen(installation, incident)] == [0]
        assert verify_frozen(installation, incident).exit_status is ExitStatus.DONE
        shutil.rmtree(installation.config.custody.folder / incident)
        with pytest.raises(Damaged, match="missing"):
            copy_frozen(installation, incident)


def test_altered_evidence_is_not_copied(installation: Installation) -> None:
    incident = freeze(installation)
    folder = folder_of(installation, incident)
    (folder / "files" / "planted").touch()
    (copied,) = copy_frozen(installation, incident)
    assert "differs from its seal: planted" in copied.problem
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.DAMAGED
    assert verified.evidence[0].copy.startswith(
        "not compared with the folder here; it is in bucket"
    )


def _another_seal(installation: Installation, name: str, bucket: Bucket) -> None:
    client = bucket.client(bucket.admin)
    client.put_object(Bucket=bucket.name, Key=f"centre/{name}/seal.dsse.json", Body=b"{}")


def _marker(installation: Installation, name: str, bucket: Bucket) -> None:
    client = bucket.client(bucket.admin)
    client.delete_object(Bucket=bucket.name, Key=f"centre/{name}/manifest.json")


def _other_chain(installation: Installation, name: str, bucket: Bucket) -> None:
    client = bucket.client(bucket.admin)
    key = f"centre/{name}/custody/00000009"
    client.put_object(Bucket=bucket.name, Key=key, Body=b"another chain\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_marker, "manifest.json: is hidden by a delete marker"),
        (_other_chain, "the chain of custody here does not continue it"),
    ],
)
def test_altered_copy_is_named(
    change: Callable[[Installation, str, Bucket], None],
    named: str,
    installation: Installation,
    s3_bucket: Bucket,
) -> None:
    incident = freeze(installation)
    name = (
        folder_of(installation, incident).relative_to(installation.config.custody.folder).as_posix()
    )
    change(installation, name, s3_bucket)
    verified = verify_frozen(installation, incident)
    assert verified.exit_status is ExitStatus.PARTIAL
    assert named in "\n".join(verified.evidence[0].copy_problems)


def test_occupied_object_name_is_reported(tmp_path: Path, s3_bucket: Bucket) -> None:
    with installation_over(tmp_path, s3_bucket):
        pass
    with installation_at(tmp_path / "plain.toml") as before:
        enrol_people(before)
        incident = freeze(before)
        name = folder_of(before, incident).relative_to(before.config.custody.folder).as_posix()
    with installation_over(tmp_path, s3_bucket) as installation:
        _another_seal(installation, name, s3_bucket)
        (copied,) = copy_frozen(installation, incident)
        assert "seal.dsse.json: it exists with other content" in copied.problem
        (one,) = verify_frozen(installation, incident).evidence
        assert any("seal.dsse.json" in problem for problem in one.copy_problems)


def test_bucket_without_lock_is_refused(tmp_path: Path, seaweedfs_server: SeaweedFs) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    with installation_over(tmp_path, bucket) as installation:
        enrol_people(installation)
        incident = freeze(installation)
        state, reason = effect_of(installation, incident)
        assert state is EffectState.FAILED
        assert "has no default lock" in reason
    with installation_over(tmp_path, bucket, more="requires_lock = false\n") as installation:
        (copied,) = copy_frozen(installation, incident)
        assert copied.problem == ""
        verified = verify_frozen(installation, incident)
        assert verified.exit_status is ExitStatus.DONE
        assert verified.evidence[0].copy.endswith("not locked")
        checks = copies_checked(tmp_path)
        assert [one.verdict for one in checks] == [Verdict.WARN]


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_copies_are_locked_for_the_configured_days(
    mode: str, tmp_path: Path, seaweedfs_server: SeaweedFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    monkeypatch.setattr(Bucket, "key", lambda *_: bucket.admin)  # an identity that may remove locks
    with installation_over(
        tmp_path, bucket, more=f'lock_days = 45\nlock_mode = "{mode}"\n'
    ) as installation:
        enrol_people(installation)
        incident = freeze(installation)
        assert effect_of(installation, incident)[0] is EffectState.DONE
        (one,) = verify_frozen(installation, incident).evidence
        until = installation.clock() + timedelta(days=45)
        client = bucket.client(bucket.admin)
        rows = client.list_object_versions(Bucket=bucket.name)["Versions"]
        assert f"{len(rows)} objects" in one.copy
        for row in rows:
            head = client.head_object(Bucket=bucket.name, Key=row["Key"])
            assert head["ObjectLockMode"] == mode
            assert abs(head["ObjectLockRetainUntilDate"] - until) < timedelta(minutes=5)
        assert f"locked until {until:%Y-%m-%d}" in one.copy
        assert ("privileged users can delete it" in one.copy) is (mode == "GOVERNANCE")


def test_missing_lock_right_is_named(tmp_path: Path, seaweedfs_server: SeaweedFs) -> None:
    with installation_over(
        tmp_path, seaweedfs_server.bucket(mode=None), more="lock_days = 45\n"
    ) as installation:
        enrol_people(installation)
        state, reason = effect_of(installation, freeze(installation))
        assert state is EffectState.FAILED
        assert "it takes s3:PutObjectRetention) was refused" in reason


def test_large_files_are_copied_in_pieces(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_copy, "PIECE_BYTES", 1000)
    log = installation.config.folder / "logs" / "calls.log"
    log.write_bytes(b"".join(b"%d\n" % number for number in range(1000)))
    incident = freeze(installation)
    size = log.stat().st_size
    pieces = [name for name in names_in(installation) if "/files/" in name]
    assert len(pieces) == 1 + -(-size // 1000)
    to = second_location(installation.config, installation.resolver, installation.clock)
    assert to is not None
    store = to.open()
    assert b"".join(store.get(name) for name in pieces if not name.endswith("X")).count(b"999\n")
    assert verify_frozen(installation, incident).exit_status is ExitStatus.DONE


def test_an_exercise_copies_nothing(installation: Installation) -> None:
    opened = open_incident(installation, "keep-logs", {}, mode=Mode.EXERCISE, opened_by="dana")
    advance(installation, opened.incident, "direct")
    assert names_in(installation) == []
