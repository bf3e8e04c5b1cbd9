"""Owner operations that are interrupted, run at the same time, or damaged."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backup.checker.verification import verify
from backup.errors import (
    AlreadyThere,
    Damaged,
    NotWritable,
    StoreUnavailable,
    UsageError,
    WrongKey,
)
from backup.ownership.custodian_public_key import parse_custodian
from backup.ownership.operation_plan import read_plan
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.writers import add_writer, new_epoch
from backup.ownership.owner_session import open_owner
from backup.ownership.repository_creation import create_repository
from backup.system.durable_files import create_file, replace_file
from backup.trust.key_files import Host, open_identity
from backup.trust.root_chain import load_root_chain
from tests.backup.owner_site import KeyDrawer, OwnedSite, owned_site
from tests.backup.site import DOMAIN, WRITER, Died, DyingStore
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    return owned_site(tmp_path / "site")


def dying_at(
    number: int, *, after: bool, files: list[Path], write: Callable[[Path, bytes], None]
) -> Callable[[Path, bytes], None]:
    """Wrap a file writer so that the process ends at the n-th file."""

    def dying(path: Path, data: bytes) -> None:
        files.append(path)
        if len(files) - 1 == number:
            if after:
                write(path, data)
            raise Died
        write(path, data)

    return dying


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_operation_interrupted_at_any_file_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    source = plain_tree(tmp_path / "source")
    for number in range(3):  # the plan, the host's file, the last signed object
        site = owned_site(tmp_path / f"site-{number}-{after}")
        site.back_up(source)
        files: list[Path] = []

        def deed(site: OwnedSite = site) -> None:
            new_epoch(site.office, writer=WRITER, trusted_through=1, host_dir=site.folder / "new")

        with monkeypatch.context() as patch:
            for name, write in (
                ("backup.ownership.operation_plan.create_file", create_file),
                ("backup.ownership.owner_session.replace_file", replace_file),
            ):
                patch.setattr(name, dying_at(number, after=after, files=files, write=write))
            with pytest.raises(Died):
                deed()
        if (site.folder / "owner.json.unfinished").exists() or not load_root_chain(
            site.vault
        ).root.writer(WRITER, 1):
            deed()
        roots = load_root_chain(site.vault).roots
        assert len(roots) == 2
        assert roots[-1].writers[-1].key == site.host_of("new").public_key
        site.back_up(source, host=site.host_of("new"))
        assert site.restore("latest", site.folder / "out").problems == ()
        assert describe(site.folder / "out/files") == describe(source)


@pytest.mark.parametrize("why", ["no folder", "no hard links", "no room"])
def test_unwritable_output_allows_another_path(
    owned: OwnedSite, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """An operation that cannot end would block every later operation."""
    place = owned.folder / ("custodian.txt" if why == "no folder" else "stick") / "two"
    link, fsync = os.link, os.fsync

    def as_fat(draft: Path, path: Path) -> None:
        if path.is_relative_to(owned.folder / "stick"):
            raise OSError(errno.EPERM, "Operation not permitted")
        link(draft, path)

    def as_full(descriptor: int) -> None:
        there = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_key = stat.S_ISREG(os.fstat(descriptor).st_mode) and os.fstat(descriptor).st_size > 0
        if is_key and there.is_relative_to(owned.folder / "stick"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        if why == "no hard links":
            patch.setattr("os.link", as_fat)
        if why == "no room":
            patch.setattr("os.fsync", as_full)
        with pytest.raises(
            (UsageError, NotWritable),
            match=f"hard links|{place}: not an empty|{place}/host.json cannot be written: .* space",
        ):
            add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=place)
    assert not place.exists() or not list(place.iterdir())
    assert len(load_root_chain(owned.vault).roots) == 1
    assert not (owned.folder / "owner.json.unfinished").exists()
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    assert owned.host_of("two").writer == "desk-2"
    assert [path.name for path in (owned.folder / "two").iterdir()] == ["host.json"]


def test_store_with_delayed_listing_is_tried_again(
    owned: OwnedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(name: str, data: bytes) -> None:
        raise AlreadyThere(name)

    with monkeypatch.context() as patch:
        patch.setattr(owned.vault, "put", said)
        with pytest.raises(StoreUnavailable, match="and then as missing"):
            add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    assert [one.id for one in load_root_chain(owned.vault).root.writers] == [WRITER, "desk-2"]


def test_simultaneous_owners_do_not_overwrite_each_other(owned: OwnedSite) -> None:
    """Two copies of the key are used at once: one owner must look again."""
    second = owned.folder / "copy"
    second.mkdir()
    shutil.copy(owned.folder / "owner.json", second)
    owned.vault.puts_left = 0
    with pytest.raises(Died):
        add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    owned.vault.puts_left = None
    other = replace(owned.office, owner_file=second / "owner.json")
    add_writer(other, name="desk-3", domain=DOMAIN, host_dir=owned.folder / "three")
    with pytest.raises(AlreadyThere, match=r"somebody else created it.*owner\.json\.unfinished"):
        add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    (owned.folder / "owner.json.unfinished").unlink()
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "again")
    names = [one.id for one in load_root_chain(owned.vault).root.writers]
    assert names == [WRITER, "desk-3", "desk-2"]
    assert Host.load(owned.folder / "again").writer == "desk-2"


def test_damaged_plan_is_named_and_does_nothing(owned: OwnedSite) -> None:
    plan = owned.folder / "owner.json.unfinished"
    for content in (
        b"",
        b"{}",
        b'{"operation":"x","request":{},"steps":[{"kind":"burn"}],"result":{}}',
        b'{"operation":"x","request":[],"steps":[],"result":{}}',
    ):
        plan.write_bytes(content)
        with pytest.raises(Damaged, match="unfinished"):
            read_plan(plan)
        with pytest.raises(Damaged, match="unfinished"):
            add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    assert len(load_root_chain(owned.vault).roots) == 1
    assert read_plan(owned.folder / "absent") is None


def test_owner_file_can_be_encrypted_at_creation(tmp_path: Path) -> None:
    vault, keys = DyingStore(), KeyDrawer()
    site = OwnedSite(folder=tmp_path, vault=vault, keys=keys)
    create_repository(
        vault=vault,
        keys=keys,
        writer=WRITER,
        domain=DOMAIN,
        host_dir=tmp_path / "host",
        owner_file=tmp_path / "owner.json",
        identity_file=tmp_path / "custodian.txt",
        now=site.clock(),
        owner_passphrase="a long enough phrase",
    )
    assert b"owner_key" not in (tmp_path / "owner.json").read_bytes()
    with pytest.raises(WrongKey, match="passphrase"):
        open_owner(tmp_path / "owner.json")
    opened = open_owner(tmp_path / "owner.json", "a long enough phrase")
    assert opened.public == load_root_chain(vault).root.owner


def test_ssh_custodian_is_added_and_retired(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    one = parse_custodian(f"{public} lee@example.com")
    assert (one.name, one.recipient) == ("lee@example.com", public)
    assert one.fingerprint.startswith("SHA256:")
    identity = open_identity(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    add_custodian(owned.office, custodian=one, identity=owned.identity)
    # The new custodian performs the next ceremony, and the first custodian departs.
    first = (owned.folder / "custodian.txt").read_text().splitlines()[3].split(": ")[1]
    retire_custodian(owned.office, name=first, identity=identity)
    owned.back_up(source)
    (owned.folder / "custodian.txt").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    for point in ("1", "2"):
        assert owned.restore(point, tmp_path / point).problems == ()
        assert describe(tmp_path / point / "files") == describe(source)
    assert verify(owned.vault, keys=owned.keys, identity=identity).is_sound
