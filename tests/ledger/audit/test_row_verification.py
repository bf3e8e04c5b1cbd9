"""Verification of rows from a checkpoint."""

import pytest

from standfast.ledger.audit import row_verification
from tests.ledger.ledger_files import FOUNDED, NOW, Place
from tests.ledger.stage import REVOKE, begin, claimed, drafts, open_incident, runner


def test_incident_older_than_a_checkpoint_is_verified(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Effects are read from the start of their incident, not a checkpoint."""
    monkeypatch.setattr(row_verification, "EVENTS_A_CHECKPOINT", 2)
    sqlite_place.create()
    with sqlite_place.opened() as ledger:
        ledger.audit.sign_head(FOUNDED)
        opened = open_incident(ledger)
        begin(ledger, opened, drafts(REVOKE, "alice"))
        ledger.audit.sign_head(NOW)
    with sqlite_place.opened() as ledger:  # knows nothing but what the ledger contains
        batch = claimed(ledger, opened, runner(ledger, opened))
        assert [row.target for row in batch.effects] == ["agents:alice"]
        assert ledger.audit.verify().is_whole
