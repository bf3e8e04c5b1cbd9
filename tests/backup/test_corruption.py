"""Every damaged byte is found without a key and by its object's name; no damage is restored."""

from pathlib import Path

import pytest

from backup.errors import BackupError, Damaged, FormatUnknown
from backup.records import VerifyReport
from backup.verify import verify
from tests.backup.site import Site, TamperedStore
from tests.backup.trees import describe, noise, plain_tree


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
    # Another bit each time: 0x20 alone would miss what treats upper and lower case alike.
    bit = at % 8 if bit is None else bit
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_a_sound_repository_has_no_findings(tiny: Site) -> None:
    report = verify(tiny.vault, keys=tiny.keys, read=True)
    assert report.findings == ()
    assert (report.points, report.packs) == (1, 2)
    sizes = [stat.size_bytes for stat in tiny.vault.list("w/desk-1/p/")]
    assert report.bytes_read == sum(sizes)
    assert verify(tiny.vault, keys=tiny.keys, identity=tiny.identity, read=True).findings == ()


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("prefix", ["pub/root/", "w/desk-1/s/"])
def test_each_flipped_bit_of_a_record_is_found(tiny: Site, prefix: str, bit: int) -> None:
    vault = vault_of(tiny)
    (name,) = vault.names(prefix)
    data = vault.get(name)
    owner = tiny.host.owner
    missed = []
    for at in range(len(data)):
        vault.replace(name, flipped(data, at, bit))
        found = errors(verify(vault, read=True, owner=owner))
        missed += [at] if name not in found else []
    assert missed == []


def test_a_flipped_format_number_is_named_to_who_does_not_know_the_owner(tiny: Site) -> None:
    """Only the owner may say that a later format begins; who does not know them stops."""
    vault = vault_of(tiny)
    (name,) = vault.names("pub/root/")
    data = vault.get(name)
    vault.replace(name, data.replace(b'"format":1', b'"format":3'))
    with pytest.raises(FormatUnknown, match=f"{name} has format 3"):
        verify(vault, read=True)


@pytest.mark.parametrize("bit", range(8))
def test_each_flipped_bit_of_every_pack_is_found(tiny: Site, bit: int) -> None:
    vault = vault_of(tiny)
    packs = {name: vault.get(name) for name in vault.names("w/desk-1/p/")}
    missed = []
    for at in range(max(map(len, packs.values()))):
        hit = {name for name, data in packs.items() if at < len(data)}
        for name in hit:
            vault.replace(name, flipped(packs[name], at, bit))
        missed += [at] if errors(verify(vault, read=True)) != hit else []
        for name in hit:
            vault.replace(name, packs[name])
    assert missed == []


@pytest.mark.parametrize("bit", range(8))
def test_each_flipped_bit_of_a_key_record_is_found(tiny: Site, bit: int) -> None:
    keys = TamperedStore()
    for stat in tiny.keys.list(""):
        keys.put(stat.name, tiny.keys.get(stat.name))
    (name,) = keys.names()
    data = keys.get(name)
    missed = []
    for at in range(len(data)):
        keys.replace(name, flipped(data, at, bit))
        missed += [at] if errors(verify(tiny.vault, keys=keys)) != {name} else []
    assert missed == []


def test_every_cut_and_every_extension_is_found(tiny: Site) -> None:
    vault = vault_of(tiny)
    for name in vault.names():
        data = vault.get(name)
        # The copies of the documents are large, and looked at as everything else is.
        ends = {0, 1, 63, 64, 65, len(data) - 64, len(data) - 1}
        is_copy = name.startswith(("pub/format/", "pub/reader/"))
        for length in sorted(ends) if is_copy else range(len(data)):
            vault.replace(name, data[:length])
            assert name in errors(verify(vault)), f"{name} cut to {length}"
        vault.replace(name, data + b"\0")
        assert name in errors(verify(vault)), f"{name} extended"
        vault.replace(name, data)
    assert verify(vault).findings == ()


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


def test_what_is_no_part_of_the_format_is_named(tiny: Site) -> None:
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


def test_a_damaged_pack_costs_its_files_and_no_others(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "early").write_text("first night")
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
    assert (tmp_path / "out/files/early").read_text() == "first night"
    assert not (tmp_path / "out/files/late").exists()


def test_each_flipped_byte_of_a_data_pack_spoils_the_file_and_nothing_worse(
    tiny: Site, tmp_path: Path
) -> None:
    vault = vault_of(tiny)
    sizes = {name: len(vault.get(name)) for name in vault.names("w/desk-1/p/")}
    repository = tiny.repository()
    point = repository.resolve("latest")
    (entry,) = repository.entries(point, ["files/a"])
    name = next(name for name in sizes if entry.blobs[0].pack.hex() in name)
    data = vault.get(name)
    unnoticed = []
    for at in range(0, len(data), 7):
        vault.replace(name, flipped(data, at))
        try:
            content = b"".join(tiny.repository().stream(point, entry.path))
        except BackupError:
            continue
        unnoticed.append((at, content))
    assert unnoticed == []


def test_a_damaged_manifest_is_an_error_and_not_an_empty_restore(
    tiny: Site, tmp_path: Path
) -> None:
    vault = vault_of(tiny)
    _, body, _ = tiny.repository().open_point(tiny.repository().resolve("latest"))
    name = next(name for name in vault.names() if body.root.pack.hex() in name)
    vault.replace(name, flipped(vault.get(name), 5000))
    with pytest.raises(Damaged, match=name):
        tiny.restore("latest", tmp_path / "out")
