"""Every damaged byte is found without a key, and is never restored."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backup.checker.pack_check import PackCheck
from backup.checker.verification import is_as_named, verify
from backup.errors import BackupError, Damaged, FormatUnknown
from backup.findings import Findings
from backup.format.object_names import KEEPS, ROOTS, bundled_sha256, key_prefix, parse_pack_name
from backup.records import VerifyReport
from backup.trust.key_files import parse_key_record
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import read_history, read_slot
from tests.backup.sample_repository import BURNT, JUNK, Whole, whole_repository
from tests.backup.site import WRITER, Site, TamperedStore
from tests.backup.trees import describe, noise, plain_tree
from tests.sampling import sample

Check = Callable[[bytes], bool]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_repository(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def tiny(site: Site, tmp_path: Path) -> Site:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("the only file there is")
    site.back_up(source)
    return site


def vault_of(site: Site) -> TamperedStore:
    assert isinstance(site.vault, TamperedStore)
    return site.vault


def errors(report: VerifyReport) -> set[str]:
    return {finding.object for finding in report.findings if finding.severity == "error"}


def flipped(data: bytes, at: int, bit: int | None = None) -> bytes:
    # Flip another bit in each byte: 0x20 alone would miss code that ignores case.
    bit = at % 8 if bit is None else bit
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_a_sound_repository_has_no_findings(tiny: Site) -> None:
    report = verify(tiny.vault, keys=tiny.keys, read=True)
    assert report.findings == ()
    assert (report.points, report.packs) == (1, 2)
    sizes = [stat.size_bytes for stat in tiny.vault.list("w/desk-1/p/")]
    assert report.bytes_read == sum(sizes)
    assert verify(tiny.vault, keys=tiny.keys, identity=tiny.identity, read=True).findings == ()


def check_of(whole: Whole, name: str, *, is_cut: bool = False) -> Check:
    """Check one object with the functions that `verify` uses.

    The rest of the repository is sound. `is_cut` is for packs: their size is compared with the size
    in their snapshot before they are read.
    """
    owner = whole.site.host.owner
    trust = load_root_chain(whole.vault, owner=owner)
    if name.startswith("k/"):
        (domain,) = (
            one for one in trust.root.domains if name.startswith(key_prefix(one.id, one.generation))
        )
        return lambda data: has_failed(parse_key_record, data, trust.root, domain, name)
    vault = TamperedStore()
    if name.startswith((ROOTS, KEEPS)):
        for one in whole.vault.names(name.rpartition("/")[0]):
            if one <= name:  # later records depend on this one and prove nothing about it
                vault.put(one, whole.vault.get(one))
    else:
        vault.put(name, whole.vault.get(name))
    history = SnapshotHistory(WRITER, read_history(whole.vault, trust, WRITER))
    keeps = load_retention_log(whole.vault, trust)
    pack = parse_pack_name(name)
    if pack is not None:
        history.packs = {pack[1]: history.packs[pack[1]]}

    def problems() -> bool:
        if name.startswith(ROOTS):
            try:
                return name in dict(load_root_chain(vault, owner=owner).problems)
            except Damaged as error:
                # No root record is valid; the error names the first invalid one.
                return name in str(error)
        if name.startswith(KEEPS):
            return name in dict(load_retention_log(vault, trust).problems)
        if pack is not None:
            packs = PackCheck(vault, history, keeps, Findings())
            packs.check_listing() if is_cut else packs.read(None, lambda *_: None)
            return packs.is_lost(pack[1])
        if bundled_sha256(name):
            return not is_as_named(vault, vault.stat(name))
        return read_slot(vault, trust, WRITER, name).snapshot is None

    def is_found(data: bytes) -> bool:
        vault.replace(name, data)
        return problems()

    return is_found


def has_failed(action: Callable[..., object], *arguments: object) -> bool:
    try:
        action(*arguments)
    except BackupError:
        return True
    return False


KINDS = ["pub/root/", "pub/keep/", "pub/format/", "pub/reader/", "w/desk-1/s/", "w/desk-1/p/", "k/"]

CHAINED = {"pub/root/", "pub/keep/", "w/desk-1/s/"}


def test_tested_kinds_are_complete(whole: Whole) -> None:
    names = [*whole.names, *whole.keys.names()]
    assert all(any(name.startswith(kind) for kind in KINDS) for name in names)
    assert all(any(name.startswith(kind) for name in names) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_flipped_bit_is_found(whole: Whole, kind: str) -> None:
    """Flip bits in each object of both stores; check with `verify`'s code.

    In parsed texts, all eight bits of each byte are flipped, because two texts may have the same
    meaning. Packs and copies are compared only by the SHA-256 of all their bytes, so one bit of
    each byte is enough in the large ones; neighbouring bytes have different bits flipped.
    """
    for name in names_of(whole, kind):
        data, is_found = whole.get(name), check_of(whole, name)
        assert not is_found(data)
        bits = range(8) if len(data) < 10_000 else [None]
        flips = sample([(at, bit) for at in range(len(data)) for bit in bits], f"flips {name}")
        missed = [(at, bit) for at, bit in flips if not is_found(flipped(data, at, bit))]
        assert missed == [], name


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_and_an_extension_are_found(whole: Whole, kind: str) -> None:
    for name in names_of(whole, kind):
        data, is_found = whole.get(name), check_of(whole, name, is_cut=True)
        assert not is_found(data)
        lengths = sample(range(len(data)), f"cuts {name}")
        missed = [length for length in lengths if not is_found(data[:length])]
        assert missed == [], name
        assert is_found(data + b"\0"), name


@pytest.mark.parametrize("kind", KINDS)
def test_verification_names_any_damaged_object(whole: Whole, kind: str) -> None:
    """Run `verify --read` without a key for damaged bytes of every object.

    One byte in each stretch is damaged; the tests above cover the bytes between. Records depend on
    each other, so other records may be named too; of other objects only the damaged one is named.
    """
    for name in names_of(whole, kind):
        data = whole.get(name)
        places = {*range(0, len(data), 1 + len(data) // 40), len(data) - 1}
        damaged = [flipped(data, at) for at in places] + [data[:at] for at in places]
        for spoilt in sample([*damaged, data + b"\0"], f"damage {name}"):
            vault, keys = whole.vault.copy(), whole.keys.copy()
            (keys if kind == "k/" else vault).replace(name, spoilt)
            found = errors(verify(vault, keys=keys, read=True, owner=whole.site.host.owner))
            assert name in found if kind in CHAINED else found == {name}, name


def test_changed_junk_never_becomes_a_snapshot(whole: Whole) -> None:
    for at in range(len(JUNK)):
        for spoilt in (flipped(JUNK, at), JUNK[:at]):
            vault = whole.vault.copy()
            vault.replace(BURNT, spoilt)
            report = verify(vault, keys=whole.keys)
            assert [(one.severity, one.object) for one in report.findings] == [("warning", BURNT)]


def names_of(whole: Whole, kind: str) -> list[str]:
    return [name for name in [*whole.names, *whole.keys.names()] if name.startswith(kind)]


def test_flipped_format_number_is_named_without_owner_key(tiny: Site) -> None:
    """Only the owner may begin a later format; an older reader stops."""
    vault = vault_of(tiny)
    (name,) = vault.names("pub/root/")
    data = vault.get(name)
    vault.replace(name, data.replace(b'"format":1', b'"format":3'))
    with pytest.raises(FormatUnknown, match=f"{name}.*format 3"):
        verify(vault, read=True)


def test_swapped_objects_are_found(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    (source / "more").write_bytes(noise(5000, 9))
    site.back_up(source)
    vault = vault_of(site)
    for prefix in ("w/desk-1/s/", "w/desk-1/p/"):
        one, other = vault.names(prefix)[:2]
        twin = vault.copy()
        twin.replace(one, vault.get(other))
        twin.replace(other, vault.get(one))
        assert {one, other} <= errors(verify(twin, read=True))


def test_a_missing_pack_is_found_without_reading(tiny: Site) -> None:
    vault = vault_of(tiny)
    for name in vault.names("w/desk-1/p/"):
        twin = vault.copy()
        twin.remove(name)
        report = verify(twin)
        assert errors(report) == {name}
        assert "missing" in report.findings[0].problem


def test_foreign_object_is_named(tiny: Site) -> None:
    vault = vault_of(tiny)
    vault.put("readme.txt", b"pay us")
    vault.put("w/desk-1/s/12", b"no sequence")
    vault.put("w/stranger/s/0000000001", b"no writer")
    report = verify(vault)
    assert {f.object for f in report.findings if f.severity == "warning"} == {
        "readme.txt",
        "w/desk-1/s/12",
        "w/stranger/s/0000000001",
    }
    assert report.is_sound


def test_damaged_pack_costs_only_its_files(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "early").write_text("first backup")
    site.back_up(source)
    vault = vault_of(site)
    before = set(vault.names("w/desk-1/p/"))
    (source / "late").write_bytes(noise(200_000))
    site.back_up(source)
    data_pack = max(set(vault.names("w/desk-1/p/")) - before, key=lambda n: len(vault.get(n)))
    vault.replace(data_pack, flipped(vault.get(data_pack), 50_000))

    result = site.restore("latest", tmp_path / "out")
    assert [problem.path for problem in result.problems] == ["files/late"]
    assert data_pack in result.problems[0].reason
    assert sorted(describe(tmp_path / "out/files")) == [b"early"]
    assert (tmp_path / "out/files/early").read_text() == "first backup"
    assert not (tmp_path / "out/files/late").exists()


@pytest.mark.parametrize("at", [210, 5000], ids=["its wrap", "a segment"])
def test_damaged_manifest_is_an_error(tiny: Site, tmp_path: Path, at: int) -> None:
    vault = vault_of(tiny)
    _, body, _ = tiny.repository().open_point(tiny.repository().resolve("latest"))
    name = next(name for name in vault.names() if body.root_page.pack.hex() in name)
    vault.replace(name, flipped(vault.get(name), at))
    with pytest.raises(Damaged, match=name):
        tiny.restore("latest", tmp_path / "out")
