"""Selection of the part of each complete test set that one run covers.

A complete set repeats one behaviour at many points: a death at every disk operation, every bit of a
record, every length. A run covers one of `n` equal parts of each set, and which part follows from
the seed that pytest-randomly prints:

    pytest --sample=256                           # the default: one of 256 parts of each set
    pytest --sample=256 --randomly-seed=SEED      # the same part again
    pytest --sample=1                             # every set complete

Rules
- `n` runs with consecutive seeds cover every set completely.
- Each set contributes at least one point to every run, so no test passes without a check.
- A test marked `sampled` is a set of parameters. A test marked `long` is one member of the set of
  all long tests; it is left out of the runs whose part it does not belong to.
- A loop over points takes its part from `sample()`.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

import pytest

T = TypeVar("T")

# The environment carries the choice to xdist's workers and to the processes that tests start.
_VARIABLE = "STANDFAST_TEST_PART"


def sample(points: Sequence[T], name: str) -> list[T]:
    """Return this run's part of a complete set, in the set's order.

    `name` distinguishes the sets, so that sets of equal length are not sampled at equal positions.
    """
    part, parts = _chosen_part()
    first = (part + crc32(name.encode())) % parts
    return list(points[first::parts]) or list(points[first % len(points) :][:1] if points else ())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample",
        type=int,
        default=256,
        metavar="N",
        help="run one of N parts of each complete test set, chosen by the seed; 1 runs all of it",
    )


@pytest.hookimpl(trylast=True)  # pytest-randomly has chosen its seed by then
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # workers inherit the controller's choice
        parts = config.getoption("sample")
        os.environ[_VARIABLE] = f"{_seed(config) % parts}/{parts}"


def pytest_report_header(config: pytest.Config) -> str:
    part, parts = _chosen_part()
    if parts == 1:
        return "complete sets: all of each"
    return (
        f"complete sets: part {part + 1} of {parts} "
        f"(repeat: --sample={parts} --randomly-seed={_seed(config)}; all: --sample=1)"
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(pytest_report_header(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    sets: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("long"):
            sets["long"].append(item)
        elif item.get_closest_marker("sampled"):
            sets[item.nodeid.partition("[")[0]].append(item)
    kept: set[str] = set()
    for name, members in sets.items():
        kept.update(sample(sorted(item.nodeid for item in members), name))
    left_out = {item.nodeid for members in sets.values() for item in members} - kept
    if removed := [item for item in items if item.nodeid in left_out]:
        items[:] = [item for item in items if item.nodeid not in left_out]
        config.hook.pytest_deselected(items=removed)


def _seed(config: pytest.Config) -> int:
    seed: int = getattr(config.option, "randomly_seed", 0)
    return seed


def _chosen_part() -> tuple[int, int]:
    part, _, parts = os.environ[_VARIABLE].partition("/")
    return int(part), int(parts)
