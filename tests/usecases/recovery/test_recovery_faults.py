"""Faults during a recovery, in which the data at the target stays."""

import os
import shutil
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.approvals import step_retry
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.usecases.backup_installation import (
    SERVICE,
    damage_a_pack,
    full_disk,
    furnish,
    identity,
    installation_at,
)
from tests.usecases.installations import approve_as
from tests.usecases.recovery.recovery_installation import customers, opened, prepared, tree

HANGING = """
[[services.crm.checks]]
kind = "command"
command = ["sleep", "600"]
timeout_seconds = 1.5
"""


def begun(installation: Installation) -> str:
    """Open a recovery and approve it; return the incident."""
    case = opened(installation)
    approve_as(installation, case, "recover", "lee")
    return case


def targets(folder: Path) -> dict[str, bytes | str]:
    """Return the content at the targets, without restored data next to them."""
    return {name: data for name, data in tree(folder / "live").items() if ".restoring-" not in name}


def failed(installation: Installation, case: str) -> str:
    """Continue the recovery; return the reason of its failure."""
    outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.FAILED
    (status,) = recovery_status(installation, case).sets
    assert status.state == "failed"
    return status.reason


def test_damaged_pack_replaces_nothing_until_repaired(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        before = targets(tmp_path)
        case = begun(installation)
        pack = damage_a_pack(tmp_path)
        assert "damaged" in failed(installation, case)
        assert targets(tmp_path) == before
        assert damage_a_pack(tmp_path) == pack, "the same bit is flipped back"
        step_retry.retry(installation, case, "recover", by="dana")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE
        assert tree(live / "recordings") == tree(tmp_path / "recordings")
        assert customers(live / "crm.db") == customers(tmp_path / "crm.db")


def test_disk_that_becomes_full_replaces_nothing(tmp_path: Path) -> None:
    with full_disk(tmp_path / "live", "2m") as is_mounted:
        if not is_mounted:
            pytest.skip("only root can mount a small file system")
        with installation_at(prepared(tmp_path)) as installation:
            case = begun(installation)
            filler = tmp_path / "live" / "filler"
            free = os.statvfs(filler.parent)
            filler.write_bytes(bytes((free.f_bavail - 50) * free.f_frsize))
            before = targets(tmp_path)
            failed(installation, case)
            assert targets(tmp_path) == before
            filler.unlink()
            step_retry.retry(installation, case, "recover", by="dana")
            outcome = lifecycle.advance(installation, case, "direct")
            assert outcome.exit_status is ExitStatus.DONE
            assert tree(tmp_path / "live" / "recordings") == tree(tmp_path / "recordings")


def test_too_small_disk_is_refused_before_approval(tmp_path: Path) -> None:
    with full_disk(tmp_path / "live", "200k") as is_mounted:
        if not is_mounted:
            pytest.skip("only root can mount a small file system")
        with installation_at(prepared(tmp_path)) as installation:
            case = opened(installation)
            (status,) = recovery_status(installation, case).sets
            assert status.state == "refused"


def test_hanging_probe_replaces_nothing(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path, SERVICE + HANGING)) as installation:
        before = targets(tmp_path)
        assert "1.5 s" in failed(installation, begun(installation))
        assert targets(tmp_path) == before


def test_identity_of_another_vault_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    furnish(tmp_path / "theirs")
    with installation_at(prepared(tmp_path / "ours")) as installation:
        before = targets(tmp_path / "ours")
        shutil.copy(identity(tmp_path / "theirs"), identity(tmp_path / "ours"))
        case = opened(installation)
        (status,) = recovery_status(installation, case).sets
        assert status.state == "refused"
        assert "another repository" in status.reason
        assert targets(tmp_path / "ours") == before
