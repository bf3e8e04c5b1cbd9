"""Owner operations on keepers: trusted keepers, and their records."""

from pathlib import Path

import pytest

from backup.checker.verification import verify
from backup.errors import NotFound, UsageError
from backup.format.keep_record import KeepRecord, keep_to_bytes
from backup.format.object_names import keep_name
from backup.ownership.operations.keepers import retire_keeper, set_keeper
from backup.retention.keeper_key import Keeper
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from tests.backup.owner_site import OwnedSite, dies_everywhere, owned_site
from tests.backup.site import WRITER
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    site = owned_site(tmp_path / "site")
    source = plain_tree(tmp_path / "source")
    for _ in range(3):
        site.back_up(source)
    return site


def let_expire(site: OwnedSite, file: str, sequence: int) -> None:
    """Put one record, as the keeper writes it."""
    keeper = Keeper.load(site.folder / file)
    trust = load_root_chain(site.vault)
    keeps = load_retention_log(site.vault, trust)
    record = KeepRecord(
        repository=trust.root.repository,
        number=keeps.next_number,
        previous=keeps.head,
        root_record=trust.links[-1],
        created=site.clock(),
        expired=((WRITER, sequence),),
    )
    site.vault.put(keep_name(record.number), keep_to_bytes(record, keeper.key))


def expired(site: OwnedSite) -> set[int]:
    return {
        sequence
        for _, sequence in load_retention_log(site.vault, load_root_chain(site.vault)).expired
    }


def test_a_granted_keepers_records_count(owned: OwnedSite) -> None:
    told = set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    assert (owned.folder / "keeper.json").stat().st_mode & 0o777 == 0o600
    keeper = Keeper.load(owned.folder / "keeper.json")
    assert keeper.public_key.hex() == told["key"]
    assert keeper.owner == owned.office.owner.public
    let_expire(owned, "keeper.json", 1)
    assert expired(owned) == {1}
    assert verify(owned.vault).is_sound


def test_a_keeper_that_nobody_granted_is_not_believed(owned: OwnedSite, tmp_path: Path) -> None:
    set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    other = owned_site(tmp_path / "other")
    set_keeper(other.office, keeper_file=owned.folder / "strange.json")
    let_expire(owned, "strange.json", 1)
    assert expired(owned) == set()
    assert [f.object for f in verify(owned.vault).findings] == ["pub/keep/0000000000"]


def test_a_retired_keeper_is_believed_through_one_record(owned: OwnedSite, tmp_path: Path) -> None:
    set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    let_expire(owned, "keeper.json", 1)
    let_expire(owned, "keeper.json", 2)
    assert expired(owned) == {1, 2}
    told = retire_keeper(owned.office, trusted_through=0)
    assert told["no_longer_trusted"] == 1
    assert expired(owned) == {1}
    assert owned.restore("2", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tmp_path / "source")
    assert not verify(owned.vault).is_sound
    set_keeper(owned.office, keeper_file=owned.folder / "next.json")
    let_expire(owned, "next.json", 3)
    assert expired(owned) == {1, 3}
    (finding,) = verify(owned.vault).findings
    assert (finding.severity, finding.object) == ("warning", "pub/keep/0000000001")
    let_expire(owned, "keeper.json", 2)
    assert expired(owned) == {1, 3}


def test_nothing_of_a_keeper_may_be_believed(owned: OwnedSite) -> None:
    set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    with pytest.raises(NotFound, match="--trust-none"):
        retire_keeper(owned.office, trusted_through=0)
    let_expire(owned, "keeper.json", 1)
    with pytest.raises(NotFound, match="keep record 1"):
        retire_keeper(owned.office, trusted_through=1)
    retire_keeper(owned.office, trusted_through=None)
    assert expired(owned) == set()
    with pytest.raises(NotFound, match="no keeper is trusted"):
        retire_keeper(owned.office, trusted_through=None)


def test_one_keeper_is_trusted_at_a_time(owned: OwnedSite) -> None:
    set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    with pytest.raises(UsageError, match="Retire it first"):
        set_keeper(owned.office, keeper_file=owned.folder / "second.json")
    assert not (owned.folder / "second.json").exists()
    retire_keeper(owned.office, trusted_through=None)
    with pytest.raises(UsageError, match="never overwritten"):
        set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    with pytest.raises(UsageError, match="either"):
        set_keeper(owned.office)
    set_keeper(owned.office, key=bytes(31) + b"\1")


def test_interrupted_grant_of_keeper_completes(tmp_path: Path) -> None:
    def deed(site: OwnedSite) -> None:
        set_keeper(site.office, keeper_file=site.folder / "keeper.json")

    for site in dies_everywhere(tmp_path, deed, lambda _: None):
        (granted,) = load_root_chain(site.vault).root.keepers
        assert granted.key == Keeper.load(site.folder / "keeper.json").public_key
