"""Owner operations on custodians and domains: access afterwards."""

from pathlib import Path

import pytest

from backup.checker.verification import verify
from backup.errors import Damaged, NotFound, UsageError, WrongKey
from backup.format.object_names import key_name
from backup.ownership.custodian_public_key import Custodian, parse_custodian
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.domains import add_domain, new_generation
from backup.ownership.operations.writers import add_writer
from backup.ownership.roster import read_roster
from backup.repository import Repository
from backup.trust.key_files import Identity
from backup.trust.root_chain import load_root_chain
from tests.backup.owner_site import OwnedSite, dies_everywhere, new_person, owned_site
from tests.backup.site import DOMAIN
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    return owned_site(tmp_path / "site")


def restores(site: OwnedSite, identity: Identity, point: str, source: Path, out: Path) -> bool:
    """Restore a point and compare it; False if the identity opens nothing."""
    try:
        repository = Repository.open(site.vault, site.keys, identity)
        result = repository.restore(repository.resolve(point), out)
    except WrongKey:
        return False
    assert result.problems == ()
    assert describe(out / "files") == describe(source)
    return True


def add(site: OwnedSite, one: Custodian) -> None:
    add_custodian(site.office, custodian=one, identity=site.identity)


def founder_of(site: OwnedSite) -> str:
    """Return the public key of the site's first custodian."""
    lines = (site.folder / "custodian.txt").read_text().splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("# public key"))


def damage(site: OwnedSite, name: str) -> None:
    site.keys._objects[name] = (b"", site.clock())


