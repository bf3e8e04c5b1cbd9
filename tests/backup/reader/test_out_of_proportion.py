"""Small signed objects that must not cost a reader much time or memory.

- Without a limit, each of them costs gigabytes, hours, or both, in a verification, a keeper, a
  reader or an owner operation.
- The objects are validly signed, so they pass every check of their origin.
"""

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from blake3 import blake3

from backup.checker.verification import verify
from backup.errors import Damaged
from backup.findings import Findings
from backup.format.canonical_json import to_json
from backup.format.frame import to_frame
from backup.format.manifest import BlobRef
from backup.format.object_names import pack_name, snapshot_name
from backup.format.pack import PackSettings, padded_size, seal_pack
from backup.format.snapshot import open_body, snapshot_from_bytes, snapshot_to_bytes
from backup.ownership.operations.writers import _last_trusted, witnessed_head
from backup.reader.path_selection import Selection
from backup.records import Head
from backup.retention.vault_state import Reader
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import Slot
from tests.backup.little_memory import little_memory
from tests.backup.owner_site import OwnedSite, owned_site
from tests.backup.restorer.test_hostile_tree import ENTRY, TakenOver, in_page
from tests.backup.site import WRITER, Site
from tests.backup.trees import describe, plain_tree

MIB = 1024 * 1024
NEXT = snapshot_name(WRITER, 2)


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    owned = owned_site(tmp_path / "site")
    owned.back_up(plain_tree(tmp_path / "source"))
    return owned


def signed(site: Site, sealed: bytes | None = None, **changes: Any) -> bytes:
    """Return a snapshot after the first one, with the intruder's content."""
    name = snapshot_name(WRITER, 1)
    data = site.vault.get(name)
    snapshot, true = snapshot_from_bytes(data, name)
    first = site.repository().points()[0]
    link = replace(snapshot.root_record, number=1, sha256=first.sha256)
    next_one = replace(snapshot, sequence=2, previous=link, packs=())
    key = site.host.signing_key
    return snapshot_to_bytes(replace(next_one, **changes), sealed or true, key)


def errors(site: Site) -> dict[str, str]:
    report = verify(site.vault, keys=site.keys, identity=site.identity)
    return {one.object: one.problem for one in report.findings if one.severity == "error"}


def assert_the_first_point_comes_back(site: Site, tmp_path: Path) -> None:
    assert site.restore("1", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tmp_path / "source")


@pytest.mark.parametrize("end", [b"", b"\x01"])
def test_bitmap_of_millions_of_packs_is_not_expanded(
    owned: OwnedSite, tmp_path: Path, end: bytes
) -> None:
    count = 2 * MIB
    bits = b"\xff" * count if end else b"\x03" + bytes(count)
    owned.vault.put(NEXT, signed(owned, uses={1: bits + end}))
    with little_memory(150 * MIB):
        problems = errors(owned)
    assert ("uses a pack that snapshot 1 does not have" in problems.get(NEXT, "")) == bool(end)
    assert_the_first_point_comes_back(owned, tmp_path)


def test_snapshot_with_too_many_unread_files_is_refused(owned: OwnedSite, tmp_path: Path) -> None:
    snapshot, sealed = snapshot_from_bytes(owned.vault.get(snapshot_name(WRITER, 1)), "it")
    key = owned.repository()._domains[snapshot.domain, snapshot.generation]
    assert open_body(sealed, [key], "it").unread == ()
    plain = pyrage.decrypt(sealed, [key])
    body = json.loads(plain[4 : 4 + int.from_bytes(plain[:4], "big")])
    body["unread"] = [["", ""]] * 100_000
    text = to_json(body)
    padded = len(text).to_bytes(4, "big") + text
    padded = padded.ljust(padded_size(len(padded)), b"\0")
    forged = pyrage.encrypt(padded, [key.to_public()])
    owned.vault.put(NEXT, signed(owned, forged))
    details = [point.details for point in owned.repository().points()]
    assert details[0] is not None
    assert details[1] is None, "nobody holds what no writer names"
    assert "names too many unread paths" in errors(owned)[NEXT]
    assert_the_first_point_comes_back(owned, tmp_path)


def test_thousands_of_points_are_checked_in_linear_time(
    owned: OwnedSite,
) -> None:
    snapshot, _ = snapshot_from_bytes(owned.vault.get(snapshot_name(WRITER, 1)), "it")

    def slot(sequence: int) -> Slot:
        link = replace(snapshot.root_record, number=sequence - 1, sha256=f"{sequence - 1:064x}")
        return Slot(
            name=snapshot_name(WRITER, sequence),
            sequence=sequence,
            sha256=f"{sequence:064x}",
            snapshot=replace(snapshot, sequence=sequence, previous=link if sequence > 1 else None),
            sealed=b"",
            problem=None,
        )

    history = SnapshotHistory(WRITER, map(slot, range(1, 12_001)))
    found = Findings()
    began = time.process_time()
    history.check(found)
    assert time.process_time() - began < 7
    assert found.all() == ()


def test_list_named_a_thousand_times_is_read_once(tmp_path: Path) -> None:
    """A page of 100 KB can name a file with references of petabytes."""
    host = TakenOver(tmp_path)
    blob = data_blob(host, b"x")
    listed = host.page("list", [in_page(blob)] * 10_000, [blob.pack.hex()])
    entry = ENTRY | {
        "path": "files/large", "kind": "file", "size": 10_000_000,
        "lists": [in_page(listed)] * 1000,
    }  # fmt: skip
    host.commit(host.page("leaf", [ENTRY, entry], [listed.pack.hex()]), 0)
    with little_memory(100 * MIB):
        problems = errors(host.site)
    assert list(problems.values()) == ["it counts 0 files but contains 1"]


