"""The journal as evidence: files written by systemd-journal-remote."""

import struct
import subprocess
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.journald import JournaldEvidence
from standfast.config.sections.evidence_sources import JournaldEvidenceConfig
from standfast.errors import Unavailable
from standfast.records import EffectState
from tests import servers
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    NOW,
    SealedContract,
    order,
    sealed_folder,
    sealed_manifest,
)
from tests.adapters.settings import settings_of

_WRITER = "/usr/lib/systemd/systemd-journal-remote"
_ID = "0123456789abcdef0123456789abcdef"
_HOUR = 3600
HOSTILE = b"caf\xff \x1b[2J\n" + b"x" * 1_000_000


def entry(number: int, seconds: float, unit: str, uid: int, message: bytes) -> bytes:
    at = int((NOW.timestamp() + seconds) * 1_000_000)
    fields = {
        "__CURSOR": f"s={_ID};i={number:x};b={_ID};m={number:x};t={at:x};x={number:x}",
        "__REALTIME_TIMESTAMP": at,
        "__MONOTONIC_TIMESTAMP": number,
        "_BOOT_ID": _ID,
        "_SYSTEMD_UNIT": unit,
        "_UID": uid,
    }
    text = "".join(f"{key}={value}\n" for key, value in fields.items()).encode()
    return text + b"MESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n\n"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    servers.need("journalctl", "the journal is read with it")
    if not Path(_WRITER).exists():
        servers.skip_or_fail("systemd-journal-remote is not installed: it writes a journal")
    folder = tmp_path_factory.mktemp("journal")
    exported = folder / "in.export"
    exported.write_bytes(
        entry(1, -200 * _HOUR, "ssh.service", 0, b"too old")
        + entry(2, -2, "ssh.service", 0, HOSTILE)
        + entry(3, -1, "asterisk.service", 1002, b"call recorded")
        + entry(4, 10, "ssh.service", 0, b"after the freeze")
    )
    argv = [_WRITER, "-o", str(folder / "x.journal"), str(exported)]
    subprocess.run(argv, check=True, capture_output=True)
    return folder


def source_of(journal: Path, **settings: object) -> JournaldEvidence:
    config = settings_of(JournaldEvidenceConfig, folder=journal, **settings)
    return JournaldEvidence("logs", config, CONTEXT)


def exported(custody: Custody) -> bytes:
    return (sealed_folder(custody) / "files/journal.export").read_bytes()


class TestJournaldEvidence(SealedContract):
    @pytest.fixture
    def source(self, journal: Path) -> JournaldEvidence:
        return source_of(journal)


def test_entries_of_the_window_are_unchanged(journal: Path, custody: Custody) -> None:
    source_of(journal).collect(order(), custody)
    assert HOSTILE in exported(custody)
    assert b"call recorded" in exported(custody)
    assert b"too old" not in exported(custody)
    assert b"after the freeze" not in exported(custody)
    assert "--until=@1741057200.000000" in sealed_manifest(custody).paths[0]


def test_units_and_accounts_are_selected(journal: Path, custody: Custody) -> None:
    source_of(journal, units=["asterisk.service"]).collect(order(), custody)
    assert exported(custody).count(b"__CURSOR=") == 1
    source_of(journal, matches=["_UID=0"]).collect(order("token-2"), custody)
    by_account = sealed_folder(custody, "token-2") / "files/journal.export"
    assert HOSTILE in by_account.read_bytes()
    assert b"call recorded" not in by_account.read_bytes()


def test_damaged_journal_is_sealed_as_incomplete(
    journal: Path, custody: Custody, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "whole.journal").write_bytes((journal / "x.journal").read_bytes())
    (damaged / "torn.journal").write_bytes((journal / "x.journal").read_bytes()[:300])
    result = source_of(damaged).collect(order(), custody)
    assert (result.state, result.facts["incomplete"]) == (EffectState.DONE, 1)
    assert b"call recorded" in exported(custody)
    assert "reported problems" in sealed_manifest(custody).items[0].reason
    assert (sealed_folder(custody) / "files/journal.export.messages").read_bytes()


def test_journal_beyond_the_limit_is_cut(journal: Path, custody: Custody, tmp_path: Path) -> None:
    entries = [entry(n, -10 + n, "ssh.service", 0, bytes([n]) * 900_000) for n in range(1, 5)]
    (tmp_path / "in.export").write_bytes(b"".join(entries))
    argv = [_WRITER, "-o", str(tmp_path / "long.journal"), str(tmp_path / "in.export")]
    subprocess.run(argv, check=True, capture_output=True)
    result = source_of(tmp_path, limit_mib=1).collect(order(), custody)
    assert result.facts["incomplete"] == 1
    assert len(exported(custody)) == 1024 * 1024
    assert "1 MiB" in sealed_manifest(custody).items[0].reason


def test_missing_folder_is_named_before(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        source_of(tmp_path / "gone").describe()
