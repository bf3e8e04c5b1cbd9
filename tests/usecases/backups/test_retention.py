"""Retention as a use-case: rules, a run in the ledger, refusals."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backup.format.object_names import pack_name
from backup.ownership.operations.keepers import set_keeper
from backup.ownership.owner_session import OwnerSession, open_owner
from backup.stores.directory import DirectoryStore
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.stores.s3.store import open_s3
from standfast.errors import ConfigurationError, ExitStatus, Refused, UsageError
from standfast.records import EffectState, Order
from standfast.usecases.backups import (
    backup_run,
    folder_restore,
    recovery_point_contents,
    retention,
    retention_holds,
)
from standfast.usecases.backups.verification import verify
from standfast.usecases.incidents.built_in_procedures import built_in_procedures
from tests.backup.s3_options import options
from tests.servers.seaweedfs import Bucket
from tests.usecases.backup_installation import (
    SERVICE,
    change,
    damage_a_pack,
    furnish,
    identity,
    installation_at,
)
from tests.usecases.backups.test_backup_s3 import configuration

RULES = """
[backup.keeping]
everything = "31d"
daily = "31d"
weekly = "31d"
monthly = "31d"
"""


def name_a_keeper(folder: Path, keeper_file: Path) -> None:
    """Grant the keeper, as the owner does on the day of the ceremony."""
    owner_file = folder / "offline" / "owner.key"
    office = OwnerSession(
        owner=open_owner(owner_file),
        owner_file=owner_file,
        vault=DirectoryStore(folder / "vault"),
        keys=None,
        now=lambda: datetime.now(UTC),
    )
    set_keeper(office, keeper_file=keeper_file)


def age(vault: Path, days: float) -> None:
    """Set back the times of the objects in the vault."""
    for path in vault.rglob("*"):
        if path.is_file():
            moment = path.stat().st_mtime - days * 86_400
            os.utime(path, (moment, moment))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation with a keeper and six backups; two may expire."""
    config_file = furnish(tmp_path, more=SERVICE + RULES)
    name_a_keeper(tmp_path, tmp_path / "keys" / "keeper.json")
    with installation_at(config_file) as installation:
        for number in range(6):
            (tmp_path / "recordings" / "today.wav").write_bytes(os.urandom(50_000))
            backup_run.run_backup(installation, "main", "direct")
            if number == 1:
                age(tmp_path / "vault", 40)
    return tmp_path


def test_expired_data_is_freed_a_week_later(folder: Path) -> None:
    vault = folder / "vault"
    with installation_at(folder / "standfast.toml") as installation:
        planned = retention.plan(installation, most_percent=40)
        assert planned.exit_status is ExitStatus.DONE
        assert planned.stock is not None
        outcome = retention.run_retention(installation, most_percent=40)
        assert outcome.result.expired == planned.result.expired == (("host-1", 1), ("host-1", 2))
        assert outcome.result.marked == planned.result.marked != ()
        (run,) = installation.ledger.runs.all("keep")
        assert (run.state, run.way, run.summary["expired"]) == ("done", "direct", 2)
    before = sum(path.stat().st_size for path in vault.rglob("p/*/*"))
    later = datetime.now(UTC) + timedelta(days=8)
    with (
        pytest.MonkeyPatch.context() as patch,
        installation_at(folder / "standfast.toml", clock=lambda: later) as installation,
    ):
        patch.setattr(DirectoryKeeperStore, "clock", lambda _: later)
        outcome = retention.run_retention(installation)
        assert outcome.result.freed_bytes > 50_000
        assert outcome.as_json()["exit_status"] == 0
    assert sum(path.stat().st_size for path in vault.rglob("p/*/*")) == before - (
        outcome.result.freed_bytes
    )
    with installation_at(folder / "standfast.toml") as installation:
        assert [
            point.sequence for point in recovery_point_contents.list_points(installation).points
        ] == [
            3,
            4,
            5,
            6,
        ]
        for point in ("3", "latest"):
            restored = folder_restore.restore(
                installation, point, folder / f"out-{point}", identity(folder)
            )
            assert restored.exit_status is ExitStatus.DONE
        newest = (folder / "out-latest/recordings/today.wav").read_bytes()
        assert newest == (folder / "recordings/today.wav").read_bytes()
        assert verify(installation, read=True).exit_status is ExitStatus.DONE


def test_mass_expiry_needs_a_person(folder: Path) -> None:
    age(folder / "vault", 35)
    with installation_at(folder / "standfast.toml") as installation:
        with pytest.raises(Refused, match="5 of 6"):
            retention.run_retention(installation)
        assert installation.ledger.runs.all("keep")[0].state == "failed"
        planned = retention.plan(installation)
        assert planned.exit_status is ExitStatus.REFUSED
        assert "5 of 6" in str(planned.as_json()["refusal"])
        assert not (folder / "vault/pub/keep").exists()
        assert len(retention.run_retention(installation, most_percent=90).result.expired) == 5
        assert len(recovery_point_contents.list_points(installation).points) == 1


def test_clock_off_by_an_hour_is_refused(folder: Path) -> None:
    off = timedelta(hours=2)
    with installation_at(
        folder / "standfast.toml", clock=lambda: datetime.now(UTC) + off
    ) as installation:
        with pytest.raises(Refused, match="this machine's"):
            retention.run_retention(installation)
        kept = retention.run_retention(installation, is_clock_right=True, most_percent=40)
        assert kept.exit_status is ExitStatus.DONE


def test_retention_without_keeper_key_is_refused(folder: Path) -> None:
    (folder / "keys/keeper.json").unlink()
    with (
        installation_at(folder / "standfast.toml") as installation,
        pytest.raises(UsageError, match="keeper's key"),
    ):
        retention.run_retention(installation)


