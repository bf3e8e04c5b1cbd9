"""The keeper's checks of answers that a real bucket rarely gives."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backup.errors import Locked, StoreUnavailable, UsageError
from backup.stores import LockMode, ObjectLock, StoreTraits
from backup.stores.s3 import S3Options
from backup.stores.s3.client import Calls
from backup.stores.s3.keeper import S3KeeperStore

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
DATE = "Wed, 25 Nov 2026 03:00:00 GMT"
MACHINE_NOW = NOW + timedelta(days=900)  # a keeper whose clock is fast would remove too much
NAME = "w/desk-1/p/ab/abcd"
FIRST, LATER = "first-version", "later-version"


class Answers:
    """A bucket's answers about one name that has two versions."""

    def __init__(self) -> None:
        self.versioning: dict[str, Any] = {
            "Status": "Enabled",
            "ResponseMetadata": {"HTTPHeaders": {"date": DATE}},
        }
        self.retention: dict[str, Any] | None = None
        self.takes_locks = self.removes = True
        self.refuses: str | None = None
        self.versions = [LATER, FIRST]
        self.asked: list[dict[str, Any]] = []

    def get_bucket_versioning(self, **_: Any) -> dict[str, Any]:
        return self.versioning

    def list_object_versions(self, **_: Any) -> dict[str, Any]:
        of_each = {"Key": NAME, "Size": 1, "ETag": '"e"', "LastModified": NOW}
        rows = [{"VersionId": version, **of_each} for version in self.versions]
        return {"Name": "vault", "IsTruncated": False, "Versions": rows}

    def get_object_retention(self, **request: Any) -> dict[str, Any]:
        assert (request["Key"], request["VersionId"]) == (NAME, FIRST)
        if self.retention is None:
            raise refused("NoSuchObjectLockConfiguration", 404)
        return {"Retention": self.retention}

    def put_object_retention(self, **request: Any) -> None:
        assert (request["Key"], request["VersionId"]) == (NAME, FIRST)
        self.asked.append(request["Retention"])
        if self.takes_locks:
            self.retention = request["Retention"]

    def delete_object(self, **request: Any) -> None:
        assert (request["Key"], request["VersionId"]) == (NAME, FIRST)
        if self.refuses is not None:
            raise refused(self.refuses, 403)
        if self.removes:
            self.versions.remove(FIRST)


def refused(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "asked")


def keeper_of(answers: Answers, mode: LockMode = "COMPLIANCE") -> S3KeeperStore:
    given = S3Options(bucket="vault", access_key_id="id", secret_access_key="secret", attempts=2)
    calls = Calls(given, pause=lambda _: None, jitter=lambda: 1.0)
    calls.client = answers
    lock = ObjectLock(mode=mode, days=30)
    traits = StoreTraits(is_write_only=True, why="a test's", is_versioned=True, lock=lock)
    return S3KeeperStore(given, calls, traits, lambda: MACHINE_NOW)


@pytest.fixture
def answers() -> Answers:
    return Answers()


def locked(until: datetime, mode: LockMode = "COMPLIANCE") -> dict[str, Any]:
    return {"Mode": mode, "RetainUntilDate": until}


def test_clock_is_that_of_the_bucket(answers: Answers) -> None:
    assert keeper_of(answers).clock() == NOW


@pytest.mark.parametrize("lacking", ["Status", "ResponseMetadata"])
def test_foreign_answer_provides_no_time(answers: Answers, lacking: str) -> None:
    del answers.versioning[lacking]
    with pytest.raises(StoreUnavailable, match="the time"):
        keeper_of(answers).clock()


@pytest.mark.parametrize("kept", ["GOVERNANCE", "COMPLIANCE"])
@pytest.mark.parametrize("default", ["GOVERNANCE", "COMPLIANCE"])
def test_extended_lock_keeps_mode_first_gets_default(
    answers: Answers, kept: LockMode, default: LockMode
) -> None:
    keeper = keeper_of(answers, default)
    until = NOW + timedelta(days=60)
    keeper.extend_lock(NAME, until)
    assert answers.asked == [locked(until, default)]
    answers.retention = locked(NOW + timedelta(days=40), kept)
    keeper.extend_lock(NAME, until)
    assert answers.asked[1:] == [locked(until, kept)]


def test_sufficient_lock_is_not_changed(answers: Answers) -> None:
    answers.retention = locked(NOW + timedelta(days=60))
    for days in (40, 60):
        keeper_of(answers).extend_lock(NAME, NOW + timedelta(days=days))
    assert answers.asked == []


def test_lock_never_ends_before_the_requested_time(
    answers: Answers,
) -> None:
    keeper_of(answers).extend_lock(NAME, NOW + timedelta(days=60, microseconds=1))
    assert answers.asked == [locked(NOW + timedelta(days=60, seconds=1))]


@pytest.mark.parametrize("present", [None, locked(NOW + timedelta(days=40))])
def test_lock_that_did_not_grow_is_an_error(
    answers: Answers, present: dict[str, Any] | None
) -> None:
    answers.retention, answers.takes_locks = present, False
    with pytest.raises(StoreUnavailable, match=f"extending the lock of {NAME}"):
        keeper_of(answers).extend_lock(NAME, NOW + timedelta(days=60))


def test_removal_of_first_version_shows_the_next(
    answers: Answers,
) -> None:
    keeper = keeper_of(answers)
    assert keeper.stat(NAME).later_versions == 1
    keeper.remove(NAME)
    assert answers.versions == [LATER]
    assert keeper.stat(NAME).later_versions == 0


def test_removal_without_effect_is_an_error(answers: Answers) -> None:
    answers.removes = False
    with pytest.raises(StoreUnavailable, match=f"removing {NAME}"):
        keeper_of(answers).remove(NAME)


@pytest.mark.parametrize("until", [None, NOW, NOW + timedelta(hours=1)])
def test_refusal_is_locked_only_while_lock_lasts(answers: Answers, until: datetime | None) -> None:
    answers.refuses = "AccessDenied"
    answers.retention = None if until is None else locked(until)
    is_locked = until is not None and until > NOW
    with pytest.raises(Locked if is_locked else UsageError) as told:
        keeper_of(answers).remove(NAME)
    assert ("is locked until 2026-11-25 04:00Z" in str(told.value)) == is_locked
    assert FIRST in answers.versions
