"""Trust in chains of root and keep records, and foreign objects."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged, FormatUnknown
from backup.format.keep_record import MAX_LISTED, KeepRecord, keep_from_bytes, keep_to_bytes
from backup.format.object_names import (
    MAX_KEEP_RECORD_BYTES,
    MAX_ROOT_RECORD_BYTES,
    keep_name,
    root_name,
    snapshot_name,
)
from backup.format.record_link import Link
from backup.format.root_record import KeeperGrant, RootRecord, WriterGrant, root_to_bytes
from backup.format.signature import sign
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_slots import read_history
from tests.backup.site import WRITER, Site, TamperedStore
from tests.backup.trees import plain_tree

KEEPER = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
OTHER_KEEPER = Ed25519PrivateKey.from_private_bytes(bytes([8]) * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
NOW = datetime(2027, 1, 1, tzinfo=UTC)
PACKS = [(WRITER, f"{number:064x}") for number in range(9)]


def owner_of(site: Site) -> Ed25519PrivateKey:
    text = (site.folder / "owner.json").read_text()
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(json.loads(text)["owner_key"]))


def next_root(site: Site, change: Callable[[RootRecord], RootRecord]) -> RootRecord:
    """Sign the next root record and put it."""
    trust = load_root_chain(site.vault)
    record = change(
        replace(
            trust.root, number=trust.next_number, previous=bytes.fromhex(trust.links[-1].sha256)
        )
    )
    site.vault.put(root_name(record.number), root_to_bytes(record, owner_of(site)))
    return record


def grant_keepers(site: Site, *keepers: KeeperGrant) -> RootChain:
    next_root(site, lambda root: replace(root, keepers=keepers))
    return load_root_chain(site.vault)


def trusted(key: Ed25519PrivateKey, through: int | None = None) -> KeeperGrant:
    return KeeperGrant(key=key.public_key().public_bytes_raw(), trusted_through=through)


def keep(
    site: Site,
    number: int,
    previous: bytes | None = None,
    key: Ed25519PrivateKey = KEEPER,
    **lists: Any,
) -> bytes:
    """Sign a keep record and put it."""
    trust = load_root_chain(site.vault)
    record = KeepRecord(
        repository=trust.root.repository,
        number=number,
        previous=None
        if previous is None
        else Link(number=number - 1, sha256=hashlib.sha256(previous).hexdigest()),
        root_record=trust.links[-1],
        created=NOW + timedelta(days=number),
        **lists,
    )
    data = keep_to_bytes(record, key)
    site.vault.put(keep_name(number), data)
    return data


def test_junk_in_a_slot_does_not_block_owner(site: Site) -> None:
    site.vault.put(root_name(1), b"junk")
    next_root(site, lambda root: replace(root, created=NOW))
    trust = load_root_chain(site.vault)
    assert [root.number for root in trust.roots] == [0, 2]
    assert (sorted(trust.taken), trust.next_number) == ([0, 1, 2], 3)
    assert [name for name, _ in trust.problems] == [root_name(1)]


def test_record_with_other_predecessor_does_not_count(site: Site) -> None:
    next_root(site, lambda root: replace(root, created=NOW))
    next_root(site, lambda root: replace(root, previous=bytes(32)))
    next_root(site, lambda root: replace(root, previous=None))
    next_root(site, lambda root: replace(root, number=9, created=NOW))
    trust = load_root_chain(site.vault)
    assert [root.number for root in trust.roots] == [0, 1, 9]
    assert [name for name, _ in trust.problems] == [root_name(2), root_name(3)]


def test_removed_record_invalidates_later_ones_and_is_reported(site: Site) -> None:
    next_root(site, lambda root: replace(root, created=NOW))
    next_root(site, lambda root: replace(root, created=NOW))
    assert isinstance(site.vault, TamperedStore)
    site.vault.remove(root_name(1))
    trust = load_root_chain(site.vault)
    assert trust.root.number == 0
    assert [name for name, _ in trust.problems] == [root_name(2)]


def test_only_the_owner_stops_older_programs(site: Site) -> None:
    later = b'{"format":2,"kind":"root","new":[]}\n'
    site.vault.put(root_name(1), sign(b"standfast-backup-2 root", later, STRANGER))
    assert load_root_chain(site.vault).root.number == 0
    site.vault.put(root_name(2), sign(b"standfast-backup-2 root", later, owner_of(site)))
    with pytest.raises(FormatUnknown, match="newer version"):
        load_root_chain(site.vault)


def test_only_keeper_stops_programs_unable_to_read(site: Site) -> None:
    later = b'{"format":2,"kind":"keep","new":[]}\n'
    trust = grant_keepers(site, trusted(KEEPER))
    site.vault.put(keep_name(0), sign(b"standfast-backup-2 keep", later, STRANGER))
    assert [name for name, _ in load_retention_log(site.vault, trust).problems] == [keep_name(0)]
    site.vault.put(keep_name(1), sign(b"standfast-backup-2 keep", later, KEEPER))
    with pytest.raises(FormatUnknown, match="newer version"):
        load_retention_log(site.vault, trust)


@pytest.mark.parametrize(
    ("name", "most"), [(root_name(1), MAX_ROOT_RECORD_BYTES), (keep_name(0), 0)]
)
def test_oversize_record_is_not_read(site: Site, name: str, most: int) -> None:
    trust = grant_keepers(site, trusted(KEEPER)) if most == 0 else load_root_chain(site.vault)
    site.vault.put(name, b"x" * ((most or MAX_KEEP_RECORD_BYTES) + 1))
    problems = (
        load_root_chain(site.vault).problems or load_retention_log(site.vault, trust).problems
    )
    assert [(name, "is not read" in text) for name, text in problems] == [(name, True)]


def test_keep_records_add_up(site: Site) -> None:
    trust = grant_keepers(site, trusted(KEEPER))
    first = keep(site, 0, marked=(PACKS[0], PACKS[1], PACKS[2]), distrusted=(PACKS[3],))
    second = keep(site, 1, first, unmarked=(PACKS[0],), dropped=(PACKS[1],))
    keeps = load_retention_log(site.vault, trust)
    assert keeps.head is not None
    assert keeps.head.sha256 == hashlib.sha256(second).hexdigest()
    assert keeps.links[-1] == keeps.head
    assert keeps.marked == {PACKS[2]: NOW}
    assert keeps.dropped == {PACKS[1]}
    assert keeps.distrusted == {PACKS[3]}
    assert keeps.avoided == {PACKS[1], PACKS[2], PACKS[3]}
    assert keeps.problems == ()


def test_known_head_limits_reading_to_later_records(site: Site) -> None:
    trust = grant_keepers(site, trusted(KEEPER))
    first = keep(site, 0, marked=(PACKS[0],))
    head = load_retention_log(site.vault, trust).head
    keep(site, 1, first, marked=(PACKS[1],))
    assert isinstance(site.vault, TamperedStore)
    site.vault.replace(keep_name(0), b"not read any more")
    keeps = load_retention_log(site.vault, trust, after=head)
    assert set(keeps.marked) == {PACKS[1]}
    assert (sorted(keeps.taken), keeps.problems) == ([0, 1], ())


def test_keeper_is_trusted_through_the_named_record(site: Site) -> None:
    grant_keepers(site, trusted(KEEPER))
    first = keep(site, 0, marked=(PACKS[0],))
    second = keep(site, 1, first, dropped=(PACKS[0],))
    trust = grant_keepers(site, trusted(KEEPER, through=0), trusted(OTHER_KEEPER))
    keep(site, 2, first, key=OTHER_KEEPER, unmarked=(PACKS[0],))
    keeps = load_retention_log(site.vault, trust)
    assert [link.number for link in keeps.links] == [0]
    assert [name for name, _ in keeps.problems] == [keep_name(1), keep_name(2)]
    assert keeps.dropped == frozenset()
    assert second != first


def test_trust_ending_at_a_hash_accepts_no_other(site: Site) -> None:
    grant_keepers(site, trusted(KEEPER))
    true = keep(site, 0, marked=(PACKS[0],))
    pinned = replace(trusted(KEEPER, through=0), trusted_sha256=hashlib.sha256(true).hexdigest())
    trust = grant_keepers(site, pinned)
    assert load_retention_log(site.vault, trust).problems == ()
    forged = true.replace(PACKS[0][1].encode(), PACKS[1][1].encode())[:-64]
    assert isinstance(site.vault, TamperedStore)
    site.vault.replace(keep_name(0), sign(b"standfast-backup-1 keep", forged, KEEPER))
    (problem,) = load_retention_log(site.vault, trust).problems
    assert "ended a keeper's trust" in problem[1]


def test_writers_trust_ends_at_a_known_snapshot(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    for _ in range(2):
        site.back_up(source)
    true = site.vault.get(snapshot_name(WRITER, 1))

    def end(sha256: str) -> Callable[[RootRecord], RootRecord]:
        def change(root: RootRecord) -> RootRecord:
            (writer,) = root.writers
            return replace(
                root, writers=(replace(writer, trusted_through=1, trusted_sha256=sha256),)
            )

        return change

    def problems() -> list[str | None]:
        return [
            slot.problem for slot in read_history(site.vault, load_root_chain(site.vault), WRITER)
        ]

    next_root(site, end(hashlib.sha256(true).hexdigest()))
    assert problems()[0] is None
    assert "newer than the last snapshot" in str(problems()[1])
    next_root(site, end("00" * 32))
    assert "ended the trust" in str(problems()[0])


@pytest.mark.parametrize("what", ["writers", "domains", "keepers"])
def test_root_record_with_duplicate_name_does_not_count(site: Site, what: str) -> None:
    grant_keepers(site, trusted(KEEPER))
    next_root(site, lambda root: replace(root, **{what: getattr(root, what) * 2}))
    trust = load_root_chain(site.vault)
    assert trust.root.number == 1
    assert "twice" in trust.problems[0][1]


def test_a_hash_without_a_number_ends_no_trust(site: Site) -> None:
    def change(root: RootRecord) -> RootRecord:
        writers: tuple[WriterGrant, ...] = (replace(root.writers[0], trusted_sha256="00" * 32),)
        return replace(root, writers=writers)

    next_root(site, change)
    assert "no number" in load_root_chain(site.vault).problems[0][1]


def test_keep_record_lists_only_readable_amounts(site: Site) -> None:
    trust = load_root_chain(site.vault)
    many = tuple(("w" * 31, f"{number:064x}") for number in range(MAX_LISTED))
    record = KeepRecord(
        repository=trust.root.repository,
        number=0,
        previous=None,
        root_record=trust.links[-1],
        created=NOW,
        dropped=many,
    )
    data = keep_to_bytes(record, KEEPER)
    assert len(data) < MAX_KEEP_RECORD_BYTES
    assert len(keep_from_bytes(data, "it").dropped) == MAX_LISTED
    with pytest.raises(ValueError, match="at most 100,000 items"):
        keep_to_bytes(replace(record, marked=many[:1]), KEEPER)
    more = data[:-65].replace(b'"marked":[]', b'"marked":[["w","%s"]]' % (b"0" * 64))
    with pytest.raises(Damaged, match="at most 100,000 items"):
        keep_from_bytes(sign(b"standfast-backup-1 keep", more + b"\n", KEEPER), "it")
