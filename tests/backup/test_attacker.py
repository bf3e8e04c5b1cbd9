"""Attacks on stored backups with all keys of the backup host.

- On a real S3 the intruder has the writer's identity; in a folder, the rights of root.
- After each try, every earlier recovery point is restored and compared.
- Each try is either refused by the store or named by `verify`, and the test says which.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup import break_glass
from backup.checker.verification import verify
from backup.errors import BackupError, Damaged, UsageError, WrongKey
from backup.format.object_names import (
    MAX_NUMBER,
    key_name,
    pack_name,
    pack_prefix,
    root_name,
    snapshot_name,
)
from backup.format.root_record import (
    WriterGrant,
    key_from_bytes,
    key_to_bytes,
    root_from_bytes,
    root_to_bytes,
)
from backup.format.snapshot import snapshot_from_bytes, snapshot_to_bytes
from backup.records import Head
from backup.stores.s3.store import open_s3
from backup.trust.key_files import open_domains, open_identity
from backup.trust.root_chain import load_root_chain
from tests.backup.poison import poison
from tests.backup.s3_options import options
from tests.backup.site import DOMAIN, WRITER, Site, TamperedStore, new_site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import Bucket

NEXT = snapshot_name(WRITER, 3)
Tree = dict[bytes, tuple[object, ...]]


@dataclass(kw_only=True)
class Captured:
    """A host that made two recovery points and was then taken over."""

    site: Site
    source: Path
    points: dict[str, Tree]
    witness: tuple[Head, ...]

    def named(self, *, keyed: bool = False) -> dict[str, str]:
        """Return the findings of `verify` by object."""
        report = verify(
            self.site.vault,
            keys=self.site.keys,
            identity=self.site.identity if keyed else None,
            read=True,
            witness=self.witness,
            owner=self.site.host.owner,
        )
        return {f.object: f.problem for f in report.findings if f.severity != "note"}

    def assert_every_earlier_point_comes_back(self, to: Path) -> None:
        for number, (point, tree) in enumerate(self.points.items()):
            result = self.site.restore(point, to / f"out-{number}")
            assert result.problems == (), point
            assert describe(to / f"out-{number}" / "files") == tree, point

    def pack(self) -> str:
        snapshot, _ = snapshot_from_bytes(self.site.vault.get(snapshot_name(WRITER, 1)), "it")
        return pack_name(WRITER, snapshot.packs[0][0])

    def forged(self, sealed: bytes | None = None, **changes: Any) -> bytes:
        """Return the next snapshot, validly signed, with the intruder's content."""
        name = snapshot_name(WRITER, 2)
        data = self.site.vault.get(name)
        snapshot, true = snapshot_from_bytes(data, name)
        link = replace(snapshot.root_record, number=2, sha256=hashlib.sha256(data).hexdigest())
        next_one = replace(snapshot, sequence=3, previous=link, skipped=())
        key = self.site.host.signing_key
        return snapshot_to_bytes(replace(next_one, **changes), sealed or true, key)

    def by_glass(self, folder: Path, *more: str) -> int:
        """Return the exit status of the break-glass reader on both stores."""
        for store, to in ((self.site.vault, "vault"), (self.site.keys, "keys")):
            for stat in store.list(""):
                path = folder / to / stat.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.get(stat.name))
        identity = self.site.folder / "custodian.txt"
        stores = [str(folder / "vault"), str(folder / "keys"), str(identity)]
        before = os.umask(0o022)
        try:
            return break_glass.main([*stores, *more])
        finally:
            os.umask(before)


def capture(site: Site, source: Path) -> Captured:
    points = {}
    for round_number in range(2):
        (source / "note.txt").write_text(f"backup {round_number}\n")
        points[site.back_up(source).point] = describe(source)
    heads = verify(site.vault).heads
    return Captured(site=site, source=source, points=points, witness=heads)


@pytest.fixture
def folder(site: Site, tmp_path: Path) -> Captured:
    """A vault in a folder of the host itself: root may do anything to it."""
    return capture(site, plain_tree(tmp_path / "source"))


