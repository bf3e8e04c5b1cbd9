"""Root records at a wrong place, and foreign objects next to them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup.errors import UsageError
from backup.format.object_names import root_name
from backup.ownership.operations.domains import add_domain
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import sign_root
from tests.backup.owner_site import owned_site
from tests.backup.site import Site, TamperedStore
from tests.backup.trees import plain_tree


def test_record_under_wrong_number_does_not_count(site: Site) -> None:
    """Other root records refer to this one by its number and hash."""
    vault = site.vault
    assert isinstance(vault, TamperedStore)
    sign_root(site)
    data = vault.get(root_name(1))
    vault.remove(root_name(1))
    vault.put(root_name(2), data)
    trust = load_root_chain(vault)
    assert trust.root.number == 0
    assert trust.problems == (
        (root_name(2), f"{root_name(2)} contains root record 1: it was moved"),
    )


def test_foreign_object_among_records_blocks_no_owner(
    site: Site,
) -> None:
    site.vault.put("pub/root/newest", b"not a record")
    assert load_root_chain(site.vault).root.number == 0
    sign_root(site)
    trust = load_root_chain(site.vault)
    assert trust.root.number == 1
    assert [name for name, _ in trust.problems] == ["pub/root/newest"]


def test_uncounted_record_is_named_once_per_backup(site: Site, tmp_path: Path) -> None:
    site.vault.put(root_name(1), b"junk")
    (told,) = site.back_up(plain_tree(tmp_path / "source")).warnings
    assert told.count(root_name(1)) == 1


def test_writer_is_removed_only_without_valid_grant(site: Site) -> None:
    """Otherwise earlier points would seem abandoned, or remain an error."""
    (grant,) = load_root_chain(site.vault).root.writers
    other = replace(grant, id="desk-2")
    assert load_root_chain(site.vault).removal_time("desk-2") is None, "it never was one"
    sign_root(site, writers=(grant, other))
    sign_root(site, writers=(grant, replace(other, trusted_through=3)))
    ended = load_root_chain(site.vault).root.created
    assert ended > datetime(2026, 1, 1, tzinfo=UTC)
    sign_root(site, writers=(grant, replace(other, trusted_through=3)))
    trust = load_root_chain(site.vault)
    assert trust.removal_time("desk-2") == ended, "the first record that said so"
    assert trust.removal_time(grant.id) is None
    new_epoch = replace(other, epoch=1)
    sign_root(site, writers=(grant, replace(other, trusted_through=3), new_epoch))
    assert load_root_chain(site.vault).removal_time("desk-2") is None


def test_host_without_domain_grant_backs_up_nothing(tmp_path: Path) -> None:
    """No reader would trust its points, and the run would look successful."""
    owned = owned_site(tmp_path / "site")
    add_domain(owned.office, name="hr")
    before = owned.vault.names()
    with pytest.raises(UsageError, match="domain hr"):
        owned.back_up(
            plain_tree(tmp_path / "source"),
            host=replace(owned.host, domain="hr"),
            send_log=owned.folder / "hr.log",
        )
    assert owned.vault.names() == before
