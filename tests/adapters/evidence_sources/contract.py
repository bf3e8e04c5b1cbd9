"""Contract of every evidence source."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.records import EffectState, Order

NOW = datetime(2025, 3, 4, 3, 0, tzinfo=UTC)


def order(token: str = "token-1") -> Order:
    return Order(token=token, verb="evidence.snapshot", target="logs")


class EvidenceContract:
    """Subclass it and give a `source` that has something to freeze."""

    @pytest.fixture
    def custody(self, tmp_path: Path) -> Custody:
        return Custody(
            incident="2025-014",
            collector="r.okafor",
            reason="account takeover",
            folder=tmp_path / "evidence",
        )

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
