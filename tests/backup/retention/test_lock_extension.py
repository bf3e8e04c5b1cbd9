"""Locks of needed objects are extended; other locks end."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.errors import Locked, NotFound, RetentionStopped, UsageError
from backup.format.object_names import pack_name
from backup.stores import ObjectLock, Retention
from tests.backup.keep_site import (
    WEEKS,
    KeptSite,
    kept_site,
    vault_of,
)
from tests.backup.site import WRITER

_LOCKS = ["looking at locks", "extending locks"]


class TestLocks:
    @pytest.fixture
    def locked(self, tmp_path: Path) -> KeptSite:
        kept = kept_site(tmp_path, lock=ObjectLock(mode="COMPLIANCE", days=20))
        kept.rules = WEEKS
        kept.next_backup()
        return kept

    def test_lock_is_extended_below_half_its_time(self, locked: KeptSite) -> None:
        locked.days(8)
        assert locked.keep().extended == ()
        locked.days(3)
        result = locked.keep()
        assert set(result.extended) == set(vault_of(locked).names()), "everything is live"
        for name in result.extended:
            until = locked.vault.lock_until(name)
            assert until is not None
            assert timedelta(days=19.9) < until - locked.clock() < timedelta(days=20)
        locked.days(9)
        assert locked.keep().extended == ()
        locked.check()

    def test_lock_extension_reports_progress_per_object(self, locked: KeptSite) -> None:
        locked.next_backup()
        locked.days(11)
        number = len(vault_of(locked).names())
        for keep, does in ((locked.plan, ["looking at locks"]), (locked.keep, _LOCKS)):
            told: list[tuple[str, int, int]] = []
            keep(progress=lambda *one, told=told: told.append(one))
            assert [one for one in told if one[0] == "reading recovery points"][:2] == [
                ("reading recovery points", 1, 2),
                ("reading recovery points", 2, 2),
            ]
            for what in does:
                counted = [one for one in told if one[0] == what]
                assert counted == [(what, done, number) for done in range(1, number + 1)]

    def test_removable_objects_get_no_longer_lock(self, locked: KeptSite) -> None:
        for _ in range(8):
            locked.next_backup(days=6)
            locked.keep(max_percent=50)
        marked = locked.keeps().marked
        assert marked
        locked.days(1)
        marks = {pack_name(*pack) for pack in marked}
        result = locked.keep()
        assert not marks & set(result.extended)
        assert result.problems == ()
        # A marked pack still has its old lock: its removal waits for the end, and the run reports
        # it.
        locked.days(8)
        waiting = locked.keep()
        assert waiting.locked
        assert all(one.until > waiting.clock for one in waiting.locked)
        assert {one.pack for one in waiting.locked} <= locked.keeps().marked.keys()
        locked.check()
        locked.days(20)
        gone = {one.pack for one in locked.keep(max_percent=100).removed}
        assert {one.pack for one in waiting.locked} <= gone
        locked.check()

    def test_locks_are_extended_despite_excessive_expiry(self, locked: KeptSite) -> None:
        locked.next_backup()
        locked.days(45)
        with pytest.raises(RetentionStopped, match="1 of 2"):
            locked.keep()
        for name in vault_of(locked).names():
            until = locked.vault.lock_until(name)
            assert until is not None
            assert until > locked.clock() + timedelta(days=19)
        locked.check()

    def test_hold_extends_locks_of_all_needed_objects(self, locked: KeptSite) -> None:
        """The lock of an expired point must not end during the hold either."""
        locked.next_backup()
        locked.days(45)
        result = locked.keep(hold="an incident is open", max_percent=100)
        assert (result.records, result.expired, result.removed) == ((), (), ())
        for name in vault_of(locked).names():
            until = locked.vault.lock_until(name)
            assert until is not None
            assert until > locked.clock() + timedelta(days=19)
        locked.check()

    def test_refusing_object_is_reported_and_others_continue(self, locked: KeptSite) -> None:
        vault = vault_of(locked)
        extend, one = vault.extend_lock, vault.names()[0]

        def refuses(name: str, until: datetime) -> None:
            if name == one:
                raise UsageError(f"extending the lock of {name} was refused")
            extend(name, until)

        vault.extend_lock = refuses
        locked.days(11)
        result = locked.keep()
        assert result.problems == (f"extending the lock of {one} was refused",)
        assert set(result.extended) == set(vault.names()) - {one}
        locked.check()

    def test_needed_object_without_lock_gets_one(self, locked: KeptSite) -> None:
        """Without a lock, anybody with the right to remove locks could delete it."""
        bare = {pack_name(*sorted(locked.packs())[0]), f"w/{WRITER}/s/0000000001"}
        vault_of(locked)._locks |= dict.fromkeys(bare, None)
        locked.days(11)
        assert bare <= set(locked.keep().extended)
        for name in bare:
            until = locked.vault.lock_until(name)
            assert until is not None
            assert until > locked.clock() + timedelta(days=19)
        locked.check()

    def test_object_removed_during_extension_stops_no_other(self, locked: KeptSite) -> None:
        vault = vault_of(locked)
        lock_of, gone = vault.lock_of, pack_name(*sorted(locked.packs())[0])

        def missing(name: str) -> Retention | None:
            if name == gone:
                raise NotFound(f"{name} is not there")
            return lock_of(name)

        vault.lock_of = missing
        locked.days(11)
        result = locked.keep()
        assert set(result.extended) == set(vault.names()) - {gone}
        assert result.problems == ()

    def test_object_locked_at_last_moment_goes_later(self, locked: KeptSite) -> None:
        for _ in range(8):
            locked.next_backup(days=6)
        locked.keep(max_percent=50)
        locked.days(30)
        vault = vault_of(locked)
        remove = vault.remove

        def refuses(name: str) -> None:
            raise Locked(f"{name} is locked")

        vault.remove = refuses
        result = locked.keep(max_percent=100)
        dropped = {one.pack for one in result.dropped}
        assert dropped
        assert {one.pack for one in result.locked} == dropped <= locked.packs()
        assert (result.removed, result.freed_bytes) == ((), 0)
        vault.remove = remove
        assert dropped <= {one.pack for one in locked.keep(max_percent=100).removed}
        locked.check()
