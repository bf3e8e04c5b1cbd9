"""Verification of damaged vaults that look complete."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import Damaged, NotFound, StoreUnavailable
from backup.format.keep_record import KeepRecord, keep_to_bytes
from backup.format.manifest_encoding import leaf_to_bytes
from backup.format.object_names import keep_name, key_name, pack_name, snapshot_name
from backup.format.record_link import Link
from backup.format.snapshot import Body, seal_body, snapshot_from_bytes, snapshot_to_bytes
from backup.ownership.operations.domains import add_domain
from backup.ownership.operations.writers import add_writer
from backup.records import Head, VerifyReport
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import KeptSite, kept_site, vault_of
from tests.backup.owner_site import new_person, owned_site
from tests.backup.site import DOMAIN, WRITER, Site, TamperedStore
from tests.backup.trees import plain_tree


def errors(report: VerifyReport) -> dict[str, str]:
    assert report.is_sound is not any(one.severity == "error" for one in report.findings)
    return {one.object: one.problem for one in report.findings if one.severity == "error"}


def keyed(site: Site) -> dict[str, str]:
    return errors(verify(site.vault, keys=site.keys, identity=site.identity, read=True))


def store_of(site: Site) -> TamperedStore:
    assert isinstance(site.vault, TamperedStore)
    return site.vault


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plain_tree(tmp_path / "source")


def test_writer_known_only_to_witness_is_an_error(site: Site, source: Path) -> None:
    """Rolled-back root records hide a writer without leaving a gap."""
    site.back_up(source)
    witness = (*verify(site.vault).heads, Head(writer="desk-9", sequence=4, sha256="ab" * 32))
    found = errors(verify(site.vault, witness=witness))
    assert found.keys() == {snapshot_name("desk-9", 4)}
    assert "no root record" in found[snapshot_name("desk-9", 4)]


@pytest.mark.parametrize("kind", ["reader", "format"])
def test_modified_bundled_reader_is_an_error(site: Site, kind: str) -> None:
    """The vault's copies are used when no other copy of the reader is left."""
    (name,) = store_of(site).names(f"pub/{kind}/")
    assert errors(verify(site.vault)) == {}
    store_of(site).replace(name, site.vault.get(name) + b"\n# and something more\n")
    assert errors(verify(site.vault)).keys() == {name}


def test_missing_or_invalid_domain_key_is_an_error(site: Site, source: Path) -> None:
    site.back_up(source)
    drawer = site.keys
    name = key_name(DOMAIN, 0, 0)
    data = drawer.get(name)
    site.keys = TamperedStore()
    (problem,) = errors(verify(site.vault, keys=site.keys)).values()
    assert "can be restored" in problem
    site.keys.put(name, data[:-1] + bytes([data[-1] ^ 1]))
    assert errors(verify(site.vault, keys=site.keys)).keys() == {name}
    assert errors(verify(site.vault, keys=drawer)) == {}


def test_point_on_unknown_root_record_is_an_error(site: Site, source: Path) -> None:
    site.back_up(source)
    name = snapshot_name(WRITER, 1)
    data = site.vault.get(name)
    snapshot, sealed = snapshot_from_bytes(data, name)
    link = Link(number=1, sha256=hashlib.sha256(data).hexdigest())
    gone = Link(number=1, sha256="cd" * 32)
    forged = replace(snapshot, sequence=2, previous=link, root_record=gone)
    site.vault.put(
        snapshot_name(WRITER, 2), snapshot_to_bytes(forged, sealed, site.host.signing_key)
    )
    found = errors(verify(site.vault))
    assert found.keys() == {snapshot_name(WRITER, 2)}
    assert "root record" in found[snapshot_name(WRITER, 2)]
    assert [point.sequence for point in site.repository().points()] == [1]


def forge(site: Site, **changes: Any) -> str:
    """Put a changed third snapshot, signed with the writer's own key."""
    name = snapshot_name(WRITER, 2)
    data = site.vault.get(name)
    snapshot, sealed = snapshot_from_bytes(data, name)
    link = Link(number=2, sha256=hashlib.sha256(data).hexdigest())
    following = replace(snapshot, sequence=3, previous=link, skipped=(), packs=())
    signed = snapshot_to_bytes(replace(following, **changes), sealed, site.host.signing_key)
    site.vault.put(snapshot_name(WRITER, 3), signed)
    return snapshot_name(WRITER, 3)


