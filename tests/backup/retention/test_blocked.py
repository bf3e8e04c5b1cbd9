"""Retention with an unreadable history: nothing is removed, locks extend.

The same holds before points that expire in the same run: their objects stay until the expiry is
recorded.
"""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup.format.keep_record import KeepRecord, PackId, keep_to_bytes
from backup.format.object_names import keep_name, pack_name, snapshot_name
from backup.retention.rules import RetentionRules
from backup.stores import ObjectLock
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import KeptSite, kept_site, vault_of
from tests.backup.site import WRITER, Died

SHORT = RetentionRules(
    everything=timedelta(days=10),
    daily=timedelta(days=10),
    weekly=timedelta(days=10),
    monthly=timedelta(days=10),
    floor=timedelta(days=10),
)


def say_dropped(kept: KeptSite, packs: set[PackId]) -> None:
    """Put the record of a keeper that died before the removal."""
    trust = load_root_chain(kept.vault)
    keeps = load_retention_log(kept.vault, trust)
    record = KeepRecord(
        repository=trust.root.repository,
        number=keeps.next_number,
        previous=keeps.head,
        root_record=trust.links[-1],
        created=kept.clock(),
    )
    record = replace(record, dropped=tuple(sorted(packs)))
    kept.vault.put(keep_name(record.number), keep_to_bytes(record, kept.keeper.key))


def test_freed_packs_stay_while_a_snapshot_is_missing(tmp_path: Path) -> None:
    kept = kept_site(tmp_path / "site")
    vault = vault_of(kept)
    for _ in range(3):
        kept.next_backup()
    name = snapshot_name(WRITER, 2)
    data = vault.get(name)
    idle = (WRITER, "ab" * 32)
    vault.put(pack_name(*idle), b"of a run that broke off")
    say_dropped(kept, {idle})
    vault.lose(name)
    result = kept.keep()
    assert result.removed == ()
    assert idle in kept.packs()
    assert any(f"writer {WRITER}: nothing expires or is freed" in one for one in result.problems)
    vault.put(name, data)
    assert [one.pack for one in kept.keep().removed] == [idle]


@pytest.mark.parametrize("hold", [None, "an incident is open"])
def test_all_packs_stay_locked_while_needs_are_unknown(tmp_path: Path, hold: str | None) -> None:
    kept = kept_site(tmp_path / "site", lock=ObjectLock(mode="COMPLIANCE", days=40))
    for _ in range(3):
        kept.next_backup()
    vault_of(kept).replace(snapshot_name(WRITER, 1), b"\0")
    packs = {pack_name(*pack) for pack in kept.packs()}
    kept.days(30)
    assert packs <= set(kept.keep(hold=hold).extended)


def test_needed_pack_stays_until_expiry_is_recorded(
    tmp_path: Path,
) -> None:
    kept = kept_site(tmp_path / "site")
    kept.rules = SHORT
    vault = vault_of(kept)
    kept.next_backup()
    first = kept.packs()
    for _ in range(2):
        kept.next_backup()
    say_dropped(kept, first)
    kept.days(11)
    put = vault.put

    def dies(name: str, data: bytes | bytearray | memoryview) -> None:
        raise Died

    vault.put = dies
    with pytest.raises(Died):
        kept.keep(max_percent=100)
    vault.put = put
    assert first <= kept.packs()
    assert kept.site.restore(f"{WRITER}/1", tmp_path / "out").problems == ()
    kept.keep(max_percent=100)
    assert (WRITER, 1) in kept.keeps().expired
