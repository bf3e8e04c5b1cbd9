from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.simulator import SimulatedEvidenceSource
from tests.adapters.evidence_sources.contract import EvidenceContract, order


class TestMemoryEvidence(EvidenceContract):
    @pytest.fixture
    def source(self) -> SimulatedEvidenceSource:
        return SimulatedEvidenceSource(name="logs")

    def test_exercise_writes_nothing(
        self, source: SimulatedEvidenceSource, custody: Custody, tmp_path: Path
    ) -> None:
        result = source.collect(order(), custody)
        assert list(tmp_path.iterdir()) == []
        assert result.facts["exercise"] is True
        assert "exercise" in result.reason
        assert "exercise" in source.describe()
