"""Threat model of docs/security.md: every named test exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(*headings: str) -> list[list[str]]:
    """Return the cells of the rows of each table with these first headings."""
    begin = "| " + " | ".join(headings) + " |"
    tables = [part.partition("\n\n")[0] for part in PAGE.split(begin)[1:]]
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [line.strip("| ").split(" | ") for line in lines]


@cache
def defined_tests(file: str) -> set[str]:
    """Return the names of the functions and methods in a test file."""
    nodes = ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("cells", rows("attacker", "tests"), ids=lambda cells: cells[0])
def test_attacker_has_tests_that_exist(cells: list[str]) -> None:
    _attacker, tests = cells
    named = _TEST.findall(tests)
    assert named
    assert [name for file, name in named if name not in defined_tests(file)] == []


def test_each_attacker_has_claims_and_tests() -> None:
    claims = rows("attacker", "can")
    assert [cells for cells in claims if len(cells) != 4 or not all(cells)] == []
    tested = [cells[0] for cells in rows("attacker", "tests")]
    assert [cells[0] for cells in claims] == tested


def test_each_expected_attacker_has_a_row() -> None:
    attackers = " ".join(cells[0] for cells in rows("attacker", "can"))
    expected = (
        "malware on the backup host", "thief of the host", "insider operator", "insider approver",
        "thief of a mailbox", "directory administrator", "vault administrator", "network attacker",
        "trigger sender", "supply chain",
    )  # fmt: skip
    assert [name for name in expected if name not in attackers] == []
