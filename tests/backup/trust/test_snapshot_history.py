"""Snapshots that were removed, replaced, forked, forged or rolled back."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup.archiver.upload_cache.cache import open_upload_cache
from backup.checker.verification import verify
from backup.errors import Damaged, NotFound, UsageError
from backup.format.object_names import snapshot_name
from backup.format.record_link import Link
from backup.format.snapshot import snapshot_from_bytes, snapshot_to_bytes
from backup.records import VerifyReport
from backup.repository import Repository
from backup.trust.key_files import Host
from tests.backup.checker.test_lost_packs import Keeping
from tests.backup.site import DOMAIN, WRITER, Site, TamperedStore, new_site
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plain_tree(tmp_path / "source")


def vault_of(site: Site) -> TamperedStore:
    assert isinstance(site.vault, TamperedStore)
    return site.vault


def make_backups(site: Site, source: Path, count: int) -> None:
    for number in range(count):
        (source / "note.txt").write_text(f"backup {number}")
        site.back_up(source)


def problems(report: VerifyReport) -> list[tuple[str, str]]:
    return [(f.object, f.problem) for f in report.findings if f.severity == "error"]


def test_sound_history_returns_its_head(site: Site, source: Path) -> None:
    make_backups(site, source, 3)
    report = verify(site.vault)
    assert report.findings == ()
    (head,) = report.heads
    assert (head.writer, head.sequence) == (WRITER, 3)
    assert head.sha256 == site.repository().resolve("latest").sha256


def test_a_removed_snapshot_is_a_hole(site: Site, source: Path) -> None:
    make_backups(site, source, 4)
    for sequence in (1, 2, 3):
        vault = vault_of(site).copy()
        vault.remove(snapshot_name(WRITER, sequence))
        (found, *_) = problems(verify(vault))
        assert found[0] == snapshot_name(WRITER, sequence)
        assert "missing" in found[1]


def test_removed_newest_snapshot_shows_only_with_witness(site: Site, source: Path) -> None:
    make_backups(site, source, 3)
    heads = verify(site.vault).heads
    vault = vault_of(site)
    vault.remove(snapshot_name(WRITER, 3))
    assert problems(verify(vault)) == []
    ((name, problem),) = problems(verify(vault, witness=heads))
    assert name == snapshot_name(WRITER, 3)
    assert "rolled back" in problem


def test_replaced_repository_shows_against_the_witness(
    site: Site, source: Path, tmp_path: Path
) -> None:
    make_backups(site, source, 2)
    heads = verify(site.vault).heads
    other = new_site(tmp_path / "other", TamperedStore())
    make_backups(other, source, 2)
    ((name, problem),) = problems(verify(other.vault, witness=heads))
    assert name == snapshot_name(WRITER, 2)
    assert "witness" in problem
    assert problems(verify(other.vault, owner=site.host.owner))


def test_host_notices_rollback_and_leaves_a_gap(site: Site, source: Path, tmp_path: Path) -> None:
    make_backups(site, source, 2)
    vault = vault_of(site)
    early = vault.copy()
    make_backups(site, source, 2)
    site.vault = early
    result = site.back_up(source)
    assert any("rolled back" in warning for warning in result.warnings)
    assert result.is_store_damaged
    assert result.sequence == 5
    assert (snapshot_name(WRITER, 4), "is missing although the next one names it") in problems(
        verify(early)
    )
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    assert not site.back_up(source).is_store_damaged, "it is told once; a verification goes on"


def test_a_clone_collides_and_both_histories_stay_restorable(
    site: Site, source: Path, tmp_path: Path
) -> None:
    make_backups(site, source, 2)
    shutil.copytree(site.folder, tmp_path / "clone")
    clone = Site(folder=tmp_path / "clone", vault=site.vault, keys=site.keys, clock=site.clock)
    (source / "note.txt").write_text("seen by the clone")
    assert not clone.back_up(source).has_foreign_point
    (source / "note.txt").write_text("seen by the first")
    result = site.back_up(source)
    assert result.has_foreign_point
    assert result.sequence == 4
    assert any("cloned or rolled back" in warning for warning in result.warnings)
    assert problems(verify(site.vault, keys=site.keys, identity=site.identity)) == []
    for point, text in (("desk-1/3", "seen by the clone"), ("desk-1/4", "seen by the first")):
        out = tmp_path / point.replace("/", "-")
        assert site.restore(point, out).problems == ()
        assert (out / "files/note.txt").read_text() == text
    following = site.back_up(source)
    assert not following.has_foreign_point
    assert following.warnings == ()


def test_clone_that_commits_meanwhile_is_followed(site: Site, source: Path, tmp_path: Path) -> None:
    make_backups(site, source, 1)
    shutil.copytree(site.folder, tmp_path / "clone")
    clone = Site(folder=tmp_path / "clone", vault=site.vault, keys=site.keys, clock=site.clock)

    class OvertakenStore(TamperedStore):
        is_overtaken = False

        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            if name == snapshot_name(WRITER, 2) and not self.is_overtaken:
                self.is_overtaken = True
                clone.back_up(source)
            super()._put(name, data)

    overtaken = OvertakenStore()
    overtaken._objects = vault_of(site)._objects
    clone.vault = overtaken
    site.vault = overtaken
    result = site.back_up(source)
    assert (result.has_foreign_point, result.sequence) == (True, 3)
    assert problems(verify(overtaken, keys=site.keys, identity=site.identity)) == []
    assert site.restore("latest", tmp_path / "out").problems == ()
    following = site.back_up(source)
    assert (following.has_foreign_point, following.is_full_upload) == (False, True)
    assert following.bytes_changed == following.bytes_total, "nothing that was logged is believed"


def test_junk_in_next_slot_is_skipped_and_reported(
    site: Site, source: Path, tmp_path: Path
) -> None:
    make_backups(site, source, 1)
    for sequence in (2, 3):
        vault_of(site).put(snapshot_name(WRITER, sequence), b"junk" * sequence)
    result = site.back_up(source)
    assert (result.sequence, result.has_foreign_point) == (4, False)
    assert result.has_invalid_snapshots
    (warning,) = result.warnings
    assert "desk-1: 2 snapshots, 2 to 3, are not valid" in warning
    report = verify(site.vault)
    assert problems(report) == []
    assert [(f.severity, f.object) for f in report.findings] == [
        ("warning", snapshot_name(WRITER, 2)),
        ("warning", snapshot_name(WRITER, 3)),
    ]
    assert site.restore("latest", tmp_path / "out").problems == ()


def test_junk_arriving_during_the_run_is_skipped(site: Site, source: Path, tmp_path: Path) -> None:
    class RacedStore(TamperedStore):
        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            if name == snapshot_name(WRITER, 1) and name not in self.names():
                super()._put(name, b"junk, a moment earlier")
            super()._put(name, data)

    raced = RacedStore()
    raced._objects = vault_of(site)._objects
    site.vault = raced
    result = site.back_up(source)
    assert (result.sequence, result.has_foreign_point) == (2, False)
    assert problems(verify(raced)) == []
    assert site.restore("latest", tmp_path / "out").problems == ()


def test_lost_answer_to_a_put_is_harmless(site: Site, source: Path) -> None:
    class ForgetfulStore(TamperedStore):
        """A store that repeats each successful put, as after a lost answer."""

        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            super()._put(name, data)
            super()._put(name, data)

    forgetful = ForgetfulStore()
    forgetful._objects = vault_of(site)._objects
    site.vault = forgetful
    result = site.back_up(source)
    assert (result.sequence, result.warnings) == (1, ())
    assert problems(verify(forgetful, keys=site.keys, identity=site.identity)) == []


def forge(site: Site, host: Host, **changes: Any) -> bytes:
    """Return a changed snapshot like the newest, signed with a host's key."""
    name = snapshot_name(WRITER, 1)
    snapshot, sealed = snapshot_from_bytes(site.vault.get(name), name)
    facts: dict[str, Any] = {"sequence": 2, "previous": None}
    changed = replace(snapshot, **(facts | changes))
    return snapshot_to_bytes(changed, sealed, host.signing_key)


