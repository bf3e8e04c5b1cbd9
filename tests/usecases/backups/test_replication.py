"""The copy at a second site as a use-case, in simulated time."""

import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from backup.stores.bandwidth_limit import BandwidthLimitedStore
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.replication import replicate_to_second_site
from standfast.usecases.core import backup_repository
from standfast.usecases.key_ceremonies.owner_operations import open_stores
from tests.usecases.backup_installation import furnish, installation_at

SITES = """
[backup.copies.far]
vault = "far"

[backup.bandwidth]
"08:00-20:00" = "100 KB/s"
"""


@pytest.mark.parametrize(("hour", "seconds"), [(9, 3), (21, 0)])
def test_copy_respects_the_bandwidth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hour: int, seconds: int
) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        for _ in range(2):  # more than the one pack that can be uploaded at once
            (tmp_path / "recordings" / "2026" / "call-1.wav").write_bytes(os.urandom(400_000))
            run_backup(installation, "main", "direct")
    config_file.write_text(config_file.read_text() + SITES)
    passed = [0.0]

    def sleep(some: float) -> None:
        passed[0] += some

    limited = partial(BandwidthLimitedStore, sleep=sleep, monotonic=lambda: passed[0])
    monkeypatch.setattr(backup_repository, "BandwidthLimitedStore", limited)
    stores = open_stores(config_file, {}, lambda: datetime(2026, 3, 2, hour, tzinfo=UTC))
    outcome = replicate_to_second_site(stores, "far", with_keys=False)
    assert outcome.report.is_whole
    assert passed[0] >= seconds
    assert bool(passed[0]) is bool(seconds)
