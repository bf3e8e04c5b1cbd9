"""Erasure of a domain: required people, remains, interruptions."""

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.checker.verification import verify
from backup.errors import BackupError, Damaged, UsageError, WrongKey
from backup.format.object_names import MAX_KEY_RECORD_BYTES
from backup.ownership.erasure.domain_erasure import erase, order_erasure
from backup.ownership.erasure.erasure_certificate import certificate_from_bytes
from backup.ownership.erasure.erasure_order import (
    Attestation,
    Order,
    attest,
    order_to_bytes,
    read_attestation,
    read_order,
)
from backup.ownership.operation_plan import OperationResult
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.domains import add_domain, new_generation
from backup.ownership.operations.writers import add_writer
from backup.repository import Repository
from backup.trust.key_files import Identity
from backup.trust.root_chain import load_root_chain
from tests.backup.owner_site import KeyDrawer, OwnedSite, dies_everywhere, new_person, owned_site
from tests.backup.site import DOMAIN
from tests.backup.trees import describe, plain_tree

LEE, LEES = new_person("Lee")


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    return peopled(owned_site(tmp_path / "site"), plain_tree(tmp_path / "source"))


def peopled(site: OwnedSite, source: Path) -> OwnedSite:
    """Make two custodians, two domains, two generations, and points of each."""
    add_custodian(site.office, custodian=LEE, identity=site.identity)
    add_domain(site.office, name="hr")
    add_writer(site.office, name="hr-1", domain="hr", host_dir=site.folder / "hr")
    site.back_up(source)
    new_generation(site.office, domain=DOMAIN)
    site.back_up(source)
    site.back_up(source, host=site.host_of("hr"), send_log=site.folder / "hr.log")
    return site


def ordered(site: OwnedSite) -> bytes:
    return order_erasure(
        site.office, domain=DOMAIN, ordered_by="Dana Ray", reason="the contract has ended"
    )


def attestations(
    site: OwnedSite, data: bytes, people: tuple[tuple[Identity, str], ...] | None = None
) -> list[Attestation]:
    given = people or ((site.identity, "Dana Ray"), (LEES, "Lee Moss"))
    return [
        read_attestation(paper, "a")
        for identity, name in given
        for paper in attest(data, identity, attested_by=name, now=site.clock(), where="the order")
    ]


def erased(site: OwnedSite, data: bytes | None = None) -> OperationResult:
    data = data or ordered(site)
    return erase(
        site.office,
        order=read_order(data, "the order"),
        attestations=attestations(site, data),
        certificate=site.folder / "certificate.json",
    )


def check_erased(site: OwnedSite, source: Path, out: Path) -> None:
    assert not site.keys.names("k/main/")
    root = load_root_chain(site.vault).root
    assert all((one.erased is not None) == (one.id == DOMAIN) for one in root.domains)
    for identity in (site.identity, LEES):
        repository = Repository.open(site.vault, site.keys, identity)
        for point in ("desk-1/1", "desk-1/2"):
            with pytest.raises(WrongKey, match="was erased on"):
                repository.restore(repository.resolve(point), out / "nothing")
        report = verify(site.vault, keys=site.keys, identity=identity, read=True)
        assert report.is_sound
        assert {"note"} == {finding.severity for finding in report.findings}
        assert any("was erased on" in finding.problem for finding in report.findings)
    assert not (out / "nothing").exists()
    assert site.restore("hr-1/1", out / "hr").problems == ()
    assert describe(out / "hr/files") == describe(source)
    with pytest.raises(UsageError, match="was erased on"):
        site.back_up(source)


def test_erased_domain_opens_for_nobody(owned: OwnedSite, tmp_path: Path) -> None:
    told = erased(owned)
    assert (told["domain"], told["points"]) == (DOMAIN, 2)
    check_erased(owned, tmp_path / "source", tmp_path / "out")
    report = verify(owned.vault, keys=owned.keys, identity=owned.identity)
    assert [finding.object for finding in report.findings] == [
        "k/main/0000000000/",
        "k/main/0000000001/",
    ]
    assert "opening" in report.saw, "what nobody can open is not left to be opened"