@dataclass(kw_only=True)
class Bucketed:
    """A vault in a bucket with locks, and a client with the host's rights."""

    captured: Captured
    client: Any
    bucket: str

    def put(self, name: str, data: bytes) -> None:
        """Put without the condition that the name is new."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=data)

    def refuses(self, call: Callable[..., object], **arguments: object) -> bool:
        try:
            call(Bucket=self.bucket, **arguments)
        except self.client.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"]) in ("AccessDenied", "403")
        return False


@pytest.fixture
def bucket(s3_bucket: Bucket, tmp_path: Path) -> Bucketed:
    site = new_site(tmp_path / "site", open_s3(options(s3_bucket, s3_bucket.admin)))
    site.vault = open_s3(options(s3_bucket, s3_bucket.key("writer")))
    reading = open_s3(options(s3_bucket, s3_bucket.key("verifier")))
    source = plain_tree(tmp_path / "source")
    points = {}
    for round_number in range(2):
        (source / "note.txt").write_text(f"backup {round_number}\n")
        points[site.back_up(source).point] = describe(source)
    site.vault = reading
    heads = verify(reading).heads
    return Bucketed(
        captured=Captured(site=site, source=source, points=points, witness=heads),
        client=s3_bucket.client(s3_bucket.key("writer")),
        bucket=s3_bucket.name,
    )


class TestOnAStoreThatLocks:
    def test_reading_stored_data_is_refused(self, bucket: Bucketed, tmp_path: Path) -> None:
        captured = bucket.captured
        assert bucket.refuses(bucket.client.get_object, Key=captured.pack())
        assert bucket.refuses(bucket.client.list_object_versions, Prefix="k/")
        captured.assert_every_earlier_point_comes_back(tmp_path)

    def test_deleting_hiding_and_unlocking_are_refused(
        self, bucket: Bucketed, tmp_path: Path
    ) -> None:
        captured = bucket.captured
        soon = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(minutes=1)}
        for name in (captured.pack(), snapshot_name(WRITER, 2), root_name(0)):
            assert bucket.refuses(bucket.client.delete_object, Key=name)
            assert bucket.refuses(bucket.client.put_object_retention, Key=name, Retention=soon)
        assert captured.named() == {}
        captured.assert_every_earlier_point_comes_back(tmp_path)

    def test_overwriting_only_adds_a_reported_version(
        self, bucket: Bucketed, tmp_path: Path
    ) -> None:
        captured = bucket.captured
        pack, newest = captured.pack(), snapshot_name(WRITER, 2)
        bucket.put(pack, b"")
        bucket.put(newest, captured.site.vault.get(newest)[:100])
        found = captured.named()
        assert set(found) == {pack, newest}
        assert all("the first version is read" in problem for problem in found.values())
        captured.assert_every_earlier_point_comes_back(tmp_path)

    def test_replayed_point_is_named(self, bucket: Bucketed, tmp_path: Path) -> None:
        captured = bucket.captured
        bucket.put(NEXT, captured.site.vault.get(snapshot_name(WRITER, 1)))
        assert "snapshot 1 of" in captured.named()[NEXT]
        captured.assert_every_earlier_point_comes_back(tmp_path)

    def test_writing_records_of_owner_and_keeper_is_refused(
        self, bucket: Bucketed, tmp_path: Path
    ) -> None:
        for name in (root_name(1), "pub/keep/0000000000", "k/main/0000000000/0000000001"):
            assert bucket.refuses(bucket.client.put_object, Key=name, Body=b"x")
        bucket.captured.assert_every_earlier_point_comes_back(tmp_path)

    def test_rubbish_is_named_and_blocks_nothing(
        self, bucket: Bucketed, s3_bucket: Bucket, tmp_path: Path
    ) -> None:
        captured = bucket.captured
        for number in range(30):
            bucket.put(f"w/{WRITER}/junk-{number}", b"rubbish")
            rubbish = hashlib.sha256(b"%d" % number).hexdigest()
            bucket.put(pack_name(WRITER, rubbish), b"rubbish")
        bucket.put(NEXT, b"rubbish")
        assert {NEXT, f"w/{WRITER}/junk-7"} <= set(captured.named())
        captured.assert_every_earlier_point_comes_back(tmp_path)
        reading = captured.site.vault
        captured.site.vault = open_s3(options(s3_bucket, s3_bucket.key("writer")))
        made = captured.site.back_up(captured.source)
        captured.site.vault = reading
        assert made.point == f"{WRITER}/0000000004"
        captured.site.restore(made.point, tmp_path / "new")
        assert describe(tmp_path / "new" / "files") == describe(captured.source)

    def test_folder_in_next_slot_does_not_stop_backup(
        self, bucket: Bucketed, s3_bucket: Bucket, tmp_path: Path
    ) -> None:
        """A store in folders cannot put an object where a folder has its name."""
        captured = bucket.captured
        bucket.put(f"{NEXT}/x", b"rubbish")
        time.sleep(1.1)  # the store's clock has seconds
        reading = captured.site.vault
        for round_number in (4, 5):
            captured.site.vault = open_s3(options(s3_bucket, s3_bucket.key("writer")))
            made = captured.site.back_up(captured.source)
            captured.site.vault = reading
            assert made.point == f"{WRITER}/{round_number:010d}"
            assert made.has_invalid_snapshots == (round_number == 4), "it is reported once"
            assert any("snapshot 3 is not valid" in one for one in made.warnings) == (
                round_number == 4
            )
        assert captured.named() == {f"{NEXT}/x": "is not an object of this format"}
        captured.site.restore("latest", tmp_path / "new")
        assert describe(tmp_path / "new" / "files") == describe(captured.source)
        captured.assert_every_earlier_point_comes_back(tmp_path)

    def test_junk_under_last_number_does_not_stop_backup(
        self, bucket: Bucketed, s3_bucket: Bucket, tmp_path: Path
    ) -> None:
        captured = bucket.captured
        last = snapshot_name(WRITER, MAX_NUMBER)
        bucket.put(last, b"rubbish")
        assert set(captured.named()) == {last}
        time.sleep(1.1)  # the store's clock has seconds
        reading = captured.site.vault
        for round_number in (3, 4):
            (captured.source / "note.txt").write_text(f"backup {round_number}\n")
            captured.site.vault = open_s3(options(s3_bucket, s3_bucket.key("writer")))
            made = captured.site.back_up(captured.source)
            captured.site.vault = reading
            assert made.point == f"{WRITER}/{round_number:010d}"
            assert not made.is_store_damaged
            assert made.has_invalid_snapshots == (round_number == 3), "it is reported once"
            assert any(f"snapshot {MAX_NUMBER} is not valid" in one for one in made.warnings) == (
                round_number == 3
            )
            captured.site.restore("latest", tmp_path / f"new-{round_number}")
            assert describe(tmp_path / f"new-{round_number}" / "files") == describe(captured.source)
        assert captured.named() == {last: "is not a snapshot; the writer skipped it"}
        assert captured.site.repository().points()
        captured.assert_every_earlier_point_comes_back(tmp_path)


def test_no_key_on_the_host_opens_anything(folder: Captured, tmp_path: Path) -> None:
    site = folder.site
    root = load_root_chain(site.vault).root
    on_the_host = [
        *(path for path in (site.folder / "host").rglob("*") if path.is_file()),
        *(path for path in site.send_log.parent.rglob("*") if path.is_file()),
    ]
    assert on_the_host
    for path in on_the_host:
        with pytest.raises(WrongKey):
            open_domains(root, site.keys, open_identity(path))
    folder.assert_every_earlier_point_comes_back(tmp_path)


Try = Callable[[Captured, TamperedStore], str]


def remove_a_pack(captured: Captured, vault: TamperedStore) -> str:
    vault.remove(captured.pack())
    return captured.pack()


def cut_a_pack(captured: Captured, vault: TamperedStore) -> str:
    vault.replace(captured.pack(), vault.get(captured.pack())[:-1])
    return captured.pack()


def remove_an_old_point(captured: Captured, vault: TamperedStore) -> str:
    vault.remove(snapshot_name(WRITER, 1))
    return snapshot_name(WRITER, 1)


def roll_back_to_the_first_point(captured: Captured, vault: TamperedStore) -> str:
    vault.remove(snapshot_name(WRITER, 2))
    return snapshot_name(WRITER, 2)


def put_one_point_in_the_place_of_another(captured: Captured, vault: TamperedStore) -> str:
    vault.replace(snapshot_name(WRITER, 2), vault.get(snapshot_name(WRITER, 1)))
    return snapshot_name(WRITER, 2)


def make_oneself_the_owner(captured: Captured, vault: TamperedStore) -> str:
    intruder = Ed25519PrivateKey.generate()
    root = root_from_bytes(vault.get(root_name(0)), "it")
    mine = replace(root, owner=intruder.public_key().public_bytes_raw())
    assert captured.witness
    vault.replace(root_name(0), root_to_bytes(mine, intruder))
    return root_name(0)


def add_a_writer_of_ones_own(captured: Captured, vault: TamperedStore) -> str:
    intruder = Ed25519PrivateKey.generate()
    data = vault.get(root_name(0))
    root = root_from_bytes(data, "it")
    grant = WriterGrant(
        id="desk-2",
        epoch=0,
        key=intruder.public_key().public_bytes_raw(),
        domains=("main",),
        trusted_through=None,
    )
    more = replace(
        root, number=1, previous=hashlib.sha256(data).digest(), writers=(*root.writers, grant)
    )
    vault.put(root_name(1), root_to_bytes(more, captured.site.host.signing_key))
    return root_name(1)


def have_packs_wrapped_to_ones_own_key(captured: Captured, vault: TamperedStore) -> str:
    data = vault.get(root_name(0))
    root = root_from_bytes(data, "it")
    (domain,) = root.domains
    mine = replace(domain, recipient=str(pyrage.x25519.Identity.generate().to_public()))
    forged = replace(root, number=1, previous=hashlib.sha256(data).digest(), domains=(mine,))
    vault.put(root_name(1), root_to_bytes(forged, captured.site.host.signing_key))
    return root_name(1)


@pytest.mark.parametrize(
    "attempt",
    [
        remove_a_pack,
        cut_a_pack,
        remove_an_old_point,
        roll_back_to_the_first_point,
        put_one_point_in_the_place_of_another,
        make_oneself_the_owner,
        add_a_writer_of_ones_own,
        have_packs_wrapped_to_ones_own_key,
    ],
)
def test_changes_by_root_are_named_and_copy_restores(
    folder: Captured, tmp_path: Path, attempt: Try
) -> None:
    vault = folder.site.vault
    assert isinstance(vault, TamperedStore)
    assert not vault.describe().is_write_only
    elsewhere = vault.copy()
    name = attempt(folder, vault)
    assert name in folder.named()
    folder.site.vault = elsewhere
    assert folder.named() == {}
    folder.assert_every_earlier_point_comes_back(tmp_path)


def test_inserted_key_for_later_points_is_named(
    folder: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host can add its own key to everything that it stores later."""
    intruder = pyrage.x25519.Identity.generate()
    encrypt = pyrage.encrypt

    def for_two(data: bytes, recipients: list[Any]) -> bytes:
        return bytes(encrypt(data, [*recipients, intruder.to_public()]))

    monkeypatch.setattr(pyrage, "encrypt", for_two)
    (folder.source / "later.txt").write_text("from now on the intruder reads along")
    before = set(pack_names(folder.site))
    folder.site.back_up(folder.source)
    monkeypatch.undo()
    later = {NEXT, *set(pack_names(folder.site)) - before}
    assert len(later) == 3
    named = folder.named()
    assert set(named) == later
    assert all("another key" in problem for problem in named.values())
    folder.assert_every_earlier_point_comes_back(tmp_path)


