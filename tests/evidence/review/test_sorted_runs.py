"""External sort of a review: order, bounded memory, full disk."""

import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from standfast.errors import StandfastError
from standfast.evidence.review.sorted_runs import SortedRuns
from tests.full_disk import file_size_limit

MANY = 1_500  # runs, more than are merged at once


def test_rows_of_many_runs_are_in_order(tmp_path: Path) -> None:
    with closing(SortedRuns(tmp_path)) as runs:
        for run in range(MANY):
            runs.keep(runs.write([[run + MANY, "b"], [run, "a"]]))
        expected = [[number, "a" if number < MANY else "b"] for number in range(2 * MANY)]
        assert list(runs.merged()) == expected
        assert list(runs.merged()) == expected


def test_runs_that_continue_each_other_stay_in_order(tmp_path: Path) -> None:
    with closing(SortedRuns(tmp_path)) as runs:
        for begin in (1, 4, 4, 2, 7):  # the second and the fifth continue the one before
            runs.keep(runs.write([[begin], [begin + 2]]))
        runs.write([[0]])  # not kept
        runs.keep(runs.write([[9]]))
        expected = [[number] for number in (1, 2, 3, 4, 4, 4, 6, 6, 7, 9, 9)]
        assert list(runs.merged()) == expected


def test_rows_count_only_when_they_are_kept(tmp_path: Path) -> None:
    with closing(SortedRuns(tmp_path)) as runs:
        runs.write([[1]])
        runs.keep(runs.write([[2]]))
        assert list(runs.merged()) == [[2]]
        runs.clear()
        assert list(runs.merged()) == []


def test_memory_does_not_grow_with_runs(tmp_path: Path) -> None:
    with closing(SortedRuns(tmp_path)) as runs:
        for run in range(MANY):
            runs.keep(runs.write([[run, "x" * 60_000]]))
        tracemalloc.start()
        try:
            assert sum(1 for _ in runs.merged()) == MANY
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < MANY * 60_000 / 2


def test_full_disk_is_named_and_repeatable(tmp_path: Path) -> None:
    rows = [[number, f"{number:032x}" * 9] for number in range(5_000)]
    with (
        file_size_limit(4_096),
        pytest.raises(StandfastError, match=str(tmp_path)),
        closing(SortedRuns(tmp_path)) as runs,
    ):
        runs.write(rows)
    with closing(SortedRuns(tmp_path)) as runs:
        runs.keep(runs.write(rows))
        assert sum(1 for _ in runs.merged()) == len(rows)