def test_references_to_nothing_do_not_prolong_a_restore(tmp_path: Path) -> None:
    host = TakenOver(tmp_path)
    blob = data_blob(host, b"x")
    nothing = blob._replace(length=0, id=blake3(b"", key=host.site.host.id_key).digest())
    listed = host.page("list", [in_page(nothing)] * 10_000, [blob.pack.hex()])
    files = [
        ENTRY
        | {
            "path": f"files/{name}", "kind": "file", "size": size,
            "lists": [in_page(listed)] * 10_000,
        }
        for name, size in (("large", 2**40), ("small", 1))
    ]  # fmt: skip
    host.commit(host.page("leaf", [ENTRY, *files], [listed.pack.hex()]), 0)
    began = time.process_time()
    result = host.site.restore("latest", tmp_path / "out")
    assert time.process_time() - began < 60
    assert {one.path for one in result.problems} >= {"files/large", "files/small"}
    assert not list((tmp_path / "out/files").iterdir())


def data_blob(host: TakenOver, content: bytes) -> BlobRef:
    frame = b"".join(to_frame(content))
    (domain,) = host.trust.root.domains
    to = PackSettings(
        repository=host.trust.root.repository,
        writer=WRITER,
        domain=domain.id,
        generation=0,
        recipient=domain.recipient,
    )
    pack = seal_pack(bytearray(frame), to, lambda count: b"k" * count)
    host.vault.put(pack_name(WRITER, pack.name.hex()), bytes(pack.data))
    host.packs.append((pack.name.hex(), len(pack.data)))
    return BlobRef(
        pack=pack.name,
        offset=0,
        stored=len(frame),
        inner=0,
        length=len(content),
        id=blake3(content, key=host.site.host.id_key).digest(),
        next=None,
    )


def many_large(site: OwnedSite, count: int) -> None:
    """Yield points that name 20,000 packs each, or packs of the point before."""
    packs = tuple((f"{number:064x}", 5000) for number in range(20_000))
    site.vault.put(NEXT, signed(site, packs=packs))
    first, sealed = snapshot_from_bytes(site.vault.get(NEXT), NEXT)
    for sequence in range(3, 3 + count):
        later = replace(first, sequence=sequence, packs=(), uses={2: b"\xff" * 2500})
        data = snapshot_to_bytes(later, sealed, site.host.signing_key)
        site.vault.put(snapshot_name(WRITER, sequence), data)


@pytest.mark.parametrize(
    ("at", "item", "times"),
    [
        (b'"packs":[', b"[],", 4),
        (b'"packs":[', b'{"":0},', 4),
        (b'"burnt":[', b"0,", 4),
        (b'"domain":', b"[],", 4),
        (b'"uses":[', b'[%d,""],', 16),
        (b'"burnt":[', b"%d,", 16),
    ],
    ids=str,
)
def test_snapshot_needs_few_times_its_bytes_in_memory(
    owned: OwnedSite, at: bytes, item: bytes, times: int
) -> None:
    """Memory for a snapshot is limited to a few times its size.

    A snapshot of the largest size needed 1.7 GB without the limit, and the keeper loads all points
    of a host.
    """
    count = 50_000
    items = (item % number if b"%d" in item else item for number in range(1, count + 1))
    data = signed(owned, sequence=count + 2, previous=None)
    data = data.replace(at, at + b"".join(items), 1)
    with little_memory(times * len(data)), suppress(Damaged):
        snapshot_from_bytes(data.replace(b",]", b"]", 1), NEXT)


def test_needs_of_points_are_never_all_in_memory(owned: OwnedSite, tmp_path: Path) -> None:
    many_large(owned, 60)
    with little_memory(60 * MIB):
        view = Reader(vault=owned.vault, owner=owned.host.owner).read()
    assert len(view.points) == 62
    assert len(view.find_needed_packs((WRITER, 40))) == 20_000


def test_ending_trust_needs_little_memory(owned: OwnedSite, tmp_path: Path) -> None:
    for sequence in range(2, 26):
        data = signed(owned, bytes(MIB), sequence=sequence)
        owned.vault.put(snapshot_name(WRITER, sequence), data)
    head = Head(writer=WRITER, sequence=1, sha256=owned.repository().points()[0].sha256)
    with little_memory(20 * MIB):
        assert witnessed_head(owned.office, WRITER, [head]) == 1
        sha256, doubted = _last_trusted(owned.office, load_root_chain(owned.vault), WRITER, 1)
    assert (sha256, len(doubted)) == (head.sha256, 24)


def test_path_of_a_megabyte_is_searched_quickly() -> None:
    began = time.process_time()
    for pattern in ("**/*.txt", "**/report*2026*.pdf", "files/**/a/**/b", "*a*a*a*b"):
        selection = Selection([pattern])
        for path in (b"files/" + b"a/" * 500_000 + b"x", b"files/" + b"report2026" * 100_000):
            assert not selection.includes(path)
    assert Selection(["files/**/a/**/x"]).includes(b"files/" + b"a/" * 500_000 + b"x")
    assert time.process_time() - began < 20