def test_new_custodian_opens_old_and_new_points(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    lee, identity = new_person("Lee")
    assert not restores(owned, identity, "1", source, tmp_path / "no")
    told = add_custodian(owned.office, custodian=lee, identity=owned.identity)
    assert told["key_records"] == ["k/main/0000000000/0000000001"]
    owned.back_up(source)
    for n, who in enumerate((identity, owned.identity)):
        for point in ("1", "2"):
            assert restores(owned, who, point, source, tmp_path / f"{n}-{point}")
    assert verify(owned.vault, keys=owned.keys).findings == ()
    with pytest.raises(UsageError, match="already"):
        add(owned, lee)


def test_adding_first_custodian_again_names_it(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    add(owned, parse_custodian(founder_of(owned), "Dana Ray"))
    assert [one.title for one in custodians_in(owned)] == [f"Dana Ray ({founder_of(owned)})"]
    assert restores(owned, owned.identity, "1", source, tmp_path / "out")
    for name in ("", "Dana Ray"):
        with pytest.raises(UsageError, match="already"):
            add(owned, parse_custodian(founder_of(owned), name))


def custodians_in(site: OwnedSite) -> tuple[Custodian, ...]:
    return read_roster(site.vault, site.keys).custodians


def test_retired_custodian_opens_nothing_new(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    lee, lees = new_person("Lee")
    add(owned, lee)
    owned.back_up(source)
    assert restores(owned, lees, "1", source, tmp_path / "before")
    kept_keys = {name: owned.keys.get(name) for name in owned.keys.names()}
    told = retire_custodian(owned.office, name="Lee", identity=owned.identity)
    assert told["generations"] == {"main": 1}
    owned.back_up(source)
    with pytest.raises(WrongKey):
        Repository.open(owned.vault, owned.keys, lees)
    for point in ("1", "2"):
        assert restores(owned, owned.identity, point, source, tmp_path / point)
    # The departed custodian may keep every old key record. The old keys still open old points,
    # and they must not open later ones.
    for name, data in kept_keys.items():
        owned.keys._objects.setdefault(name, (data, owned.clock()))
        if name.endswith("/0000000001"):
            owned.keys.remove("k/main/0000000000/0000000002")
    assert restores(owned, lees, "1", source, tmp_path / "old")
    assert not restores(owned, lees, "2", source, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert b'"uses":[]' in owned.vault.get("w/desk-1/s/0000000002")


def test_records_for_retired_custodian_are_removed(owned: OwnedSite) -> None:
    lee, _ = new_person("Lee")
    add(owned, lee)
    retire_custodian(owned.office, name=lee.recipient, identity=owned.identity)
    assert owned.keys.names() == ["k/main/0000000000/0000000002", "k/main/0000000001/0000000000"]
    assert verify(owned.vault, keys=owned.keys, identity=owned.identity).is_sound


def test_last_custodian_cannot_be_retired(owned: OwnedSite) -> None:
    with pytest.raises(UsageError, match=r"only custodian|being retired"):
        retire_custodian(owned.office, name=founder_of(owned), identity=owned.identity)
    lee, lees = new_person("Lee")
    add(owned, lee)
    with pytest.raises(UsageError, match="being retired"):
        retire_custodian(owned.office, name="Lee", identity=lees)
    with pytest.raises(NotFound, match="Lee"):
        retire_custodian(owned.office, name="Kim", identity=owned.identity)
    retire_custodian(owned.office, name=founder_of(owned), identity=lees)
    with pytest.raises(WrongKey):
        Repository.open(owned.vault, owned.keys, owned.identity)


def test_custodians_of_one_name_differ_by_key(owned: OwnedSite) -> None:
    for _ in range(2):
        add(owned, new_person("Lee")[0])
    with pytest.raises(UsageError, match="several"):
        retire_custodian(owned.office, name="Lee", identity=owned.identity)


@pytest.mark.parametrize("text", ["", "age1nonsense", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1X", "x"])
def test_invalid_public_key_is_no_custodian(text: str) -> None:
    with pytest.raises(UsageError, match="age1, ssh-ed25519"):
        parse_custodian(text)


def test_unknown_identity_cannot_change_custodians(owned: OwnedSite) -> None:
    _, stranger = new_person("Stranger")
    with pytest.raises(WrongKey):
        add_custodian(owned.office, custodian=new_person("Lee")[0], identity=stranger)
    assert owned.keys.names() == ["k/main/0000000000/0000000000"]


def test_new_generation_is_used_and_old_still_opens(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    assert new_generation(owned.office, domain=DOMAIN)["generation"] == 1
    owned.back_up(source)
    assert b'"generation":1' in owned.vault.get("w/desk-1/s/0000000002").partition(b"\n")[0]
    for point in ("1", "2"):
        assert restores(owned, owned.identity, point, source, tmp_path / point)
    with pytest.raises(NotFound, match="main"):
        new_generation(owned.office, domain="other")


def test_second_domain_has_its_own_key(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    told = add_domain(owned.office, name="hr")
    assert told["custodians"] == [founder_of(owned)]
    add_writer(owned.office, name="desk-2", domain="hr", host_dir=owned.folder / "two")
    owned.back_up(source)
    owned.back_up(source, host=owned.host_of("two"), send_log=owned.folder / "two/send.log")
    for point in ("desk-1/1", "desk-2/1"):
        assert restores(owned, owned.identity, point, source, tmp_path / point.replace("/", "-"))
    first, second = load_root_chain(owned.vault).root.domains
    assert first.recipient != second.recipient
    with pytest.raises(UsageError, match="exists"):
        add_domain(owned.office, name="hr")
    with pytest.raises(UsageError, match="not a valid name"):
        add_domain(owned.office, name="H R")


def test_damaged_key_record_is_no_wrong_key(owned: OwnedSite, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    add_domain(owned.office, name="hr")
    add_writer(owned.office, name="desk-2", domain="hr", host_dir=owned.folder / "two")
    owned.back_up(source)
    owned.back_up(source, host=owned.host_of("two"), send_log=owned.folder / "two/send.log")
    damage(owned, key_name(DOMAIN, 0, 0))
    repository = owned.repository()
    with pytest.raises(Damaged, match=key_name(DOMAIN, 0, 0)):
        repository.restore(repository.resolve("desk-1/1"), tmp_path / "out")
    with pytest.raises(Damaged, match=key_name(DOMAIN, 0, 0)):
        repository.find(["*"], repository.points())
    assert restores(owned, owned.identity, "desk-2/1", source, tmp_path / "desk-2")


def test_possibly_own_damaged_record_is_no_wrong_key(owned: OwnedSite) -> None:
    lee, lees = new_person("Lee")
    add(owned, lee)
    damage(owned, key_name(DOMAIN, 0, 1))
    with pytest.raises(Damaged, match=key_name(DOMAIN, 0, 1)):
        Repository.open(owned.vault, owned.keys, lees)
    assert owned.repository().points() == []


def test_custodians_of_new_domain_are_never_guessed(owned: OwnedSite) -> None:
    lee, lees = new_person("Lee")
    add_domain(owned.office, name="hr", custodians=[lee])
    with pytest.raises(UsageError, match="--recipient"):
        add_domain(owned.office, name="third")
    with pytest.raises(WrongKey, match="opens every key"):
        add_custodian(owned.office, custodian=new_person("Kim")[0], identity=lees)


def test_interrupted_addition_of_custodian_completes(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    lee, lees = new_person("Lee")

    def before(site: OwnedSite) -> None:
        site.back_up(source)
        new_generation(site.office, domain=DOMAIN)

    for site in dies_everywhere(tmp_path, lambda site: add(site, lee), before):
        site.back_up(source)
        for point in ("1", "2"):
            assert restores(site, lees, point, source, site.folder / f"lee-{point}")
            assert restores(site, site.identity, point, source, site.folder / f"own-{point}")


def test_interrupted_retirement_of_custodian_completes(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    lee, lees = new_person("Lee")

    def before(site: OwnedSite) -> None:
        add(site, lee)
        site.back_up(source)

    def deed(site: OwnedSite) -> None:
        # After any interrupted attempt, the remaining custodian can restore.
        assert restores(
            site, site.identity, "1", source, site.folder / f"at-{site.clock().timestamp()}"
        )
        assert verify(site.vault, keys=site.keys).is_sound
        retire_custodian(site.office, name="Lee", identity=site.identity)

    for site in dies_everywhere(tmp_path, deed, before):
        site.back_up(source)
        assert not restores(site, lees, "2", source, site.folder / "no")
        for point in ("1", "2"):
            assert restores(site, site.identity, point, source, site.folder / point)
        assert verify(site.vault, keys=site.keys, identity=site.identity).is_sound
        assert len(site.keys.names()) == 2
