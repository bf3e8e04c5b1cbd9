"""Conditions that stop retention: clocks, a second keeper, no grant."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.errors import AlreadyThere, Damaged, NotFound, RetentionStopped, UsageError
from backup.format.object_names import KEEPS, keep_name
from backup.format.root_record import KeeperGrant
from backup.retention.keeper_key import Keeper
from tests.backup.keep_site import (
    KeptSite,
    expired_and_marked,
    new_keeper,
    sign_root,
    vault_of,
)


class TestClocks:
    def test_a_clock_that_differs_from_ours_stops_everything(self, kept: KeptSite) -> None:
        names = vault_of(kept).names()
        for off in (timedelta(minutes=61), -timedelta(minutes=61)):
            with pytest.raises(RetentionStopped, match="this machine's"):
                kept.keep(now=lambda off=off: kept.clock() + off, max_percent=50)
        assert vault_of(kept).names() == names
        now = kept.clock() + timedelta(minutes=59)
        assert kept.keep(now=lambda: now, max_percent=50).expired
        kept.check()

    def test_a_clock_that_went_back_stops_everything(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        names = vault_of(kept).names()
        kept.clock.forward(hours=-1)
        with pytest.raises(RetentionStopped, match="it went back"):
            kept.keep()
        assert vault_of(kept).names() == names
        kept.clock.forward(hours=1)
        kept.keep()
        kept.check()

    def test_a_clock_that_jumped_ahead_stops_everything(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        names = vault_of(kept).names()
        kept.days(61)
        with pytest.raises(RetentionStopped, match="over 60 days ago"):
            kept.keep(max_percent=100)
        assert vault_of(kept).names() == names
        kept.check()
        result = kept.keep(is_clock_right=True, max_percent=100)
        assert result.removed
        kept.check()

    def test_plan_names_the_clock_that_stops_a_run(self, kept: KeptSite) -> None:
        def off() -> datetime:
            return kept.clock() + timedelta(minutes=61)

        plan, _ = kept.plan(now=off, max_percent=50)
        assert "this machine's" in str(plan.refusal)
        plan, _ = kept.plan(now=off, max_percent=50, is_clock_right=True)
        assert plan.refusal is None
        assert len(plan.expired) == 4


class TestTwoKeepers:
    def test_put_of_the_record_decides_a_race(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        kept.days(8)
        vault = vault_of(kept)
        put = vault.put
        rivals: list[int] = []

        def overtaken(name: str, data: bytes | bytearray | memoryview) -> None:
            if name.startswith(KEEPS) and not rivals:
                rivals.append(1)
                kept.keep()
            put(name, data)

        vault.put = overtaken
        result = kept.keep()
        assert rivals
        assert (result.records, result.dropped) == ((), ()), "the other one did it all"
        assert kept.keeps().problems == ()
        assert vault.names(KEEPS) == [keep_name(0), keep_name(1), keep_name(2)]
        kept.check()

    def test_keeper_that_always_loses_gives_up(self, kept: KeptSite) -> None:
        vault = vault_of(kept)
        put = vault.put

        def overtaken(name: str, data: bytes | bytearray | memoryview) -> None:
            if name.startswith(KEEPS):
                put(name, b"somebody else's")
            put(name, data)

        vault.put = overtaken
        with pytest.raises(AlreadyThere, match="one keeper at a time"):
            kept.keep(max_percent=50)


def test_junk_in_the_keep_chain_is_passed_over(kept: KeptSite) -> None:
    kept.vault.put(keep_name(0), b"junk")
    expired_and_marked(kept)
    kept.vault.put(keep_name(2), b"more junk\n" * 20)
    kept.days(8)
    result = kept.keep()
    assert result.records == (keep_name(3), keep_name(4))
    assert result.removed
    assert len(result.problems) == 2
    assert [problem.count("pub/keep/") for problem in result.problems] == [1, 1]
    for name in kept.points():
        assert kept.site.restore(name, kept.site.folder / name).problems == ()


class TestKeeperAuthorization:
    def test_damaged_keeper_key_says_how_to_replace_it(self, tmp_path: Path) -> None:
        (tmp_path / "keeper.json").write_text("{}")
        with pytest.raises(Damaged, match="set another keeper"):
            Keeper.load(tmp_path / "keeper.json")

    def test_unknown_keeper_is_refused(self, kept: KeptSite) -> None:
        stranger = replace(kept.keeper, key=new_keeper(kept.site, file="other.json").key)
        sign_root(
            kept.site, keepers=(KeeperGrant(key=kept.keeper.public_key, trusted_through=None),)
        )
        kept.keeper, right = stranger, kept.keeper
        with pytest.raises(UsageError, match="does not trust it"):
            kept.keep()
        kept.keeper = right
        kept.keep(max_percent=50)
        kept.check()

    def test_keeper_after_its_trust_ended_is_refused(self, kept: KeptSite) -> None:
        expired_and_marked(kept)
        grant = KeeperGrant(key=kept.keeper.public_key, trusted_through=0)
        sign_root(kept.site, keepers=(grant,))
        with pytest.raises(UsageError, match="does not trust it"):
            kept.keep()
        assert len(kept.points()) == 6
        kept.check()

    def test_another_repositorys_keeper_is_refused(self, kept: KeptSite) -> None:
        kept.keeper = replace(kept.keeper, repository=bytes(16))
        with pytest.raises(UsageError, match="another repository"):
            kept.keep()

    def test_invalid_keeper_file_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="not found"):
            Keeper.load(tmp_path / "absent.json")
