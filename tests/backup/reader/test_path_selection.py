"""A sample selects paths by seed and path alone."""

import pytest

from backup.reader.path_selection import PathSample, Selection

PATHS = [b"files/%d" % number for number in range(10_000)]


@pytest.mark.parametrize("percent", [0.5, 10, 90])
def test_sample_selects_its_share(percent: float) -> None:
    sample = Selection(PathSample(percent=percent, seed=3))
    share = sum(map(sample.includes, PATHS)) / len(PATHS) * 100
    assert abs(share - percent) < 1 + percent / 10


def test_larger_sample_of_one_seed_includes_the_smaller() -> None:
    small, large = PathSample(percent=5, seed=3), PathSample(percent=20, seed=3)
    assert {*filter(small.includes, PATHS)} < {*filter(large.includes, PATHS)}


def test_complete_sample_selects_everything() -> None:
    assert all(map(PathSample(percent=100, seed=0).includes, PATHS))