def test_point_after_an_older_one_is_a_fork(site: Site, source: Path) -> None:
    """A cloned or rolled-back host causes such a fork."""
    for _ in range(2):
        site.back_up(source)
    first = hashlib.sha256(site.vault.get(snapshot_name(WRITER, 1))).hexdigest()
    name = forge(site, previous=Link(number=1, sha256=first))
    found = errors(verify(site.vault))
    assert found.keys() == {name}
    assert "the history forks" in found[name]


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (2, "but the store's clock"),
        (-2, "its writer's clock went back"),
        (0.9, None),
        (-0.9, None),
    ],
)
def test_impossible_point_date_is_reported_without_damage(
    tmp_path: Path, source: Path, days: float, told: str | None
) -> None:
    """Retention and `latest` depend on the date of a recovery point."""
    site = kept_site(tmp_path / "site").site  # the store of this site has the same clock
    for _ in range(2):
        site.back_up(source)
    name = forge(site, time=site.clock() + timedelta(days=days))
    report = verify(site.vault)
    assert errors(report) == {}
    found = {one.object: one.problem for one in report.findings}
    assert found.keys() == (set() if told is None else {name})
    assert told is None or told in found[name]


def test_foreign_object_among_points_is_no_damage(site: Site, source: Path) -> None:
    site.back_up(source)
    odd = f"w/{WRITER}/s/notes"
    site.vault.put(odd, b"no snapshot")
    report = verify(site.vault)
    assert errors(report) == {}
    assert [(one.object, one.severity) for one in report.findings] == [(odd, "warning")]
    assert len(site.repository().points()) == 1