def test_domain_with_similar_name_keeps_its_keys(owned: OwnedSite) -> None:
    add_domain(owned.office, name=f"{DOMAIN}-2")
    kept = owned.keys.names(f"k/{DOMAIN}-2/")
    assert kept
    erased(owned)
    assert owned.keys.names(f"k/{DOMAIN}/") == []
    assert owned.keys.names(f"k/{DOMAIN}-2/") == kept


def test_certificate_names_domain_time_and_persons(owned: OwnedSite) -> None:
    records = owned.keys.names("k/main/")
    told = erased(owned)
    data = (owned.folder / "certificate.json").read_bytes()
    value = certificate_from_bytes(data, owned.office.owner.public, "the certificate")
    assert (value["domain"], value["ordered_by"]) == (DOMAIN, "Dana Ray")
    assert [one["attested_by"] for one in value["attestations"]] in (
        ["Dana Ray", "Lee Moss"],
        ["Lee Moss", "Dana Ray"],
    )
    assert [one["name"] for one in value["key_records"]] == records
    root = load_root_chain(owned.vault)
    assert value["root"] == {"number": root.root.number, "sha256": root.links[-1].sha256}
    text = (owned.folder / "certificate.json.txt").read_text()
    for part in (DOMAIN, "Dana Ray", "Lee Moss", "the contract has ended", told["erased_at"]):
        assert part in text
    assert "AGE-SECRET-KEY" not in text + data.decode()
    spoilt = data.replace(b"Lee Moss", b"Kim Moss")
    with pytest.raises(Damaged):
        certificate_from_bytes(spoilt, owned.office.owner.public, "the certificate")