def test_snapshot_of_another_host_is_not_believed(site: Site, source: Path, tmp_path: Path) -> None:
    make_backups(site, source, 1)
    stranger = new_site(tmp_path / "stranger").host
    name = snapshot_name(WRITER, 2)
    vault_of(site).put(name, forge(site, stranger))
    assert [found for found, _ in problems(verify(site.vault))] == [name]
    assert [point.sequence for point in site.repository().points()] == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": bytes(16)},
        {"writer": "desk-2"},
        {"epoch": 1},
        {"domain": "other"},
        {"uses": {1: b"\xff"}},
        {"uses": {7: b"\x01"}},
    ],
)
def test_a_snapshot_that_does_not_belong_is_found(
    site: Site, source: Path, changes: dict[str, object]
) -> None:
    make_backups(site, source, 1)
    name = snapshot_name(WRITER, 2)
    vault_of(site).put(name, forge(site, site.host, **changes))
    assert name in {found for found, _ in problems(verify(site.vault))}


def test_signed_snapshot_that_skips_one_is_fork(site: Site, source: Path) -> None:
    make_backups(site, source, 1)
    vault_of(site).put(snapshot_name(WRITER, 2), forge(site, site.host))
    ((name, problem),) = problems(verify(site.vault))
    assert name == snapshot_name(WRITER, 2)
    assert "before it" in problem


