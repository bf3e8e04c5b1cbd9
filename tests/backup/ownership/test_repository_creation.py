"""Creation of a repository and its keys."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backup.checker.verification import verify
from backup.errors import AlreadyThere, BackupError, Damaged, NotFound, UsageError, WrongKey
from backup.format.root_record import KeyRecord, key_to_bytes
from backup.ownership.repository_creation import create_repository
from backup.repository import Repository
from backup.trust.key_files import Host, open_identity
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import DOMAIN, WRITER, Site, TamperedStore, new_site
from tests.backup.trees import describe, plain_tree


def test_secrets_are_readable_by_their_owner_only(site: Site) -> None:
    for name in ("owner.json", "custodian.txt", "host/host.json"):
        assert (site.folder / name).stat().st_mode & 0o777 == 0o600
    assert (site.folder / "host").stat().st_mode & 0o777 == 0o700


def test_creation_leaves_no_temporary_file(site: Site) -> None:
    found = sorted(str(p.relative_to(site.folder)) for p in site.folder.rglob("*") if p.is_file())
    assert found == ["custodian.txt", "host/host.json", "owner.json"]


def test_host_has_nothing_that_opens_a_backup(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    secrets = (site.folder / "host" / "host.json").read_text()
    assert "AGE-SECRET-KEY" not in secrets.upper()
    for file in (site.folder / "host" / "host.json", site.folder / "owner.json", site.send_log):
        with pytest.raises(WrongKey):
            Repository.open(site.vault, site.keys, open_identity(file))


def test_secrets_do_not_show_when_printed(site: Site) -> None:
    secrets = json.loads((site.folder / "host" / "host.json").read_text())
    shown = repr(site.host) + repr(site.identity)
    assert secrets["id_key"] not in shown
    assert "SECRET" not in shown
    assert repr(bytes.fromhex(secrets["id_key"])) not in shown


@pytest.mark.parametrize("name", ["owner.json", "custodian.txt", "host/host.json"])
def test_existing_file_is_never_overwritten(tmp_path: Path, name: str) -> None:
    site = Site(folder=tmp_path, vault=MemoryStore(), keys=MemoryStore())
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("dear to someone")
    with pytest.raises(AlreadyThere, match=path.name):
        site.create()
    assert path.read_text() == "dear to someone"
    assert list(site.vault.list("")) == list(site.keys.list("")) == []


def test_second_repository_is_not_created_over_first(site: Site, tmp_path: Path) -> None:
    root = site.vault.get("pub/root/0000000000")
    other = Site(folder=tmp_path / "other", vault=site.vault, keys=site.keys)
    with pytest.raises(AlreadyThere, match="pub/"):
        other.create()
    assert site.vault.get("pub/root/0000000000") == root
    assert not other.folder.exists()


@pytest.mark.parametrize("name", ["", "Desk", "desk one", "../x", "-x", "a" * 32, "ä"])
def test_impossible_object_name_is_refused(tmp_path: Path, name: str) -> None:
    for writer, domain in ((name, "main"), ("desk", name)):
        with pytest.raises(UsageError, match="not a valid name"):
            create_repository(
                vault=MemoryStore(),
                keys=MemoryStore(),
                host_dir=tmp_path / "host",
                owner_file=tmp_path / "owner",
                identity_file=tmp_path / "id",
                now=datetime.now(UTC),
                writer=writer,
                domain=domain,
            )
    assert list(tmp_path.iterdir()) == []


def test_unfinished_creation_needs_the_same_name(tmp_path: Path) -> None:
    class NoStore(MemoryStore):
        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            raise OSError(5, "no")

    site = Site(folder=tmp_path, vault=MemoryStore(), keys=NoStore())
    with pytest.raises(BackupError):
        site.create()
    assert (tmp_path / "owner.json.unfinished").exists()
    with pytest.raises(UsageError, match=rf"domain={DOMAIN} writer={WRITER}"):
        create_repository(
            vault=site.vault,
            keys=MemoryStore(),
            writer="other",
            domain=DOMAIN,
            host_dir=tmp_path / "host",
            owner_file=tmp_path / "owner.json",
            identity_file=tmp_path / "custodian.txt",
            now=datetime.now(UTC),
        )


def test_a_wrong_identity_opens_nothing(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    stranger = str(pyrage.x25519.Identity.generate()).encode()
    with pytest.raises(WrongKey, match="opens no domain"):
        Repository.open(site.vault, site.keys, open_identity(stranger))
    other = new_site(tmp_path / "other")
    with pytest.raises(WrongKey):
        Repository.open(site.vault, site.keys, other.identity)
    with pytest.raises(WrongKey):
        verify(site.vault, keys=site.keys, identity=other.identity)
    # A reader that knows the owner detects the forged repository.
    with pytest.raises(Damaged, match="another owner"):
        Repository.open(other.vault, other.keys, site.identity, site.host.owner)
    forged = replace(other.identity, repository=site.host.repository)
    # An identity of another repository that claims this one.
    with pytest.raises(Damaged, match="another owner"):
        Repository.open(site.vault, site.keys, forged)
    with pytest.raises(WrongKey):
        verify(site.vault, keys=site.keys, identity=open_identity(stranger))


def test_without_an_identity_nothing_is_restored(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    repository = Repository.open(site.vault)
    with pytest.raises(WrongKey, match="custodian"):
        repository.restore(repository.resolve("latest"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lost_key_store_is_not_a_wrong_key(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    with pytest.raises(WrongKey, match="domain keys"):
        Repository.open(site.vault, None, site.identity)
    with pytest.raises(NotFound, match="the identity may be right"):
        Repository.open(site.vault, MemoryStore(), site.identity)
    findings = verify(site.vault, keys=MemoryStore()).findings
    assert [finding.severity for finding in findings] == ["error"]


def test_the_domain_key_itself_opens_the_repository(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    repository = site.repository()
    ((_, domain_key),) = repository._domains.items()
    opened = Repository.open(site.vault, None, open_identity(str(domain_key).encode()))
    assert opened.restore(opened.resolve("latest"), tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


@pytest.mark.parametrize("kind", ["passphrase", "ssh"])
def test_custodians_may_have_ssh_keys(site: Site, tmp_path: Path, kind: str) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    if kind == "passphrase":
        locked = pyrage.passphrase.encrypt((site.folder / "custodian.txt").read_bytes(), "open it")
        with pytest.raises(WrongKey, match="passphrase"):
            open_identity(locked)
        identity = open_identity(locked, passphrase="open it")
    else:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        add_custodian(site, pyrage.ssh.Recipient.from_str(public.decode()))
        identity = open_identity(
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        )
    repository = Repository.open(site.vault, site.keys, identity)
    assert repository.restore(repository.resolve("latest"), tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def add_custodian(site: Site, recipient: object) -> None:
    """Put a new key record: the same domain key for other custodians."""
    ((_, domain_key),) = site.repository()._domains.items()
    owner_file = json.loads((site.folder / "owner.json").read_text())
    owner = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(owner_file["owner_key"]))
    record = KeyRecord(
        repository=site.host.repository,
        domain=DOMAIN,
        generation=0,
        number=1,
        recipient=str(domain_key.to_public()),
        custodians=("an ssh key",),
        wrapped=pyrage.encrypt(str(domain_key).encode(), [recipient]),
    )
    site.keys.put(f"k/{DOMAIN}/0000000000/0000000001", key_to_bytes(record, owner))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 50, b"AGE-SECRET-KEY-1NONSENSE", b"age-encryption.org/v1\nx", b"-----BEGIN x"],
)
def test_invalid_identity_is_refused(content: bytes) -> None:
    with pytest.raises(WrongKey):
        open_identity(content, passphrase="x")


def test_a_missing_file_of_keys_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.txt"):
        open_identity(tmp_path / "absent.txt")
    with pytest.raises(NotFound, match="host"):
        Host.load(tmp_path / "host")


def test_a_damaged_host_file_is_named(site: Site) -> None:
    path = site.folder / "host" / "host.json"
    path.write_text(path.read_text().replace('"epoch":0', '"epoch":"x"'))
    with pytest.raises(Damaged, match="Restore it"):
        Host.load(site.folder / "host")


def test_store_without_repository_says_so() -> None:
    with pytest.raises(NotFound, match="no repository"):
        Repository.open(TamperedStore())
    with pytest.raises(NotFound, match="no repository"):
        verify(TamperedStore())