def test_oversize_key_object_is_erased_too(
    owned: OwnedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody with access to the key store can put such an object."""
    junk = f"k/{DOMAIN}/0000000000/0000000007"
    owned.keys.put(junk, bytes(MAX_KEY_RECORD_BYTES + 1))
    get = owned.keys.get

    def capped(name: str) -> bytes:
        assert name != junk, "the whole object is read"
        return get(name)

    monkeypatch.setattr(owned.keys, "get", capped)
    erased(owned)
    assert owned.keys.names(f"k/{DOMAIN}/") == []
    data = (owned.folder / "certificate.json").read_bytes()
    value = certificate_from_bytes(data, owned.office.owner.public, "the certificate")
    assert junk not in [one["name"] for one in value["key_records"]]


def check_refused(site: OwnedSite, order: Order, given: list[Attestation], match: str) -> None:
    before = (site.keys.names(), site.vault.names())
    with pytest.raises(UsageError, match=match):
        erase(
            site.office,
            order=order,
            attestations=given,
            certificate=site.folder / "certificate.json",
        )
    assert (site.keys.names(), site.vault.names()) == before
    assert not (site.folder / "certificate.json").exists()


def check_not_ours(site: OwnedSite, data: bytes, given: list[Attestation]) -> None:
    before = site.keys.names("k/")
    with pytest.raises(WrongKey, match="another repository or owner"):
        erase(
            site.office,
            order=read_order(data, "the order"),
            attestations=given,
            certificate=site.folder / "certificate.json",
        )
    assert site.keys.names("k/") == before
    assert all(one.erased is None for one in load_root_chain(site.vault).root.domains)


def test_erasure_needs_every_custodian(owned: OwnedSite) -> None:
    data = ordered(owned)
    order = read_order(data, "the order")
    both = attestations(owned, data)
    for given in ([], both[:1], both[1:]):
        check_refused(owned, order, given, "is missing; nothing was erased")


def test_erasure_needs_custodians_of_restored_old_keys(owned: OwnedSite) -> None:
    """A restored old key opens every backup that was made with it."""
    older = {name: owned.keys.get(name) for name in owned.keys.names("k/main/0000000000/")}
    retire_custodian(owned.office, name="Lee", identity=owned.identity)
    alone = ordered(owned)
    assert len(read_order(alone, "the order").challenges) == 1
    for name, record in older.items():
        owned.keys.put(name, record)
    data = ordered(owned)
    order = read_order(data, "the order")
    assert len(order.challenges) == 2
    mine = attestations(owned, data, ((owned.identity, "Kim Vale"),))
    check_refused(owned, order, mine, r"custodian Lee \(age1\w+\): the attestation is missing")
    given = attestations(owned, alone, ((owned.identity, "Kim Vale"),))
    check_refused(owned, read_order(alone, "the order"), given, "generations or custodians changed")


def test_erasure_needs_two_persons(owned: OwnedSite) -> None:
    data = ordered(owned)
    alone = attestations(owned, data, ((owned.identity, "Dana Ray"), (LEES, "dana ray ")))
    check_refused(owned, read_order(data, "the order"), alone, "two persons")


def test_an_attestation_of_another_order_does_not_count(owned: OwnedSite) -> None:
    first, second = ordered(owned), ordered(owned)
    check_refused(owned, read_order(first, "the order"), attestations(owned, second), "is missing")
    moved = [
        replace(one, order=read_order(first, "o").sha256) for one in attestations(owned, second)
    ]
    check_refused(owned, read_order(first, "the order"), moved, "is missing")


def test_order_expires(owned: OwnedSite) -> None:
    data = ordered(owned)
    given = attestations(owned, data)
    owned.clock.forward(days=31)
    check_refused(owned, read_order(data, "the order"), given, "valid for 30 days")


def test_order_ends_when_custodians_change(owned: OwnedSite) -> None:
    data = ordered(owned)
    given = attestations(owned, data)
    add_custodian(owned.office, custodian=new_person("Kim")[0], identity=owned.identity)
    check_refused(owned, read_order(data, "the order"), given, "generations or custodians changed")
    again = ordered(owned)
    new_generation(owned.office, domain=DOMAIN)
    check_refused(owned, read_order(again, "the order"), given, "is missing")


def test_order_does_not_cover_later_keys(owned: OwnedSite) -> None:
    data = ordered(owned)
    given = attestations(owned, data)
    new_generation(owned.office, domain=DOMAIN)
    check_refused(owned, read_order(data, "the order"), given, "generations or custodians changed")


def test_future_order_is_refused(owned: OwnedSite) -> None:
    """An order dated in the future could remain valid for any time."""
    owned.clock.forward(days=40)
    data = ordered(owned)
    given = attestations(owned, data)
    owned.clock.forward(days=-40)
    check_refused(owned, read_order(data, "the order"), given, "valid for 30 days")


def test_an_order_of_another_repository_erases_nothing_here(
    owned: OwnedSite, tmp_path: Path
) -> None:
    other = peopled(owned_site(tmp_path / "other"), tmp_path / "source")
    data = ordered(other)
    given = attestations(other, data)
    check_not_ours(owned, data, given)


def test_order_of_another_signer_erases_nothing(
    owned: OwnedSite,
) -> None:
    """A key file without an owner lets its custodian attest to such an order."""
    stranger = Ed25519PrivateKey.generate()
    order = replace(
        read_order(ordered(owned), "the order"), owner=stranger.public_key().public_bytes_raw()
    )
    data = order_to_bytes(order, stranger)
    unpinned = replace(owned.identity, owner=None, repository=None)
    given = attestations(owned, data, ((unpinned, "Dana Ray"), (LEES, "Lee Moss")))
    check_not_ours(owned, data, given)


def test_custodian_attests_only_for_the_known_owner(owned: OwnedSite, tmp_path: Path) -> None:
    other = peopled(owned_site(tmp_path / "other"), plain_tree(tmp_path / "more"))
    with pytest.raises(WrongKey, match="an owner unknown"):
        attest(
            ordered(other),
            owned.identity,
            attested_by="Dana Ray",
            now=owned.clock(),
            where="the order",
        )
    _, stranger = new_person("Stranger")
    with pytest.raises(WrongKey, match="encrypted to this identity"):
        attest(ordered(owned), stranger, attested_by="S", now=owned.clock(), where="the order")


def test_nobody_gets_a_custodian_to_open_something_else(owned: OwnedSite) -> None:
    """A document contains a domain's key record in place of a challenge."""
    data = ordered(owned)
    order = read_order(data, "the order")
    record = json.loads(owned.keys.get("k/hr/0000000000/0000000000").partition(b"\n")[0])
    bait = replace(
        order,
        challenges=tuple(
            replace(one, sealed=b64decode(record["wrapped"])) for one in order.challenges
        ),
    )
    poisoned = order_to_bytes(bait, owned.office.owner.key)
    with pytest.raises(Damaged, match="is not shown"):
        attest(poisoned, owned.identity, attested_by="Dana", now=owned.clock(), where="the order")
    text = replace(order, text=order.text.replace("main", "hr"))
    with pytest.raises(Damaged, match="of another document"):
        attest(
            order_to_bytes(text, owned.office.owner.key),
            owned.identity,
            attested_by="Dana",
            now=owned.clock(),
            where="the order",
        )


def test_modified_order_is_invalid(owned: OwnedSite) -> None:
    data = ordered(owned)
    with pytest.raises(Damaged):
        read_order(data.replace(b"the contract has ended", b"the contract has begun"), "the order")
    for other in (b"", b"{}\n", data[:100], owned.vault.get("pub/root/0000000000")):
        with pytest.raises(BackupError):
            read_order(other, "the order")
    with pytest.raises(WrongKey):
        read_attestation(data, "a")


def test_erased_domain_is_not_erased_again(owned: OwnedSite) -> None:
    data = ordered(owned)
    erased(owned, data)
    with pytest.raises(UsageError, match="was erased on"):
        ordered(owned)
    with pytest.raises(UsageError, match="no key is left"):
        erased(owned, data)
    with pytest.raises(UsageError, match="cannot be reused"):
        add_domain(owned.office, name=DOMAIN)


def test_returned_key_is_named_and_removable(owned: OwnedSite) -> None:
    data = ordered(owned)
    kept = {name: owned.keys.get(name) for name in owned.keys.names("k/main/")}
    erased(owned, data)
    name = min(kept)
    owned.keys.put(name, kept[name])
    repository = Repository.open(owned.vault, owned.keys, LEES)
    with pytest.raises(WrongKey, match="was erased on"):
        repository.open_point(repository.resolve("desk-1/1"))
    (finding,) = (f for f in verify(owned.vault, keys=owned.keys).findings if f.severity == "error")
    assert finding.object == name
    assert "its key still exists" in finding.problem
    (owned.folder / "certificate.json").rename(owned.folder / "first.json")
    (owned.folder / "certificate.json.txt").unlink()
    erased(owned, data)
    assert owned.keys.names("k/main/") == []


def test_an_erasure_completes_wherever_it_was_cut_off(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    orders: dict[Path, bytes] = {}

    def before(site: OwnedSite) -> None:
        peopled(site, source)
        orders[site.folder] = ordered(site)

    def deed(site: OwnedSite) -> None:
        root = load_root_chain(site.vault).root.domain(DOMAIN)
        assert root is not None
        report = verify(site.vault, keys=site.keys)
        # Either nothing has happened, or the unfinished part is named, or the erasure is
        # complete.
        assert report.is_sound == (root.erased is None or not site.keys.names("k/main/"))
        erased(site, orders[site.folder])

    for site in dies_everywhere(tmp_path, deed, before):
        assert (site.folder / "certificate.json.txt").exists()
        assert not (site.folder / "owner.json.unfinished").exists()
        check_erased(site, source, site.folder / "out")


def test_copies_of_key_store_are_erased_too(owned: OwnedSite) -> None:
    copy = KeyDrawer()
    for name in owned.keys.names():
        copy.put(name, owned.keys.get(name))
    data = ordered(owned)
    erase(
        replace(owned.office, key_copies=(copy,)),
        order=read_order(data, "the order"),
        attestations=attestations(owned, data),
        certificate=owned.folder / "certificate.json",
    )
    assert copy.names("k/main/") == []
    assert copy.names("k/hr/")