@pytest.fixture
def forked(site: Site, source: Path) -> Site:
    """Make two backups, and a snapshot that leaves out the second."""
    make_backups(site, source, 2)
    link = Link(
        number=1, sha256=hashlib.sha256(site.vault.get(snapshot_name(WRITER, 1))).hexdigest()
    )
    name = snapshot_name(WRITER, 3)
    vault_of(site).put(name, forge(site, site.host, sequence=3, previous=link))
    return site


def test_latest_is_refused_where_history_forks(forked: Site, tmp_path: Path) -> None:
    for text in ("latest", "desk-1/latest"):
        with pytest.raises(Damaged) as refused:
            forked.repository().resolve(text, of_any_host=True)
        assert "desk-1/0000000002 or desk-1/0000000003" in str(refused.value)
    for text in ("2", "3"):
        assert forked.restore(text, tmp_path / text).problems == ()


def test_expired_branch_is_history(forked: Site) -> None:
    Keeping(forked).says(expired=((WRITER, 2),))
    assert forked.repository().resolve("latest").sequence == 3


def test_lost_snapshot_is_no_fork(site: Site, source: Path) -> None:
    make_backups(site, source, 4)
    vault_of(site).remove(snapshot_name(WRITER, 2))
    vault_of(site).replace(snapshot_name(WRITER, 3), b"rot")
    assert site.repository().resolve("latest").sequence == 4


def test_point_is_found_by_its_names(site: Site, source: Path) -> None:
    make_backups(site, source, 3)
    repository = site.repository()
    for text, sequence in (
        ("latest", 3),
        ("2", 2),
        ("0000000002", 2),
        ("desk-1/0000000001", 1),
        ("desk-1/1", 1),
    ):
        assert repository.resolve(text).sequence == sequence
    assert [point.name for point in repository.points()] == [
        f"desk-1/{sequence:010d}" for sequence in (1, 2, 3)
    ]


@pytest.mark.parametrize("text", ["4", "desk-2/1", "", "newest", "desk-1/", "-1", "²"])
def test_unknown_point_lists_the_known_points(site: Site, source: Path, text: str) -> None:
    make_backups(site, source, 2)
    with pytest.raises(NotFound, match="desk-1/0000000002"):
        site.repository().resolve(text)


def test_points_of_sets_are_distinguished(site: Site, source: Path) -> None:
    site.back_up(source, set_name="nightly")
    site.back_up(source, set_name="hourly")
    repository = site.repository()
    assert [point.set_name for point in repository.points()] == ["nightly", "hourly"]
    assert repository.resolve("latest", "nightly").sequence == 1
    with pytest.raises(NotFound):
        repository.resolve("latest", "yearly")


def test_public_part_is_shown_without_identity(site: Site, source: Path) -> None:
    make_backups(site, source, 1)
    (point,) = Repository.open(site.vault).points()
    assert (point.writer, point.domain, point.set_name) == (WRITER, DOMAIN, "nightly")
    assert point.complete
    assert point.bytes_new > 0
    assert point.details is None
    (opened,) = site.repository().points()
    assert opened.details is not None
    assert opened.details.files == 5
    assert opened.details.unread == ()
    assert opened.details.started <= opened.details.consistent_at <= opened.details.ended


def test_host_notices_a_removed_root_record(site: Site, source: Path) -> None:
    make_backups(site, source, 1)
    with open_upload_cache(site.send_log, site.binding) as log:
        log.history.store_root_number(1)
    with pytest.raises(Damaged, match="root record 1"):
        site.back_up(source)


def test_foreign_record_of_newer_format_stops_no_writer(site: Site, source: Path) -> None:
    for place, kind in (("pub/keep/0000000000", "keep"), ("pub/root/0000000001", "root")):
        site.vault.put(place, b'{"format":2,"kind":"%s"}\n' % kind.encode() + bytes(64))
    assert site.back_up(source).complete
    named = {finding.object for finding in verify(site.vault).findings}
    assert {"pub/keep/0000000000", "pub/root/0000000001"} <= named


def test_host_with_unknown_key_is_refused(site: Site, source: Path, tmp_path: Path) -> None:
    other = new_site(tmp_path / "other")
    stranger = replace(other.host, repository=site.host.repository, owner=site.host.owner)
    with pytest.raises(UsageError, match="root record does not authorize"):
        site.back_up(source, host=stranger)
    with pytest.raises(Damaged, match="another owner"):
        site.back_up(source, host=other.host)
