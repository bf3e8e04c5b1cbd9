"""The recovery card, and the roster from which it is made."""

import dataclasses
import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from backup.ownership.bundled_reader import bundled_files
from backup.ownership.operations.custodians import add_custodian
from backup.ownership.operations.keepers import set_keeper
from backup.ownership.operations.writers import add_writer, remove_writer
from backup.ownership.recovery_card import (
    Card,
    Places,
    card_page,
    card_text,
    group_digits,
    make_card,
)
from backup.ownership.roster import read_roster
from backup.stores.directory import DirectoryStore
from tests.backup.owner_site import OwnedSite, new_person, owned_site
from tests.backup.site import DOMAIN, WRITER
from tests.backup.trees import describe, plain_tree

PLACES = Places(
    organisation="Call & <b>Centre</b>",
    contact="020 7946 0000",
    vault="s3://example-vault/",
    keys="/mnt/backup-keys",
    copies=(("paris", "/mnt/second-site"),),
)


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    site = owned_site(tmp_path / "site")
    site.back_up(plain_tree(tmp_path / "source"))
    add_custodian(site.office, custodian=new_person("Lee Moss")[0], identity=site.identity)
    add_writer(site.office, name="desk-2", domain=DOMAIN, host_dir=site.folder / "two")
    return site


def card_of(site: OwnedSite) -> Card:
    return make_card(read_roster(site.vault, site.keys), PLACES, site.clock())


def test_card_names_locations_and_people(owned: OwnedSite) -> None:
    card = card_of(owned)
    roster = card.roster
    for page in (card_text(card), card_page(card)):
        for part in (
            "s3://example-vault/",
            "/mnt/backup-keys",
            "/mnt/second-site",
            "020 7946 0000",
            "Lee Moss",
            "desk-1/0000000001",
            "desk-2",
            *group_digits(roster.repository),
            *group_digits(roster.owner),
            *(one.recipient for one in roster.custodians),
            *(name.rpartition("/")[2] for name in bundled_files()),
        ):
            assert part in page, part
    assert "".join(group_digits(roster.owner)).replace(" ", "") == roster.owner.hex()
    assert [step.command for step in card.steps].count("") == 2


def test_card_tells_how_to_recover_the_installation(owned: OwnedSite) -> None:
    places = dataclasses.replace(PLACES, has_installation=True)
    card = make_card(read_roster(owned.vault, owned.keys), places, owned.clock())
    assert "standfast recover installation" in card_text(card)
    assert "standfast recover installation" not in card_text(card_of(owned))


def test_card_contains_no_secret(owned: OwnedSite) -> None:
    page = card_page(card_of(owned)) + card_text(card_of(owned))
    assert "AGE-SECRET-KEY" not in page.upper()
    public = {owned.office.owner.public.hex(), owned.office.owner.repository.hex()}
    for name in ("owner.json", "host/host.json", "two/host.json"):
        values = (owned.folder / name).read_text().split('"')
        secrets = [value for value in values if len(value) >= 32 and value not in public]
        assert secrets
        assert not [value for value in secrets if value in page]


def test_texts_of_people_are_escaped_on_the_page(owned: OwnedSite) -> None:
    page = card_page(card_of(owned))
    assert "Call &amp; &lt;b&gt;Centre&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert "src=" not in page


def test_following_the_card_restores(owned: OwnedSite, tmp_path: Path) -> None:
    """Run the steps as printed; packages are linked, not downloaded."""
    vault, keys = DirectoryStore(tmp_path / "VAULT"), DirectoryStore(tmp_path / "KEYS")
    for store, folder in ((owned.vault, vault), (owned.keys, keys)):
        for name in store.names():
            folder.put(name, store.get(name))
    (tmp_path / "IDENTITY_FILE").write_bytes((owned.folder / "custodian.txt").read_bytes())
    said = ""
    for line in "\n".join(step.command for step in card_of(owned).steps).split("\n"):
        if not line:
            continue
        words = line.replace("python3", sys.executable).replace("POINT", "").split()
        if words[1:2] == ["install"]:
            # Use the pip of the environment: Debian's and Ubuntu's own pip installs nothing (PEP
            # 668).
            assert (tmp_path / words[0]).is_file()
            (site_packages,) = (tmp_path / "glass").glob("lib/*/site-packages")
            (site_packages / "here.pth").write_text(sysconfig.get_path("platlib"))
            continue
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (words, done)
        said += done.stdout
    card = card_of(owned)
    assert card.reader_sha256 in said
    assert card.roster.owner.hex() in said
    assert describe(tmp_path / "TARGET/files") == describe(tmp_path / "source")


def test_roster_lists_epochs_generations_and_keepers(owned: OwnedSite) -> None:
    set_keeper(owned.office, keeper_file=owned.folder / "keeper.json")
    remove_writer(owned.office, writer=WRITER, trusted_through=1)
    roster = read_roster(owned.vault, owned.keys)
    assert [(w.id, w.epoch, w.trusted_through) for w in roster.writers] == [
        ("desk-1", 0, 1),
        ("desk-2", 0, None),
    ]
    first, second = roster.writers
    assert first.newest is not None
    assert first.newest.sequence == 1
    assert second.newest is None
    assert [one.trusted_through for one in roster.keepers] == [None]
    assert [len(one.custodians) for one in roster.domains[0].generations] == [2]
    assert (roster.root_number, roster.lacks_documents, roster.problems) == (3, False, ())
    assert "desk-1 (epoch" not in card_text(make_card(roster, PLACES, owned.clock()))


def test_roster_works_without_a_key_store(owned: OwnedSite) -> None:
    roster = read_roster(owned.vault, None)
    assert roster.custodians == ()
    assert len(roster.writers) == 2
    for name in owned.keys.names():
        owned.keys.remove(name)
    assert "no key of domain main" in read_roster(owned.vault, owned.keys).problems[0]


def test_vault_without_current_documents_is_reported(owned: OwnedSite) -> None:
    for name in owned.vault.names("pub/reader/"):
        assert hashlib.sha256(owned.vault.get(name)).hexdigest() == name.rpartition("/")[2]
        owned.vault.remove(name)
    assert read_roster(owned.vault, owned.keys).lacks_documents
