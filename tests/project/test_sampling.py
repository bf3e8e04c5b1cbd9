"""Samples of complete sets are disjoint, cover the set, never empty."""

from pathlib import Path

import pytest

from tests import sampling

REPOSITORY = Path(__file__).parents[2]

pytest_plugins = ["pytester"]


@pytest.mark.parametrize("size", [1, 3, 8, 30])
def test_consecutive_parts_cover_the_set(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = list(range(size))
    parts = []
    for part in range(8):
        monkeypatch.setenv("STANDFAST_TEST_PART", f"{part}/8")
        parts.append(sampling.sample(points, "a set"))
    assert all(parts), "no part is empty"
    assert {point for part in parts for point in part} == set(points)
    if size >= 8:
        assert sum(map(len, parts)) == size, "no point runs twice"


def test_one_part_is_the_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDFAST_TEST_PART", "0/1")
    assert sampling.sample("abc", "a set") == ["a", "b", "c"]


def test_an_empty_set_has_an_empty_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDFAST_TEST_PART", "3/8")
    assert sampling.sample([], "a set") == []


SUITE = """
import pytest

def test_plain(): pass

@pytest.mark.sampled
@pytest.mark.parametrize("number", range(16))
def test_set(number): pass

@pytest.mark.long
@pytest.mark.parametrize("number", range(24))
def test_long(number): pass
"""


@pytest.mark.parametrize(
    ("arguments", "count"), [(["--sample=8"], 1 + 2 + 3), (["--sample=1"], 41)]
)
def test_markers_select_a_part(
    pytester: pytest.Pytester, arguments: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    needed = [word for name in ("xdist", "pytest_randomly") for word in ("-p", name)]
    pytester.makeconftest(
        "from tests.sampling import (pytest_addoption, pytest_collection_modifyitems, "
        "pytest_configure, pytest_report_header)"
    )
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *needed, "-n2", *arguments)
    assert result.parseoutcomes()["passed"] == count
