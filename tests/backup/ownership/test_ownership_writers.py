"""The owner's operations on writers, each ending in a restore."""

import json
from pathlib import Path

import pytest

from backup.checker.verification import verify
from backup.errors import Damaged, NotFound, UsageError, WrongKey
from backup.ownership.operations.writers import add_writer, new_epoch, remove_writer, witnessed_head
from backup.ownership.owner_session import OwnerSession, lock_owner_file, open_owner
from backup.records import Head
from backup.trust.key_files import Host
from backup.trust.root_chain import load_root_chain
from tests.backup.owner_site import OwnedSite, dies_everywhere, owned_site
from tests.backup.site import DOMAIN, WRITER, Died
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    return owned_site(tmp_path / "site")


def test_second_host_backs_up_next_to_the_first(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    told = add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    assert (told["writer"], told["epoch"], told["root"]) == ("desk-2", 0, 1)
    secret = json.loads((owned.folder / "two/host.json").read_text())
    assert secret["signing_key"] not in str(told)
    assert secret["id_key"] not in str(told)
    second = owned.back_up(
        source, host=owned.host_of("two"), send_log=owned.folder / "two/send.log"
    )
    assert second.point == "desk-2/0000000001"
    owned.back_up(source)
    for point in ("desk-1/2", "desk-2/1"):
        out = tmp_path / point.replace("/", "-")
        assert owned.restore(point, out).problems == ()
        assert describe(out / "files") == describe(source)
    assert verify(owned.vault, keys=owned.keys, identity=owned.identity).is_sound


@pytest.mark.parametrize(
    ("name", "domain", "error"),
    [
        (WRITER, DOMAIN, UsageError),
        ("Desk", DOMAIN, UsageError),
        ("desk-2", "other", NotFound),
    ],
)
def test_impossible_writer_is_refused_and_nothing_written(
    owned: OwnedSite, name: str, domain: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        add_writer(owned.office, name=name, domain=domain, host_dir=owned.folder / "two")
    assert not (owned.folder / "two").exists()
    assert len(load_root_chain(owned.vault).roots) == 1
    assert sorted(p.name for p in owned.folder.iterdir()) == ["custodian.txt", "host", "owner.json"]


def test_a_hosts_keys_are_never_overwritten(owned: OwnedSite) -> None:
    before = (owned.folder / "host/host.json").read_bytes()
    with pytest.raises(UsageError, match="not an empty folder"):
        add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "host")
    assert (owned.folder / "host/host.json").read_bytes() == before


def test_host_keys_need_a_folder_of_their_own(owned: OwnedSite) -> None:
    """The folder is moved as a whole, so it must contain nothing else."""
    folder = owned.folder / "two"
    folder.mkdir()
    (folder / "diary.txt").write_text("of somebody")
    with pytest.raises(UsageError, match="not an empty folder"):
        add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=folder)
    with pytest.raises(UsageError, match="not an empty folder"):
        add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=folder / "diary.txt")
    assert [one.name for one in folder.iterdir()] == ["diary.txt"]
    (folder / "diary.txt").unlink()
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=folder)
    assert [one.name for one in folder.iterdir()] == ["host.json"]


def test_new_epoch_refuses_old_host_and_resends_everything(
    owned: OwnedSite, tmp_path: Path
) -> None:
    source = plain_tree(tmp_path / "source")
    first = owned.back_up(source)
    old = owned.host
    told = new_epoch(
        owned.office, writer=WRITER, trusted_through=1, host_dir=owned.folder / "rebuilt"
    )
    assert told["no_longer_trusted"] == []
    with pytest.raises(UsageError, match="root record"):
        owned.back_up(source, host=old)
    new = owned.host_of("rebuilt")
    assert (new.epoch, new.writer) == (1, WRITER)
    assert new.id_key != old.id_key
    # The rebuilt machine still has the upload cache of the old one, which must not be trusted.
    second = owned.back_up(source, host=new)
    assert second.bytes_new > 0.9 * first.bytes_new
    for point in ("1", "2"):
        assert owned.restore(point, tmp_path / point).problems == ()
        assert describe(tmp_path / point / "files") == describe(source)
    snapshot = owned.vault.get("w/desk-1/s/0000000002")
    assert b'"uses":[]' in snapshot
    assert verify(owned.vault, keys=owned.keys, identity=owned.identity, read=True).is_sound