def test_inserted_custodian_opens_nothing_and_is_named(folder: Captured, tmp_path: Path) -> None:
    site = folder.site
    intruder = pyrage.x25519.Identity.generate()
    (old,) = [stat.name for stat in site.keys.list("k/")]
    record = key_from_bytes(site.keys.get(old), site.host.owner, "it")
    mine = replace(
        record,
        number=record.number + 1,
        custodians=(str(intruder.to_public()),),
        wrapped=bytes(pyrage.encrypt(str(intruder).encode(), [intruder.to_public()])),
    )
    name = key_name(DOMAIN, record.generation, mine.number)
    site.keys.put(name, key_to_bytes(mine, site.host.signing_key))
    assert set(folder.named()) == {name}
    identity = tmp_path / "intruder.txt"
    identity.write_text(f"{intruder}\n")
    with pytest.raises(BackupError):
        open_domains(load_root_chain(site.vault).root, site.keys, open_identity(identity))
    folder.assert_every_earlier_point_comes_back(tmp_path)


def test_poisoned_upload_cache_damages_only_later_points(folder: Captured, tmp_path: Path) -> None:
    poison(folder.site.send_log)
    poisoned = folder.site.back_up(folder.source)
    assert folder.named() == {}, "every byte is what the host signed"
    ((name, problem),) = folder.named(keyed=True).items()
    assert name.startswith(pack_prefix(WRITER))
    assert problem.startswith("contains other content than its reference says")
    assert f"at least this is lost: files/calls/one.wav of {poisoned.point}" in problem
    assert folder.site.restore(poisoned.point, tmp_path / "poisoned").problems
    assert not (tmp_path / "poisoned/files/calls/one.wav").exists(), "nothing wrong is brought back"
    folder.assert_every_earlier_point_comes_back(tmp_path)


