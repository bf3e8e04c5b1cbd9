"""Hostile manifests: cyclic trees, and paths that leave the target.

- If each page of nine levels names the page below fifty times, a walk has 2 · 10^15 pages.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from backup import break_glass
from backup.errors import Damaged
from backup.format.frame import to_frame
from backup.format.manifest import BlobRef
from backup.format.manifest_encoding import page_to_bytes
from backup.format.object_names import pack_name, snapshot_name
from backup.format.pack import PackSettings, seal_pack
from backup.format.snapshot import Body, Snapshot, seal_body, snapshot_to_bytes
from backup.stores.directory import DirectoryStore
from backup.trust.root_chain import load_root_chain
from tests.backup.site import DOMAIN, WRITER, Site

DAMAGED = 6
WIDTH = 50
ENTRY: dict[str, Any] = {
    "path": "files", "kind": "directory", "mode": 493, "uid": os.getuid(), "gid": os.getgid(),
    "user": "", "group": "", "modified": [0, 0], "size": 0, "blobs": [], "lists": [],
}  # fmt: skip


class TakenOver:
    """A compromised backup host that can write anything with its own keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault, self.keys = DirectoryStore(folder / "vault"), DirectoryStore(folder / "keys")
        self.site = Site(folder=folder / "site", vault=self.vault, keys=self.keys).create()
        self.trust = load_root_chain(self.vault)
        self.packs: list[tuple[str, int]] = []

    def page(self, kind: str, items: list[Any], packs: list[str]) -> BlobRef:
        """Store a page in a pack of its own."""
        raw = page_to_bytes(kind, packs, items)
        frame = b"".join(to_frame(raw))
        (domain,) = self.trust.root.domains
        to = PackSettings(
            repository=self.trust.root.repository,
            writer=WRITER,
            domain=DOMAIN,
            generation=0,
            recipient=domain.recipient,
        )
        payload = bytearray(frame)
        pack = seal_pack(payload, to, os.urandom)
        self.vault.put(pack_name(WRITER, pack.name.hex()), bytes(pack.data))
        self.packs.append((pack.name.hex(), len(pack.data)))
        return BlobRef(
            pack=pack.name,
            offset=0,
            stored=len(frame),
            inner=0,
            length=len(raw),
            id=blake3(raw, key=self.site.host.id_key).digest(),
            next=None,
        )

    def commit(self, root: BlobRef, depth: int) -> None:
        """Sign a point with this page on top."""
        now, host = self.site.clock(), self.site.host
        body = Body(
            consistent_at=now,
            started=now,
            ended=now,
            id_key=host.id_key,
            root_page=root,
            depth=depth,
            files=0,
            directories=1,
            bytes=0,
            unread=(),
            unread_total=0,
            sources=(),
        )
        snapshot = Snapshot(
            repository=host.repository,
            writer=WRITER,
            epoch=0,
            sequence=1,
            previous=None,
            skipped=(),
            root_record=self.trust.links[-1],
            keep_record=None,
            domain=DOMAIN,
            generation=0,
            set_name="nightly",
            time=now,
            state="complete",
            packs=tuple(self.packs),
            uses={},
        )
        sealed = seal_body(body, self.trust.root.domains[0].recipient)
        data = snapshot_to_bytes(snapshot, sealed, host.signing_key)
        self.vault.put(snapshot_name(WRITER, 1), data)

    def by_glass(self, out: Path) -> int:
        identity = self.site.folder / "custodian.txt"
        stores = [str(self.folder / "vault"), str(self.folder / "keys"), str(identity)]
        return break_glass.main([*stores, str(out)])


def in_page(ref: BlobRef) -> list[Any]:
    return [0, ref.offset, ref.stored, ref.inner, ref.length, ref.id.hex(), -1]


def truthful(level: int) -> Iterator[tuple[str, str]]:
    """Make items that match the content of the page below, and so overlap."""
    yield from [("files", "files")] * WIDTH


def disjoint(level: int) -> Iterator[tuple[str, str]]:
    """Make items that do not overlap, and so do not match the page below."""
    for number in range(WIDTH):
        yield f"files/{number:03}", f"files/{number:03}/z"


@pytest.mark.parametrize("ranges", [truthful, disjoint])
def test_tree_of_one_repeated_page_is_refused_quickly(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ranges: Callable[[int], Iterator[tuple[str, str]]],
) -> None:
    host = TakenOver(tmp_path)
    ref, entries = host.page("leaf", [ENTRY], []), 1
    for level in range(8):
        items = [
            {"first": first, "last": last, "entries": entries, "page": in_page(ref)}
            for first, last in ranges(level)
        ]
        ref, entries = host.page("node", items, [ref.pack.hex()]), entries * WIDTH
    host.commit(ref, 8)
    started = time.monotonic()
    repository = host.site.repository()
    if ranges is truthful:
        with pytest.raises(Damaged):
            repository.restore(repository.resolve("latest"), tmp_path / "by-reader")
    else:  # the top page is valid: each page below it costs as much as it lists
        result = repository.restore(repository.resolve("latest"), tmp_path / "by-reader")
        assert (result.files, len(result.problems)) == (0, WIDTH)
        assert all(problem.is_damage for problem in result.problems)
    assert host.by_glass(tmp_path / "by-glass") == DAMAGED
    assert time.monotonic() - started < 60
    assert "not the page that its parent describes" in capsys.readouterr().err


def test_leaf_with_duplicate_path_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = TakenOver(tmp_path)
    host.commit(host.page("leaf", [ENTRY, ENTRY], []), 0)
    repository = host.site.repository()
    with pytest.raises(Damaged, match="out of order or twice"):
        repository.restore(repository.resolve("latest"), tmp_path / "by-reader")
    assert host.by_glass(tmp_path / "by-glass") == DAMAGED
    assert "not the page that its parent describes" in capsys.readouterr().err
