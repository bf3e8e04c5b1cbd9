"""Records of the last proof of each custodian's key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import StandfastError
from standfast.usecases.key_ceremonies.custodian_answers import (
    custodian_statuses,
    note_answered,
    note_asked,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PEOPLE = [("age1dana", "Dana"), ("age1lee", "Lee")]


def answered(folder: Path, who: str, challenge: str, now: datetime, *lacks: str) -> None:
    note_answered(folder, sha256=challenge, fingerprint=who, opens=["main/0"], lacks=lacks, now=now)


def overdue(folder: Path, now: datetime) -> set[str]:
    return {one.name for one in custodian_statuses(folder) if one.is_overdue(now)}


def test_custodian_without_challenge_is_not_overdue(tmp_path: Path) -> None:
    assert custodian_statuses(tmp_path) == ()


def test_silent_custodian_is_overdue_after_hundred_days(tmp_path: Path) -> None:
    note_asked(tmp_path, "a", PEOPLE, NOW)
    answered(tmp_path, "age1lee", "a", NOW + timedelta(days=3))
    assert overdue(tmp_path, NOW + timedelta(days=99)) == set()
    assert overdue(tmp_path, NOW + timedelta(days=101)) == {"Dana", "Lee"}
    note_asked(tmp_path, "b", PEOPLE, NOW + timedelta(days=90))
    answered(tmp_path, "age1lee", "b", NOW + timedelta(days=91))
    # A new request does not count as a proof of the key.
    assert overdue(tmp_path, NOW + timedelta(days=101)) == {"Dana"}


def test_old_answer_proves_nothing(tmp_path: Path) -> None:
    note_asked(tmp_path, "a", PEOPLE, NOW)
    for days in (1, 95):
        answered(tmp_path, "age1lee", "a", NOW + timedelta(days=days))
    assert "Lee" in overdue(tmp_path, NOW + timedelta(days=101))


def test_failed_key_is_overdue_until_it_opens(tmp_path: Path) -> None:
    note_asked(tmp_path, "a", PEOPLE, NOW)
    answered(tmp_path, "age1lee", "a", NOW, "hr/0")
    assert overdue(tmp_path, NOW) == {"Lee"}
    note_asked(tmp_path, "b", PEOPLE, NOW + timedelta(days=1))
    answered(tmp_path, "age1lee", "b", NOW + timedelta(days=1))
    assert overdue(tmp_path, NOW + timedelta(days=2)) == set()


def test_former_custodian_is_not_awaited(tmp_path: Path) -> None:
    note_asked(tmp_path, "a", PEOPLE, NOW)
    note_asked(tmp_path, "b", PEOPLE[1:], NOW + timedelta(days=90))
    assert [one.name for one in custodian_statuses(tmp_path)] == ["Lee"]


def test_line_cut_off_by_a_crash_never_counts(tmp_path: Path) -> None:
    note_asked(tmp_path, "a", PEOPLE, NOW)
    file = tmp_path / "custodians.jsonl"
    with file.open("ab") as end:
        end.write(b'{"event":"answ')
    assert len(custodian_statuses(tmp_path)) == 2
    answered(tmp_path, "age1lee", "a", NOW)
    assert [one.answered_at for one in custodian_statuses(tmp_path)] == [None, NOW]
    file.write_bytes(b"{}\n")
    with pytest.raises(StandfastError, match="neither a challenge nor an answer"):
        custodian_statuses(tmp_path)