def test_forged_point_is_believed_until_trust_ends(folder: Captured, tmp_path: Path) -> None:
    """Root on the host can sign as the host until the owner's next record."""
    site = folder.site
    site.vault.put(NEXT, folder.forged(time=datetime.now(UTC) + timedelta(days=400)))
    assert site.repository().resolve("latest").sequence == 3
    data = site.vault.get(root_name(0))
    root = root_from_bytes(data, "it")
    (grant,) = root.writers
    later = replace(
        root,
        number=1,
        previous=hashlib.sha256(data).digest(),
        writers=(replace(grant, trusted_through=2),),
    )
    site.vault.put(root_name(1), root_to_bytes(later, owner_of(site)))
    assert "newer than the last snapshot" in folder.named()[NEXT]
    assert site.repository().resolve("latest").sequence == 2
    with pytest.raises(UsageError, match="no longer trusts these keys"):
        site.back_up(folder.source)
    folder.assert_every_earlier_point_comes_back(tmp_path)


@pytest.mark.parametrize("off", [timedelta(days=400), -timedelta(days=400)])
def test_a_forged_time_is_named(folder: Captured, tmp_path: Path, off: timedelta) -> None:
    folder.site.vault.put(NEXT, folder.forged(time=datetime.now(UTC) + off))
    assert "clock" in folder.named()[NEXT]
    folder.assert_every_earlier_point_comes_back(tmp_path)


