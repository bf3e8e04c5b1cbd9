"""Only changes far above the usual are anomalies."""

import random
from dataclasses import replace

import pytest

from standfast.continuity.backup_anomalies import BackupAnomaly, RunCounts, jumps

GIB = 1 << 30
QUIET = RunCounts(
    files=10_000,
    files_new=50,
    files_changed=100,
    bytes_total=40 * GIB,
    bytes_changed=GIB // 4,
    bytes_incompressible=GIB // 8,
)


def runs(
    count: int, like: RunCounts = QUIET, *, stray: float = 0.3, seed: int = 1
) -> list[RunCounts]:
    """Return the counts of runs with small deviations from a mean."""
    dice = random.Random(seed)

    def about(number: int) -> int:
        return int(number * dice.uniform(1 - stray, 1 + stray))

    found = []
    files = like.files
    for _ in range(count):
        new = about(like.files_new)
        files += new
        found.append(
            replace(
                like,
                files=files,
                files_new=new,
                files_changed=about(like.files_changed),
                bytes_changed=about(like.bytes_changed),
                bytes_incompressible=about(like.bytes_incompressible),
            )
        )
    return found


def names(found: tuple[BackupAnomaly, ...]) -> set[str]:
    return {jump.measure for jump in found}


def test_a_run_like_the_others_is_quiet() -> None:
    before = runs(30)
    for run in runs(20, before[-1], seed=2):
        assert jumps(before, replace(run, files=before[-1].files + run.files_new)) == ()


def test_files_encrypted_in_their_place_are_a_jump() -> None:
    before = runs(10)
    last = before[-1]
    newest = replace(
        last,
        files_new=0,
        files_changed=6_000,
        bytes_changed=24 * GIB,
        bytes_incompressible=24 * GIB,
    )
    found = jumps(before, newest)
    assert names(found) == {"changed", "new content", "incompressible"}
    changed = next(jump for jump in found if jump.measure == "changed")
    assert changed.permille == int(6_000 * 1000 / last.files)
    assert changed.usual_permille < 15
    assert "of the files have other content; usually" in changed.sentence


def test_renamed_suffixes_are_an_anomaly() -> None:
    before = runs(10)
    last = before[-1]
    # Encrypted and renamed: the old names are gone, as many new ones are there.
    newest = replace(
        last,
        files_new=7_000,
        files_changed=0,
        bytes_changed=28 * GIB,
        bytes_incompressible=28 * GIB,
    )
    assert names(jumps(before, newest)) == {"renamed", "new content", "incompressible"}
    # Renamed only: the content is known, so nothing else shows.
    moved = replace(newest, bytes_changed=0, bytes_incompressible=0)
    assert names(jumps(before, moved)) == {"renamed"}


def test_many_new_files_are_only_new_content() -> None:
    before = runs(10)
    last = before[-1]
    newest = replace(
        last,
        files=last.files + 8_000,
        files_new=8_000,
        bytes_total=60 * GIB,
        bytes_changed=20 * GIB,
    )
    assert names(jumps(before, newest)) == {"new content"}


