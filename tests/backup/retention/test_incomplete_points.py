"""Retention with damaged snapshots, lost packs and packs of no point."""

from dataclasses import replace

from backup.checker.verification import verify
from backup.format.object_names import pack_name, parse_pack_name
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import (
    KeptSite,
    expired_and_marked,
    sign_root,
    vault_of,
)
from tests.backup.site import WRITER
from tests.backup.trees import noise


class TestIncompleteHistory:
    def test_missing_snapshot_keeps_all_of_its_writer(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(15)  # a pack that only the seventh point needs is now old enough to be marked
        vault = vault_of(kept)
        name = f"w/{WRITER}/s/0000000007"
        data = kept.vault.get(name)
        vault.lose(name)
        before = kept.packs()
        result = kept.keep(max_percent=100)
        assert (result.expired, result.marked, result.dropped) == ((), (), ())
        assert any(f"writer {WRITER}: nothing expires" in one for one in result.problems)
        assert kept.packs() == before
        vault._objects[name] = (data, kept.clock())
        assert kept.keep(max_percent=50).removed
        kept.check()

    def test_damaged_expired_snapshot_blocks_nothing(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault_of(kept).replace(f"w/{WRITER}/s/0000000002", b"rot")
        result = kept.keep()
        assert result.removed
        assert result.problems == ()
        for name in kept.points():
            assert kept.site.restore(name, kept.site.folder / name).problems == ()

    def test_damaged_snapshot_with_shared_packs_blocks_everything(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault_of(kept).replace(f"w/{WRITER}/s/0000000001", b"rot")
        result = kept.keep()
        assert result.removed == ()
        assert "needs packs of snapshot 1" in result.problems[0]

    def test_damaged_snapshot_expires_after_every_rule(self, kept: KeptSite) -> None:
        kept.keep(max_percent=50)
        vault_of(kept).replace(f"w/{WRITER}/s/0000000006", b"rot")
        kept.days(8)
        assert kept.keep(max_percent=100).expired == ()
        for _ in range(4):
            kept.next_backup(days=7)
        assert kept.keep(max_percent=100).expired == ((WRITER, 6),), "it is 56 days old"
        result = kept.keep(max_percent=100)
        assert len(result.expired) > 1, "and holds nothing up any more"
        for name in kept.points():
            assert kept.site.restore(name, kept.site.folder / name).problems == ()


def test_lost_pack_is_distrusted_and_sent_again(kept: KeptSite) -> None:
    vault = vault_of(kept)
    newest = kept.next_backup()
    live = sorted(kept.packs())
    vault.replace(pack_name(*live[0]), b"rot")
    vault.lose(pack_name(*live[1]))
    errors = (one for one in verify(kept.vault, read=True).findings if one.severity == "error")
    lost = tuple(
        sorted({pack for one in errors if (pack := parse_pack_name(one.object)) is not None})
    )
    assert lost == tuple(live[:2])
    result = kept.keep(distrust=lost, max_percent=50)
    assert result.distrusted == lost
    assert kept.keeps().distrusted == set(lost)
    assert kept.keep(distrust=lost).distrusted == (), "once is enough"
    assert newest.point in kept.points()
    after = kept.next_backup()
    out = kept.site.folder / "again"
    assert kept.site.restore(after.point, out).problems == ()


def test_lost_pack_is_recorded_without_other_changes(kept: KeptSite) -> None:
    expired_and_marked(kept)
    lost = sorted(kept.packs() - kept.keeps().marked.keys())[0]
    vault_of(kept).lose(pack_name(*lost))
    result = kept.keep(distrust=(lost,))
    assert (result.distrusted, len(result.records)) == ((lost,), 1)
    assert kept.keeps().distrusted == {lost}


def test_pack_of_an_unknown_writer_is_never_changed(kept: KeptSite) -> None:
    stranger = f"w/stranger/p/ab/{'ab' * 32}"
    odd = f"w/{WRITER}/p/ab/notes"
    for name in (stranger, odd):
        kept.vault.put(name, b"x")
    kept.days(40)
    kept.keep(max_percent=100)
    kept.days(8)
    kept.keep(max_percent=100)
    for name in (stranger, odd):
        assert kept.vault.get(name) == b"x"


def test_packs_of_interrupted_run_expire_after_a_month(kept: KeptSite) -> None:
    left = (WRITER, "ab" * 32)
    kept.keep(max_percent=50)
    kept.vault.put(pack_name(*left), noise(5000))
    kept.days(28)
    kept.next_backup()
    assert left not in {one.pack for one in kept.keep(max_percent=100).marked}
    kept.days(2)
    assert left in {one.pack for one in kept.keep(max_percent=100).marked}
    kept.days(8)
    assert left in {one.pack for one in kept.keep(max_percent=100).removed}
    kept.check()


class TestErasedDomain:
    def test_erased_points_expire_after_the_minimum(self, kept: KeptSite) -> None:
        kept.keep(max_percent=50)
        domains = load_root_chain(kept.vault).root.domains
        sign_root(kept.site, domains=tuple(replace(one, erased=kept.clock()) for one in domains))
        kept.days(29)
        kept.keep()
        assert len(kept.points()) == 6
        kept.days(2)
        assert len(kept.keep().expired) == 6, "and no fifth holds them: nobody can open them"
        assert kept.points() == []
        kept.days(1)
        kept.keep()
        kept.days(8)
        kept.keep()
        assert kept.packs() == set()
