"""Contract of every evidence source, and of those that seal a folder."""

import errno
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.evidence_sources import Custody, EvidenceSource, sealed_source
from standfast.adapters.evidence_sources.sealed_source import SealedSource, SourceContext
from standfast.evidence.manifest import Manifest
from standfast.evidence.seal import read_sealed, verify_seal
from standfast.records import EffectState, Order
from tests.adapters.settings import reveal

NOW = datetime(2025, 3, 4, 3, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CONTEXT = SourceContext(signing_key=KEY, clock=lambda: NOW, reveal=reveal)


def sealed_folder(custody: Custody, token: str = "token-1") -> Path:
    return custody.folder / "logs" / token


def sealed_manifest(custody: Custody) -> Manifest:
    return read_sealed(sealed_folder(custody), KEY.public_key())


def order(token: str = "token-1") -> Order:
    return Order(token=token, verb="evidence.snapshot", target="logs")


class EvidenceContract:
    """Contract of a source: needs a `source` with something to freeze."""

    def test_source_is_described_in_one_line(self, source: EvidenceSource) -> None:
        assert source.describe()
        assert "\n" not in source.describe()

    def test_nothing_stands_before_it_is_collected(
        self, source: EvidenceSource, custody: Custody
    ) -> None:
        assert not source.find(order(), custody)

    def test_collecting_gives_a_digest_and_counts(
        self, source: EvidenceSource, custody: Custody
    ) -> None:
        result = source.collect(order(), custody)
        assert (result.target, result.state) == ("logs", EffectState.DONE)
        assert len(str(result.facts["manifest"])) == 64
        assert result.facts["unread"] == 0
        assert source.find(order(), custody)

    def test_collecting_twice_gives_the_same_result(
        self, source: EvidenceSource, custody: Custody
    ) -> None:
        assert source.collect(order(), custody) == source.collect(order(), custody)

    def test_each_order_is_collected_on_its_own(
        self, source: EvidenceSource, custody: Custody
    ) -> None:
        one = source.collect(order("token-1"), custody)
        assert not source.find(order("token-2"), custody)
        assert source.collect(order("token-2"), custody).facts != one.facts


class SealedContract(EvidenceContract):
    """Contract of a source that seals with `CONTEXT`."""

    def test_sealed_folder_verifies(self, source: SealedSource, custody: Custody) -> None:
        source.collect(order(), custody)
        assert verify_seal(sealed_folder(custody), KEY.public_key()) == []
        assert sealed_manifest(custody).paths

    def test_crash_before_the_seal_leaves_none(
        self, source: SealedSource, custody: Custody, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(sealed_source, "write_seal", crash)
            with pytest.raises(KeyboardInterrupt):
                source.collect(order(), custody)
        assert not source.find(order(), custody)
        assert source.collect(order(), custody).state is EffectState.DONE
        assert verify_seal(sealed_folder(custody), KEY.public_key()) == []

    def test_full_disk_is_tried_again(
        self, source: SealedSource, custody: Custody, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(descriptor: int) -> None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            result = source.collect(order(), custody)
        assert result.state is EffectState.FAILED
        assert result.retry_after_seconds
        assert os.strerror(errno.ENOSPC) in result.reason
        assert not source.find(order(), custody)
        assert source.collect(order(), custody).state is EffectState.DONE