def test_many_deleted_files_are_an_anomaly() -> None:
    before = runs(10)
    last = before[-1]
    (found,) = jumps(before, replace(last, files=last.files // 2, files_new=0))
    assert (found.measure, found.permille, found.usual_permille) == ("gone", 500, 0)
    assert "50 % of the files are gone, and no new files exist" in found.sentence


def test_shedding_set_does_not_report_deletions() -> None:
    before = runs(10)
    last = before[-1]
    fewer = replace(last, files=last.files // 2, files_new=0)
    assert jumps(before, fewer, removes_stored_files=True) == ()
    encrypted = replace(fewer, files_changed=4_000, bytes_changed=last.bytes_total)
    assert names(jumps(before, encrypted, removes_stored_files=True)) == {"changed", "new content"}


def test_new_content_is_a_share_of_newest_run() -> None:
    before = runs(10)
    grown = replace(before[-1], bytes_total=400 * GIB, bytes_changed=36 * GIB)
    assert jumps(before, replace(grown, files=grown.files + grown.files_new)) == ()


def test_even_number_of_runs_averages_the_middle() -> None:
    same = replace(QUIET, files_new=0, bytes_changed=0, bytes_incompressible=0)
    before = [replace(same, files_changed=n) for n in (0, 0, 0, 0, 2000, 2000, 2000)]
    (found,) = jumps(before, replace(same, files_changed=same.files))
    assert (found.measure, found.usual_permille) == ("changed", 100)


def test_few_deleted_files_are_no_anomaly() -> None:
    before = runs(10)
    newest = replace(before[-1], files=before[-1].files - 500, files_new=0)
    assert jumps(before, newest) == ()


@pytest.mark.parametrize(("percent", "is_told"), [(10, False), (10.1, True)])
def test_rise_above_a_tenth_is_an_anomaly(percent: float, is_told: bool) -> None:
    same = replace(QUIET, files_new=0, files_changed=0, bytes_changed=0, bytes_incompressible=0)
    newest = replace(same, files_changed=int(same.files * percent / 100))
    assert bool(jumps([same] * 6, newest)) is is_told


@pytest.mark.parametrize(("percent", "is_told"), [(28.6, False), (28.8, True)])
def test_anomaly_begins_at_six_deviations(percent: float, is_told: bool) -> None:
    """The mean is 10 %, and half of the runs deviate by 2.1 % or more."""
    same = replace(QUIET, files_new=0, bytes_changed=0, bytes_incompressible=0)
    before = [replace(same, files_changed=n) for n in (0, 790, 1000, 1210, 1210, 790, 1000, 1210)]
    newest = replace(same, files_changed=int(same.files * percent / 100))
    assert bool(jumps(before, newest)) is is_told


def test_usual_values_come_from_thirty_runs() -> None:
    same = replace(QUIET, files_new=0, bytes_changed=0, bytes_incompressible=0)
    calm = replace(same, files_changed=0)
    wild = replace(same, files_changed=5000)
    # Of the 29 runs that are compared with the run before, 15 deviate: they are the usual.
    assert jumps([*[calm] * 15, *[wild] * 15], wild) == ()
    assert jumps([*[calm] * 16, *[wild] * 14], wild) != ()
    assert jumps([*[wild] * 100, *[calm] * 15, *[wild] * 14], wild) != ()


def test_set_that_always_changes_is_quiet() -> None:
    dump = RunCounts(
        files=1,
        files_new=0,
        files_changed=1,
        bytes_total=2 * GIB,
        bytes_changed=GIB // 10,
        bytes_incompressible=0,
    )
    before = runs(10, dump, stray=0.0)
    assert jumps(before, before[-1]) == ()
    encrypted = replace(before[-1], bytes_changed=2 * GIB, bytes_incompressible=2 * GIB)
    assert names(jumps(before, encrypted)) == {"new content", "incompressible"}


def test_incompressible_recordings_are_quiet_until_rewritten() -> None:
    recordings = replace(QUIET, bytes_changed=GIB, bytes_incompressible=GIB, files_changed=0)
    before = runs(10, recordings)
    assert jumps(before, replace(before[-1], files=before[-1].files + before[-1].files_new)) == ()
    rewritten = replace(
        before[-1], files_changed=9_000, bytes_changed=38 * GIB, bytes_incompressible=38 * GIB
    )
    assert names(jumps(before, rewritten)) == {"changed", "new content", "incompressible"}


@pytest.mark.parametrize("count", [0, 1, 4])
def test_nothing_is_judged_before_five_runs(count: int) -> None:
    wild = replace(QUIET, files_changed=QUIET.files, bytes_changed=QUIET.bytes_total)
    assert jumps(runs(count), wild) == ()
    assert jumps(runs(5), wild)


def test_handful_of_files_is_no_anomaly() -> None:
    small = RunCounts(
        files=30,
        files_new=0,
        files_changed=0,
        bytes_total=3 << 20,
        bytes_changed=0,
        bytes_incompressible=0,
    )
    before = [small] * 10
    handful = replace(small, files_changed=19, bytes_changed=3 << 20)
    assert jumps(before, handful) == ()
    assert names(jumps(before, replace(handful, files_changed=20))) == {"changed"}


def test_unsteady_set_has_a_higher_limit() -> None:
    wild = replace(QUIET, files_changed=3_000)
    before = runs(20, wild, stray=0.9)
    assert jumps(before, replace(before[-1], files_changed=6_000)) == ()
    calm = runs(20, wild, stray=0.02)
    assert names(jumps(calm, replace(calm[-1], files_changed=6_000))) == {"changed"}


def test_two_wild_runs_do_not_hide_a_third() -> None:
    before = runs(12)
    attack = replace(before[-1], files_new=0, files_changed=before[-1].files)
    assert names(jumps([*before, attack, attack], attack)) == {"changed"}


def test_what_becomes_usual_is_quiet_again() -> None:
    before = runs(12)
    more = replace(QUIET, files=before[-1].files, files_new=0, files_changed=3_000)
    assert jumps([*before, more], more)
    assert jumps([*before, *[more] * 30], more) == ()


def test_incomplete_run_is_not_counted() -> None:
    counts = {name: getattr(QUIET, name) for name in RunCounts.__dataclass_fields__}
    assert RunCounts.of({**counts, "point": "host-1/0000000001"}) == QUIET
    assert RunCounts.of({**counts, "sent_anew": True}) is None
    del counts["bytes_changed"]
    assert RunCounts.of(counts) is None
    assert RunCounts.of({}) is None
