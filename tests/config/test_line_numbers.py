"""The locator knows the line of everything that tomllib reads."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.config.line_numbers import key_lines, line_of
from standfast.config.toml_writer import KeyPath, toml, toml_key
from tests.config.example import COMPLETE

EVERY_SYNTAX = '''\
# a comment with [brackets] = "and more"
plain = 1
dotted . "quoted key" . 'literal key' = 2
"escaped \\u00e9 \\" ]" = 3

[table] # after it
text = "a # no comment = [ ] { }"
literal = 'C:\\path\\'
basic_lines = """
one "two" ""three""
[not.a.table]
key = "no key" \\
"""
literal_lines = \'\'\'
'quoted'
[not.a.table]\'\'\'
ends_in_quotes = """a"""""
list = [
  1, # one, [two]
  "two",

  [3, 4,],
  { deep = { deeper = [5,
    6] }, other = 7 },
]
empty_list = []
empty_table = {}
moment = 1979-05-27 07:32:00Z
after = true

  [ table . "sub table" ]
  key = 8

[[things]]
name = "first"

[[things]]
name = "second"
  [[things.parts]]
  size = 9
  [things.parts.detail]
  colour = "red"
  [[things.parts]]
  size = 10
'''


def paths_of(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths_of(inner, (*path, number))


@pytest.mark.parametrize("text", [EVERY_SYNTAX, COMPLETE], ids=["every syntax", "example"])
def test_what_tomllib_reads_is_located_and_nothing_else(text: str) -> None:
    assert set(key_lines(text)) == set(paths_of(tomllib.loads(text)))


@pytest.mark.parametrize(
    ("path", "passage"),
    [
        (("plain",), "plain ="),
        (("dotted", "quoted key", "literal key"), "dotted ."),
        (('escaped é " ]',), '"escaped'),
        (("table",), "[table]"),
        (("table", "literal_lines"), "literal_lines"),
        (("table", "ends_in_quotes"), "ends_in_quotes"),
        (("table", "list", 0), "1, # one"),
        (("table", "list", 2, 1), "[3, 4,]"),
        (("table", "list", 3, "deep", "deeper", 1), "6] }"),
        (("table", "list", 3, "other"), "6] }"),
        (("table", "after"), "after = true"),
        (("table", "sub table", "key"), "key = 8"),
        (("things", 1, "name"), 'name = "second"'),
        (("things", 1, "parts", 0, "detail", "colour"), 'colour = "red"'),
        (("things", 1, "parts", 1, "size"), "size = 10"),
    ],
)
def test_a_key_is_on_its_line(path: KeyPath, passage: str) -> None:
    expected = EVERY_SYNTAX[: EVERY_SYNTAX.index(passage)].count("\n") + 1
    assert line_of(path, key_lines(EVERY_SYNTAX)) == expected


def test_missing_key_has_the_line_of_its_table() -> None:
    lines = key_lines(EVERY_SYNTAX)
    assert line_of(("things", 1, "colour"), lines) == lines["things", 1]
    assert line_of(("nowhere", "at", "all"), lines) == 1


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), st.tuples(st.integers(0, 3), values), max_size=5))
def test_any_keys_and_values_are_located(content: dict[str, tuple[int, Any]]) -> None:
    text, expected = "", {}
    for key, (blank_lines, value) in content.items():
        text += "\n" * blank_lines
        expected[key] = text.count("\n") + 1
        text += f"{toml_key(key)} = {toml(value)} # = ] }}\n"
    parsed = tomllib.loads(text)
    assert parsed == {key: value for key, (_, value) in content.items()}
    lines = key_lines(text)
    assert set(lines) == set(paths_of(parsed))
    assert {key: lines[key,] for key in content} == expected