def test_point_with_missing_content_is_named(folder: Captured, tmp_path: Path) -> None:
    folder.site.vault.put(NEXT, folder.forged(packs=(("ab" * 32, 5000),)))
    assert pack_name(WRITER, "ab" * 32) in folder.named()
    folder.assert_every_earlier_point_comes_back(tmp_path)


def test_slow_sealed_part_blocks_nobody(
    folder: Captured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An age file with a header of 100,000 bytes takes 20 seconds to open."""
    _, sealed = snapshot_from_bytes(folder.site.vault.get(snapshot_name(WRITER, 2)), "it")
    header, end, rest = sealed.partition(b"\n---")
    stanza = b"\n-> X25519 %s\n%s" % (b"A" * 43, b"A" * 43)
    folder.site.vault.put(NEXT, folder.forged(header + 10_000 * stanza + end + rest))
    began = time.process_time()
    assert [point.details is None for point in folder.site.repository().points()] == [False] * 2 + [
        True
    ]
    with pytest.raises(Damaged, match="age file"):
        folder.site.restore("latest", tmp_path / "forged")
    assert "another key" in folder.named()[NEXT]
    assert "it is not an age file for one key" in folder.named(keyed=True)[NEXT]
    folder.assert_every_earlier_point_comes_back(tmp_path)
    assert folder.by_glass(tmp_path / "glass") == 6
    assert folder.by_glass(tmp_path / "glass", str(tmp_path / "2"), f"{WRITER}/0000000002") == 0
    assert time.process_time() - began < 60
    assert "its age header is too long" in capsys.readouterr().err


def test_forged_skipped_numbers_hide_no_earlier_point(
    folder: Captured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.site.vault.put(NEXT, folder.forged(previous=None, skipped=(1, 2)))
    assert "does not name the snapshot before it" in folder.named()[NEXT]
    assert [point.sequence for point in folder.site.repository().points()] == [1, 2, 3]
    folder.assert_every_earlier_point_comes_back(tmp_path)
    assert folder.by_glass(tmp_path / "glass") == 0
    assert f"{WRITER}/0000000001" in capsys.readouterr().out
    for point, tree in folder.points.items():
        out = tmp_path / point.replace("/", "-")
        assert folder.by_glass(tmp_path / "glass", str(out), point) == 0
        assert describe(out / "files") == tree


def pack_names(site: Site) -> list[str]:
    return [stat.name for stat in site.vault.list(pack_prefix(WRITER))]


def owner_of(site: Site) -> Ed25519PrivateKey:
    value = json.loads((site.folder / "owner.json").read_bytes())
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(value["owner_key"]))