def test_lost_content_is_uploaded_again(folder: Path) -> None:
    packs = sorted((folder / "vault/w/host-1/p").glob("*/*"), key=lambda path: path.stat().st_mtime)
    packs[-1].chmod(0o600)
    packs[-1].write_bytes(b"rot")
    report = folder / "report.json"
    with installation_at(folder / "standfast.toml") as installation:
        report.write_text(json.dumps(verify(installation, read=True).as_json()))
        outcome = retention.run_retention(installation, distrust=report, most_percent=40)
        assert [sha256 for _, sha256 in outcome.result.distrusted] == [packs[-1].name]
        change(folder)
        backup_run.run_backup(installation, "main", "direct")
        restored = folder_restore.restore(installation, "latest", folder / "out", identity(folder))
        assert restored.exit_status is ExitStatus.DONE


def test_keeper_distrusts_what_ledger_knows(folder: Path) -> None:
    damage_a_pack(folder)
    with installation_at(folder / "standfast.toml") as installation:
        found = verify(installation, read=True).report.damaged_packs
        outcome = retention.run_retention(installation, most_percent=40)
    assert [pack_name(*pack) for pack in outcome.result.distrusted] == list(found)


def test_keeper_of_a_bucket_has_own_configuration(tmp_path: Path, s3_bucket: Bucket) -> None:
    furnish(tmp_path, more=SERVICE + RULES)
    name_a_keeper(tmp_path, tmp_path / "keys" / "keeper.json")
    owner = open_s3(options(s3_bucket, s3_bucket.key("owner")))
    for path in sorted((tmp_path / "vault").rglob("*")):
        if path.is_file():
            owner.put(str(path.relative_to(tmp_path / "vault")), path.read_bytes())
    writer = s3_bucket.key("writer", writer="host-1")
    with installation_at(configuration(tmp_path, s3_bucket, writer, "writer")) as installation:
        backup_run.run_backup(installation, "main", "direct")
    keeper = configuration(tmp_path, s3_bucket, s3_bucket.key("keeper"), "keeper")
    with installation_at(keeper) as installation:
        outcome = retention.run_retention(installation)
        assert (outcome.exit_status, outcome.result.expired) == (ExitStatus.DONE, ())
        stock = retention.plan(installation).stock
        assert stock is not None
        assert stock.live.size_bytes > 0


def test_hold_stops_expiry_until_release(folder: Path) -> None:
    with installation_at(folder / "standfast.toml") as installation:
        retention_holds.create_hold(installation, "inc-2026-0001")
        retention_holds.create_hold(installation, "inc-2026-0002")
        held = retention.run_retention(installation, most_percent=40)
        assert held.exit_status is ExitStatus.DONE
        assert (held.result.expired, held.result.records) == ((), ())
        assert "inc-2026-0001" in str(held.result.hold)
        retention_holds.release_hold(installation, "inc-2026-0001")
        assert retention.run_retention(installation, most_percent=40).result.expired == ()
        retention_holds.release_hold(installation, "inc-2026-0002")
        assert len(retention.run_retention(installation, most_percent=40).result.expired) == 2


def test_unreadable_hold_still_holds(folder: Path) -> None:
    with installation_at(folder / "standfast.toml") as installation:
        retention_holds.create_hold(installation, "inc-2026-0001")
        (folder / "keys" / "holds" / "inc-2026-0001.json").write_text("?")
        assert retention.run_retention(installation, most_percent=40).result.expired == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read")
def test_hold_of_another_user_still_holds(folder: Path) -> None:
    # Not below pytest's folder, because only its owner may enter it.
    with TemporaryDirectory() as name, installation_at(folder / "standfast.toml") as installation:
        Path(name).chmod(0o755)
        (Path(name) / "keeper.json").touch()
        backup = installation.config.backup
        keeping = backup.keeping.model_copy(update={"key": Path(name) / "keeper.json"})
        backup = backup.model_copy(update={"keeping": keeping})
        config = installation.config.model_copy(update={"backup": backup})
        installation = replace(installation, config=config)
        assert retention_holds.hold_reason(installation) is None
        retention_holds.create_hold(installation, "inc-2026-0001")
        os.seteuid(65534)
        try:
            with pytest.raises(ConfigurationError, match="Nothing expires until then"):
                retention_holds.hold_reason(installation)
        finally:
            os.seteuid(0)
        assert "inc-2026-0001" in str(retention_holds.hold_reason(installation))


def test_last_clean_point_lacks_the_indicators(folder: Path) -> None:
    with installation_at(folder / "standfast.toml") as installation:
        for content in (b"pay to wallet-4711", b"still wallet-4711"):
            (folder / "recordings" / "note.txt").write_bytes(content)
            backup_run.run_backup(installation, "main", "direct")
        act = built_in_procedures(installation, "inc-2026-0001", "dana")["drill"]()
        order = Order(
            token="f00d",
            verb="drill.last_clean_point",
            target="main",
            details={"indicators": ["text:wallet-4711"]},
        )
        (result,) = act.run([order])
        assert result.state is EffectState.FAILED
        assert "identity" in result.reason
    with (folder / "standfast.toml").open("a") as settings:
        settings.write(f'[drills]\nidentity = "file:{identity(folder)}"\n')
    with installation_at(folder / "standfast.toml") as installation:
        (result,) = built_in_procedures(installation, "inc-2026-0001", "dana")["drill"]().run(
            [order]
        )
        assert result.state is EffectState.DONE, result.reason
        assert str(result.facts["point"]).endswith("/0000000006")
        assert result.facts["monotone"] is True
        assert "0000000008: 1 finds" in str(result.facts["looked_at"])
        assert list((folder / "drills").iterdir()) == []
