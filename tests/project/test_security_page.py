"""Threat model of docs/security.md: every named test exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    """Return the cells of each attacker's row."""
    table = PAGE.partition("| attacker |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


@cache
def defined_tests(file: str) -> set[str]:
    """Return the names of the functions and methods in a test file."""
    nodes = ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0])
def test_attacker_has_tests_that_exist(cells: list[str]) -> None:
    _attacker, *claims, tests = cells
    assert len(claims) == 3
    assert all(claims)
    named = _TEST.findall(tests)
    assert named
    assert [name for file, name in named if name not in defined_tests(file)] == []


def test_each_expected_attacker_has_a_row() -> None:
    attackers = " ".join(cells[0] for cells in rows())
    expected = (
        "malware on the backup host", "thief of the host", "insider operator", "insider approver",
        "thief of a mailbox", "directory administrator", "vault administrator", "network attacker",
        "trigger sender", "supply chain",
    )  # fmt: skip
    assert [name for name in expected if name not in attackers] == []
