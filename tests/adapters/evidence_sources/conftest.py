"""The chain of custody for every test of a source."""

from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody


@pytest.fixture
def custody(tmp_path: Path) -> Custody:
    return Custody(
        incident="2025-014",
        collector="r.okafor",
        reason="takeover",
        folder=tmp_path / "evidence",
    )