def test_unreadable_or_miscounting_point_is_an_error(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(source)

    def too_many(body: Body, recipient: str) -> bytes:
        return seal_body(replace(body, files=body.files + 1), recipient)

    def none(body: Body, recipient: str) -> bytes:
        return seal_body(body, recipient)[:-1] + b"?"

    for way in (too_many, none):
        monkeypatch.setattr("backup.archiver.snapshot_commit.seal_body", way)
        site.back_up(source)
    assert errors(verify(site.vault, keys=site.keys, read=True)) == {}, "only a key shows it"
    found = keyed(site)
    assert found.keys() == {snapshot_name(WRITER, 2), snapshot_name(WRITER, 3)}
    assert "counts 6 files but contains 5" in found[snapshot_name(WRITER, 2)]


@pytest.mark.parametrize("said", [2051, 2049])
def test_content_of_wrong_size_is_an_error(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    def lying(packs: Sequence[str], entries: Sequence[str]) -> bytes:
        return leaf_to_bytes(
            packs, [entry.replace('"size":2050', f'"size":{said}') for entry in entries]
        )

    (source / "note.txt").write_text("a note that is long enough to be told of\n" * 50)
    monkeypatch.setattr("backup.archiver.manifest_builder.leaf_to_bytes", lying)
    site.back_up(source)
    assert errors(verify(site.vault, keys=site.keys, read=True)) == {}, "only a key shows it"
    (problem,) = keyed(site).values()
    assert f"note.txt has 2050 bytes of content instead of {said}" in problem


def test_junk_named_as_unused_pack_is_an_error(site: Site, source: Path) -> None:
    """A pack with the right hash and meaningless content is an error."""
    site.back_up(source)
    name = snapshot_name(WRITER, 1)
    data = site.vault.get(name)
    snapshot, sealed = snapshot_from_bytes(data, name)
    junk = b"junk" * 2000
    pack = hashlib.sha256(junk).hexdigest()
    site.vault.put(pack_name(WRITER, pack), junk)
    link = Link(number=1, sha256=hashlib.sha256(data).hexdigest())
    uses = {1: bytes([2 ** len(snapshot.packs) - 1])}
    forged = replace(snapshot, sequence=2, previous=link, packs=((pack, len(junk)),), uses=uses)
    site.vault.put(
        snapshot_name(WRITER, 2), snapshot_to_bytes(forged, sealed, site.host.signing_key)
    )
    assert errors(verify(site.vault, keys=site.keys, read=True)) == {}, "only a key shows it"
    assert keyed(site).keys() == {pack_name(WRITER, pack)}


def test_unreadable_pack_does_not_stop_the_check(site: Site, source: Path) -> None:
    site.back_up(source)
    (source / "more.txt").write_text("the second backup")
    site.back_up(source)
    vault = store_of(site)
    packs = vault.names(f"w/{WRITER}/p/")
    gone, unreadable, rotten = packs[:3]
    vault.replace(rotten, bytes(len(vault.get(rotten))))

    def fail(name: str) -> None:
        if name == gone:
            raise NotFound(f"{name} is not there")
        if name == unreadable:
            raise Damaged(f"{name} cannot be read: the disk has a bad sector")

    vault.before_read = fail
    report = verify(vault, read=True)
    found = errors(report)
    assert found.keys() == {gone, unreadable, rotten}
    assert found[gone].startswith("is missing")
    assert "bad sector" in found[unreadable]
    whole = (set(packs) | {rotten}) - {gone, unreadable}
    assert report.bytes_read == sum(len(vault.get(name)) for name in whole)


class _Leaving(TamperedStore):
    """A store that stops answering after n reads."""

    reads_left = -1

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        if self.reads_left == 0:
            raise StoreUnavailable("the network is gone; try again")
        self.reads_left -= 1
        return super()._get_range(name, start, length)


@pytest.mark.parametrize("read", [False, True])
def test_unavailable_store_is_never_reported_as_damage(
    tmp_path: Path, source: Path, read: bool
) -> None:
    vault, keys = _Leaving(), _Leaving()
    site = Site(folder=tmp_path / "site", vault=vault, keys=keys).create()
    site.back_up(source)

    def check(leaving: _Leaving, reads: int) -> int:
        vault.reads_left = keys.reads_left = -1
        leaving.reads_left = reads
        assert verify(vault, keys=keys, identity=site.identity, read=read).is_sound
        return reads - leaving.reads_left

    for store in (vault, keys):
        reads = check(store, 1_000_000)
        assert reads
        for number in range(reads):
            with pytest.raises(StoreUnavailable):
                check(store, number)


def test_foreign_object_among_packs_is_no_damage(site: Site, source: Path) -> None:
    site.back_up(source)
    site.vault.put(f"w/{WRITER}/p/ab/notes", b"not a pack")
    site.vault.put(pack_name(WRITER, "ab" * 32), b"of a run that broke off")
    report = verify(site.vault, read=True)
    assert errors(report) == {}
    told = {one.object: (one.severity, one.problem) for one in report.findings}
    unnamed, notes = pack_name(WRITER, "ab" * 32), f"w/{WRITER}/p/ab/notes"
    assert told.keys() == {f"w/{WRITER}/p/", unnamed, notes}
    assert (told[unnamed][0], told[notes][0]) == ("warning", "warning")
    severity, problem = told[f"w/{WRITER}/p/"]
    assert severity == "note"
    assert "named by no snapshot" in problem


def test_check_with_partial_key_does_not_claim_completeness(tmp_path: Path, source: Path) -> None:
    owned = owned_site(tmp_path / "site")
    lee, identity = new_person("Lee")
    add_domain(owned.office, name="staff", custodians=(lee,))
    add_writer(owned.office, name="desk-2", domain="staff", host_dir=owned.folder / "two")
    owned.back_up(source)
    assert "opening" in verify(owned.vault, keys=owned.keys, identity=owned.identity).saw
    owned.back_up(source, host=owned.host_of("two"), send_log=owned.folder / "two/send.log")
    for who, closed in ((owned.identity, "desk-2"), (identity, WRITER)):
        report = verify(owned.vault, keys=owned.keys, identity=who)
        assert "opening" not in report.saw
        (note,) = report.findings
        assert (note.severity, note.object) == ("note", snapshot_name(closed, 1))
        assert "was not read" in note.problem


class TestForgedKeepRecords:
    @pytest.fixture
    def kept(self, tmp_path: Path) -> KeptSite:
        kept = kept_site(tmp_path)
        kept.next_backup()
        return kept

    def record(self, kept: KeptSite, **changes: Any) -> bytes:
        trust = load_root_chain(kept.vault)
        record = KeepRecord(
            repository=trust.root.repository,
            number=0,
            previous=None,
            root_record=trust.links[-1],
            created=kept.clock(),
            dropped=tuple(sorted(kept.packs())),
        )
        return keep_to_bytes(replace(record, **changes), kept.keeper.key)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"number": 1}, "it was moved"),
            ({"repository": bytes(16)}, "another repository"),
            ({"root_record": Link(number=0, sha256="cd" * 32)}, "root record that this repository"),
        ],
    )
    def test_record_of_other_repository_frees_nothing(
        self, kept: KeptSite, changes: dict[str, Any], why: str
    ) -> None:
        kept.vault.put(keep_name(0), self.record(kept, **changes))
        keeps = load_retention_log(kept.vault, load_root_chain(kept.vault))
        assert (keeps.head, keeps.dropped, keeps.avoided) == (None, frozenset(), frozenset())
        found = errors(verify(kept.vault))
        assert found.keys() == {keep_name(0)}
        assert why in found[keep_name(0)]

    def test_invalid_object_among_records_frees_nothing(self, kept: KeptSite) -> None:
        kept.vault.put("pub/keep/newest", self.record(kept))
        assert load_retention_log(kept.vault, load_root_chain(kept.vault)).dropped == frozenset()
        assert errors(verify(kept.vault)).keys() == {"pub/keep/newest"}
        assert len(vault_of(kept).names("pub/keep/")) == 1