def test_vault_from_older_copy_recovers_in_new_epoch(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    tree, copy = describe(source), dict(owned.vault._objects)
    (source / "note.txt").write_text("since the copy")
    owned.back_up(source)
    owned.vault._objects = copy
    new_epoch(owned.office, writer=WRITER, trusted_through=1, host_dir=owned.folder / "new")
    result = owned.back_up(source, host=owned.host_of("new"))
    assert (result.sequence, result.is_store_damaged) == (2, False)
    assert verify(owned.vault, keys=owned.keys, identity=owned.identity, read=True).is_sound
    for point, expected in (("1", tree), ("2", describe(source))):
        assert owned.restore(point, tmp_path / point).problems == ()
        assert describe(tmp_path / point / "files") == expected


def test_removing_the_host_closes_its_gap(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    copy = dict(owned.vault._objects)
    owned.back_up(source)
    owned.vault._objects = copy
    assert owned.back_up(source).is_store_damaged
    assert not verify(owned.vault).is_sound
    remove_writer(owned.office, writer=WRITER, trusted_through=1)
    assert verify(owned.vault).is_sound
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "desk-2")
    owned.back_up(source, host=owned.host_of("desk-2"), send_log=tmp_path / "desk-2.log")
    assert verify(owned.vault, keys=owned.keys, identity=owned.identity, read=True).is_sound
    for point in ("desk-1/1", "desk-2/1"):
        out = tmp_path / point.replace("/", "-")
        assert owned.restore(point, out).problems == ()
        assert describe(out / "files") == describe(source)


def test_later_signatures_of_old_keys_are_named(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    stolen, log = owned.host, owned.folder / "stolen.log"
    forged = owned.back_up(source, host=stolen, send_log=log)
    assert forged.sequence == 2
    told = new_epoch(owned.office, writer=WRITER, trusted_through=1, host_dir=owned.folder / "new")
    assert [one["point"] for one in told["no_longer_trusted"]] == ["desk-1/0000000002"]
    assert [point.sequence for point in owned.repository().points()] == [1]
    named = {f.object for f in verify(owned.vault).findings if f.severity == "error"}
    assert named == {"w/desk-1/s/0000000002"}
    after = owned.back_up(source, host=owned.host_of("new"))
    assert after.sequence == 3
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    report = verify(owned.vault, keys=owned.keys, identity=owned.identity)
    assert report.is_sound
    assert "w/desk-1/s/0000000002" in {finding.object for finding in report.findings}


def test_only_signatures_after_new_epoch_are_attacks(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    for _ in range(3):
        owned.back_up(source)
    before, stolen = owned.vault.copy(), owned.host
    new_epoch(owned.office, writer=WRITER, trusted_through=1, host_dir=owned.folder / "new")
    new = owned.host_of("new")
    (said,) = [text for text in owned.back_up(source, host=new).warnings if "skipped" in text]
    assert "desk-1: skipped 2 snapshots, 2 to 3," in said
    assert "is expected" in said
    assert "signed with its old keys" not in str(owned.back_up(source, host=new).warnings)
    for _ in range(3):
        owned.back_up(source, host=stolen, vault=before, send_log=tmp_path / "stolen.log")
    owned.vault.put("w/desk-1/s/0000000006", before.get("w/desk-1/s/0000000006"))
    (said,) = owned.back_up(source, host=new).warnings
    assert "desk-1: skipped snapshot 6" in said
    assert "somebody has used these keys" in said


def test_trust_through_a_missing_number_is_refused(owned: OwnedSite) -> None:
    for wrong in (1, 7):
        with pytest.raises(NotFound, match="or 0 to trust none"):
            new_epoch(
                owned.office, writer=WRITER, trusted_through=wrong, host_dir=owned.folder / "new"
            )
    with pytest.raises(NotFound, match="desk-1"):
        new_epoch(owned.office, writer="desk-9", trusted_through=0, host_dir=owned.folder / "new")


def test_third_epoch_never_extends_trust_in_first(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    for _ in range(2):
        owned.back_up(source)
    new_epoch(owned.office, writer=WRITER, trusted_through=1, host_dir=owned.folder / "b")
    owned.back_up(source, host=owned.host_of("b"))
    new_epoch(owned.office, writer=WRITER, trusted_through=3, host_dir=owned.folder / "c")
    grants = load_root_chain(owned.vault).root.writers
    assert [(w.epoch, w.trusted_through) for w in grants] == [(0, 1), (1, 3), (2, None)]
    assert grants[0].trusted_sha256 != grants[1].trusted_sha256
    owned.back_up(source, host=owned.host_of("c"))
    assert [point.sequence for point in owned.repository().points()] == [1, 3, 4]


def test_removed_writer_is_refused_but_restorable(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    remove_writer(owned.office, writer=WRITER, trusted_through=1)
    with pytest.raises(UsageError, match="root record"):
        owned.back_up(source)
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    with pytest.raises(UsageError, match="removed before"):
        remove_writer(owned.office, writer=WRITER, trusted_through=1)


def test_only_later_objects_of_removed_writer_are_damage(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    for _ in range(2):
        owned.back_up(source)
    before, stolen = owned.vault.copy(), owned.host
    remove_writer(owned.office, writer=WRITER, trusted_through=1)
    report = verify(owned.vault)
    assert report.is_sound
    assert "w/desk-1/s/0000000002" in {finding.object for finding in report.findings}
    owned.back_up(source, host=stolen, vault=before, send_log=tmp_path / "stolen.log")
    owned.vault.put("w/desk-1/s/0000000003", before.get("w/desk-1/s/0000000003"))
    named = {one.object for one in verify(owned.vault).findings if one.severity == "error"}
    assert named == {"w/desk-1/s/0000000003"}


def test_witness_limits_the_trust_in_a_writer(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    seen = verify(owned.vault).heads
    owned.back_up(source)
    other = Head(writer=WRITER, sequence=2, sha256="0" * 64)
    assert witnessed_head(owned.office, WRITER, [*seen, other]) == 1
    with pytest.raises(NotFound, match="--trusted-through"):
        witnessed_head(owned.office, WRITER, [other])


def test_interrupted_new_epoch_completes(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")

    def deed(site: OwnedSite) -> None:
        new_epoch(site.office, writer=WRITER, trusted_through=1, host_dir=site.folder / "new")

    for site in dies_everywhere(tmp_path, deed, lambda site: site.back_up(source)):
        roots = load_root_chain(site.vault).roots
        assert len(roots) == 2
        assert roots[-1].writers[-1].key == site.host_of("new").public_key
        assert not (site.folder / "owner.json.unfinished").exists()
        site.back_up(source, host=site.host_of("new"))
        assert site.restore("latest", site.folder / "out").problems == ()
        assert describe(site.folder / "out/files") == describe(source)


def test_unfinished_operation_blocks_another_one(owned: OwnedSite) -> None:
    owned.vault.puts_left = 0
    with pytest.raises(Died):
        add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    owned.vault.puts_left = None
    with pytest.raises(UsageError, match=r"add-writer .*writer=desk-2.*Run it again first"):
        add_writer(owned.office, name="desk-3", domain=DOMAIN, host_dir=owned.folder / "three")
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    add_writer(owned.office, name="desk-3", domain=DOMAIN, host_dir=owned.folder / "three")
    assert len(load_root_chain(owned.vault).roots) == 3


def test_rolled_back_vault_gets_no_signature(owned: OwnedSite) -> None:
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    kept = owned.vault.get("pub/root/0000000001")
    owned.vault.remove("pub/root/0000000001")
    with pytest.raises(Damaged, match="rolled back"):
        add_writer(owned.office, name="desk-3", domain=DOMAIN, host_dir=owned.folder / "three")
    owned.vault.put("pub/root/0000000001", kept)
    add_writer(owned.office, name="desk-3", domain=DOMAIN, host_dir=owned.folder / "three")


def test_junk_among_root_records_blocks_no_owner(owned: OwnedSite) -> None:
    owned.vault.put("pub/root/0000000001", b"junk" * 100)
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    trust = load_root_chain(owned.vault)
    assert [root.number for root in trust.roots] == [0, 2]
    assert trust.root.writer("desk-2", 0) is not None


def test_record_with_lost_predecessor_gets_no_sibling(owned: OwnedSite) -> None:
    for name in ("desk-2", "desk-3"):
        add_writer(owned.office, name=name, domain=DOMAIN, host_dir=owned.folder / name)
    owned.vault.remove("pub/root/0000000001")
    with pytest.raises(Damaged, match="it does not follow the existing"):
        add_writer(owned.office, name="desk-4", domain=DOMAIN, host_dir=owned.folder / "four")


@pytest.mark.long
def test_owner_file_can_have_a_passphrase(owned: OwnedSite) -> None:
    locked = owned.folder / "owner.age"
    lock_owner_file(owned.folder / "owner.json", locked, "a long enough phrase")
    assert locked.stat().st_mode & 0o777 == 0o600
    for wrong in (None, "another phrase"):
        with pytest.raises(WrongKey):
            open_owner(locked, wrong)
    office = OwnerSession(
        owner=open_owner(locked, "a long enough phrase"),
        owner_file=locked,
        vault=owned.vault,
        keys=owned.keys,
        now=owned.clock,
    )
    add_writer(office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    assert Host.load(owned.folder / "two").writer == "desk-2"


def test_invalid_owner_key_is_refused(owned: OwnedSite, tmp_path: Path) -> None:
    for name in ("custodian.txt", "host/host.json"):
        with pytest.raises(WrongKey, match=r"owner\.json"):
            open_owner(owned.folder / name)
    with pytest.raises(NotFound):
        open_owner(tmp_path / "absent")
    other = owned_site(tmp_path / "other")
    with pytest.raises((WrongKey, Damaged), match="owner"):
        OwnerSession(
            owner=open_owner(other.folder / "owner.json"),
            owner_file=other.folder / "owner.json",
            vault=owned.vault,
            keys=owned.keys,
            now=owned.clock,
        ).load_trust()
