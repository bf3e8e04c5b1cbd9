"""`latest` with several hosts that back up one set into one vault."""

from pathlib import Path

import pytest

from backup.errors import NotFound, UsageError
from backup.ownership.operations.writers import add_writer
from backup.repository import Repository
from tests.backup.owner_site import OwnedSite, owned_site
from tests.backup.site import DOMAIN
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def site(tmp_path: Path) -> OwnedSite:
    """Make two points of desk-1, and points of desk-2 between and after them."""
    site = owned_site(tmp_path / "site")
    source = plain_tree(tmp_path / "source")
    add_writer(site.office, name="desk-2", domain=DOMAIN, host_dir=site.folder / "two")
    for number, host in enumerate(("host", "two", "host", "two")):
        (source / "note").write_text(f"as of run {number}")
        site.back_up(source, host=site.host_of(host), send_log=site.folder / f"{host}.log")
    return site


def opened(site: OwnedSite, own_writer: str | None = None) -> Repository:
    return Repository.open(site.vault, site.keys, site.identity, own_writer=own_writer)


def test_a_host_means_its_own_latest(site: OwnedSite, tmp_path: Path) -> None:
    repository = opened(site, "desk-1")
    point = repository.resolve("latest")
    assert point.name == "desk-1/0000000002"
    assert repository.restore(point, tmp_path / "out").problems == ()
    assert (tmp_path / "out/files/note").read_text() == "as of run 2"
    assert opened(site, "desk-2").resolve("latest").name == "desk-2/0000000002"


def test_latest_of_another_host_needs_its_name(site: OwnedSite, tmp_path: Path) -> None:
    repository = opened(site, "desk-1")
    point = repository.resolve("desk-2/latest", "nightly")
    assert point.name == "desk-2/0000000002"
    assert repository.restore(point, tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tmp_path / "source")


@pytest.mark.parametrize("own_writer", [None, "desk-3"])
def test_latest_of_several_hosts_is_refused_elsewhere(
    site: OwnedSite, own_writer: str | None
) -> None:
    with pytest.raises(UsageError, match=r"[Nn]ame one of desk-1/latest, desk-2/latest"):
        opened(site, own_writer).resolve("latest")
    assert opened(site).resolve("latest", of_any_host=True).name == "desk-2/0000000002"


def test_latest_is_of_the_only_host_with_points(site: OwnedSite) -> None:
    source = site.folder.parent / "source"
    site.back_up(source, host=site.host_of("two"), send_log=site.folder / "two.log", set_name="crm")
    assert opened(site, "desk-1").resolve("latest", "crm").name == "desk-2/0000000003"


def test_latest_of_host_without_points_is_not_found(site: OwnedSite) -> None:
    with pytest.raises(NotFound, match="recovery point 'desk-9/latest': not found"):
        opened(site).resolve("desk-9/latest")


def test_number_of_any_length_is_handled(site: OwnedSite, tmp_path: Path) -> None:
    repository = opened(site)
    for text in ("9" * 5000, "desk-1/" + "9" * 5000, "0", "desk-1/0", "desk-1/" + "0" * 5000):
        with pytest.raises(NotFound, match="not found"):
            repository.resolve(text)
    for text in ("2", "0000000002", "0" * 5000 + "2"):
        point = repository.resolve(f"desk-1/{text}")
        assert point.name == "desk-1/0000000002"
    assert repository.restore(point, tmp_path / "out").problems == ()
    assert (tmp_path / "out/files/note").read_text() == "as of run 2"


def test_latest_is_no_copy_of_the_installation(site: OwnedSite) -> None:
    source = site.folder.parent / "source"
    log, host = site.folder / "host.log", site.host_of("host")
    site.back_up(source, host=host, send_log=log, set_name="installation")
    repository = opened(site, "desk-1")
    assert repository.resolve("latest").name == "desk-1/0000000002"
    assert repository.resolve("latest", "installation").name == "desk-1/0000000003"
