"""Packs that a new recovery point must not use: truncated, distrusted."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from backup.archiver import source_archiver
from backup.archiver.unusable_packs import UnusablePacks
from backup.archiver.upload_cache.cache import open_upload_cache
from backup.checker.verification import verify
from backup.format.keep_record import KeepRecord, keep_to_bytes
from backup.format.object_names import keep_name, pack_name, pack_prefix
from backup.format.record_link import Link
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from tests.backup.archiver.test_writer_and_keeper import (
    HookedVault,
    check_latest,
    named_by,
    needed_by,
    say,
    vault_of,
)
from tests.backup.keep_site import KeptSite, kept_site
from tests.backup.site import WRITER, Clock, Site, TamperedStore
from tests.backup.sources.files.test_unreadable import fill, unreadable
from tests.backup.trees import describe, plain_tree


@pytest.fixture
def kept(tmp_path: Path) -> KeptSite:
    clock = Clock()
    return kept_site(tmp_path / "site", HookedVault(clock), clock)


def test_content_of_truncated_pack_is_sent_again(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    vault = site.vault
    assert isinstance(vault, TamperedStore)
    packs = vault.names(pack_prefix(WRITER))
    for name in packs:
        vault.replace(name, vault.get(name)[:-1])
    result = site.back_up(source)
    assert any("of another size" in warning for warning in result.warnings)
    assert site.restore("2", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)


@pytest.mark.parametrize(("number", "count"), [(1, "1 stored pack of"), (2, "2 stored packs of")])
def test_warning_counts_the_truncated_packs(
    site: Site, tmp_path: Path, number: int, count: str
) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    vault = site.vault
    assert isinstance(vault, TamperedStore)
    for name in vault.names(pack_prefix(WRITER))[:number]:
        vault.replace(name, vault.get(name)[:-1])
    assert [warning.startswith(count) for warning in site.back_up(source).warnings] == [True]
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)


def test_distrusted_sparse_pack_stays_unused_for_unreadable_file(
    kept: KeptSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_archiver, "REREAD_CYCLE_DAYS", 1)
    source = fill(kept.source, 45)
    kept.site.back_up(source)
    old = {pack for pack in kept.packs() if len(kept.vault.get(pack_name(*pack))) > 10_000_000}
    for number in range(5, 45):
        (source / f"{number:03}.wav").unlink()
    kept.days(31)
    vault_of(kept).before(pack_prefix(WRITER), lambda: say(kept, distrusted=tuple(old)))
    with unreadable("001.wav"):
        result = kept.site.back_up(source)
    assert [item.reason for item in result.unread] == ["cannot be read: Input/output error"]
    assert not needed_by(kept, result.sequence) & old
    (source / "001.wav").rename(tmp_path / "001.wav")
    assert kept.site.restore(result.point, tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files").keys() == describe(source).keys()


@pytest.mark.parametrize("what", ["marked", "dropped", "distrusted"])
def test_pack_distrusted_by_keeper_stays_unused(kept: KeptSite, tmp_path: Path, what: str) -> None:
    """A second point of the same run must avoid the same packs."""
    with open_upload_cache(tmp_path / "log", "a binding") as log:
        packs = [log.number_pack(), log.number_pack()]
        for number in packs:
            log.acknowledge(number, bytes([number]) * 32, 5000, "nightly", [])
        log.forget_packs(packs, can_recall=True)
        say(kept, **{what: ((WRITER, (bytes([packs[0]]) * 32).hex()),)})
        avoidance = UnusablePacks(vault=kept.vault, writer=WRITER, cache=log)
        avoidance.apply_retention_log(load_root_chain(kept.vault))
        assert not log.recall_packs([packs[0]])
        assert log.recall_packs([packs[1]])


def test_hidden_keep_record_is_still_named(kept: KeptSite, tmp_path: Path) -> None:
    """The next run would no longer show that the record is missing."""
    kept.next_backup()
    say(kept)
    first = kept.packs()
    say(kept, marked=tuple(first))
    kept.next_backup()
    seen = load_retention_log(kept.vault, load_root_chain(kept.vault)).head
    assert seen is not None
    vault_of(kept).lose(keep_name(seen.number))
    for _ in range(2):
        result = kept.next_backup()
        assert any("rolled back" in warning for warning in result.warnings)
        assert named_by(kept, result.sequence).keep_record == seen
    assert keep_name(seen.number) in {
        one.object for one in verify(kept.vault).findings if one.severity == "error"
    }
    assert not needed_by(kept, 4) & first
    check_latest(kept, result, tmp_path / "out")


def test_forked_keep_chain_is_reported_and_heeded(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    say(kept)
    before = load_retention_log(kept.vault, load_root_chain(kept.vault)).head
    say(kept)
    kept.next_backup()
    seen = load_retention_log(kept.vault, load_root_chain(kept.vault)).head
    assert before is not None
    assert seen is not None
    vault_of(kept).lose(keep_name(seen.number))
    trust = load_root_chain(kept.vault)
    beside = KeepRecord(
        repository=trust.root.repository,
        number=seen.number + 1,
        previous=before,
        root_record=trust.links[-1],
        created=kept.clock(),
    )
    packs = needed_by(kept, 2)
    data = keep_to_bytes(replace(beside, distrusted=tuple(sorted(packs))), kept.keeper.key)
    kept.vault.put(keep_name(beside.number), data)
    result = kept.next_backup()
    assert any("rolled back" in warning for warning in result.warnings)
    assert not needed_by(kept, 3) & packs
    link = Link(number=beside.number, sha256=hashlib.sha256(data).hexdigest())
    assert named_by(kept, 3).keep_record == link
    check_latest(kept, result, tmp_path / "out")


def test_pack_forgotten_twice_is_not_used_again(
    tmp_path: Path,
) -> None:
    with open_upload_cache(tmp_path / "log", "a binding") as log:
        number = log.number_pack()
        log.acknowledge(number, bytes(32), 5000, "nightly", [])
        log.forget_packs([number], can_recall=True)
        assert log.recall_packs([number])
        log.forget_packs([number])
        assert not log.recall_packs([number])
