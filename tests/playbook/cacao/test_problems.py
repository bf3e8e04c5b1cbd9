"""Problems of CACAO files, with their lines and advice."""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.errors import PlaybookInvalid, Problem
from standfast.playbook.cacao.document import read_document
from standfast.playbook.cacao.line_numbers import JsonPath, lines_of, places
from tests.playbook.cacao.build import END, action, document, manual, named

A, B = named("action", 1), named("action", 2)


def problems(raw: str) -> list[Problem]:
    with pytest.raises(PlaybookInvalid) as raised:
        read_document(raw, "theirs.json")
    return list(raised.value.problems)


def the_line(raw: str, number: int) -> str:
    return raw.splitlines()[number - 1].strip()


@pytest.mark.parametrize(
    ("change", "line", "hint"),
    [
        ({"spec_version": "1.0"}, '"spec_version": "1.0",', "cacao-2.0"),
        ({"created": "yesterday"}, '"created": "yesterday",', "UTC"),
        ({"id": "playbook-1"}, '"id": "playbook-1",', "UUID"),
        ({"priority": 101}, '"priority": 101', "100 or less"),
        ({"severity": "high"}, '"severity": "high"', "a whole number"),
        ({"labels": "theft"}, '"labels": "theft"', "a list"),
        ({"name": ""}, '"name": "",', "write a value"),
        (
            {"playbook_variables": {"address": {"type": "ipv4-addr"}}},
            '"playbook_variables": {',
            "__address__",
        ),
    ],
)
def test_schema_violation_has_line_and_hint(change: dict[str, Any], line: str, hint: str) -> None:
    raw = json.dumps({**document({A: manual(END, "A")}, A), **change}, indent=2)
    (told,) = problems(raw)
    assert the_line(raw, told.line) == line
    assert hint in told.hint


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        ({"type": "acton"}, "did you mean `action`?"),
        (action(END, {"type": "bash"}), "add command or command_b64"),
        ({"type": "action", "commands": [], "agent": "x"}, "at least 1"),
        ({"type": "parallel"}, "add it"),
        ({**manual(END), "on_success": END}, "keep it, or the other two"),
    ],
)
def test_problem_in_a_step_has_its_line(step: dict[str, Any], hint: str) -> None:
    raw = json.dumps(document({A: step}, A), indent=2)
    rows = raw.splitlines()
    first = next(at for at, row in enumerate(rows, 1) if row.startswith(f'    "{A}"'))
    last = next(at for at, row in enumerate(rows, 1) if row.startswith(f'    "{END}"'))
    told = problems(raw)
    assert all(first <= one.line < last for one in told)
    assert any(hint in one.hint for one in told)


def test_inconsistency_has_its_line() -> None:
    raw = json.dumps(document({A: manual(B, "Lock __who__:value.")}, A), indent=2)
    told = [(the_line(raw, one.line), one.message) for one in problems(raw)]
    assert (f'"on_completion": "{B}"', f"$.workflow['{A}'].on_completion: leads to no step") in [
        (line.rstrip(","), message) for line, message in told
    ]
    assert any(line == '"commands": [' and "__who__" in message for line, message in told)


def test_repeated_name_has_the_second_line() -> None:
    (told,) = problems('{\n"type": "playbook",\n"name": {"a": [1,\n2], "b": {}},\n"type": 1}')
    assert (told.line, told.hint) == (5, "keep one of the two")


def test_deep_nesting_is_not_searched_for_names() -> None:
    deep = '{"a":' + "[" * 900 + ",".join("0" * 20_000) + "]" * 900 + ',"a":1}'
    tracemalloc.start()
    try:
        (told,) = problems(deep)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert told.line == 0


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner) | st.dictionaries(st.text(), inner)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), _around)


@given(value=JSON, indent=st.none() | st.integers(0, 3), is_ascii=st.booleans())
def test_each_value_of_any_document_has_its_place(
    value: Any, indent: int | None, is_ascii: bool
) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    assert [path for path, _ in places(raw)] == list(_paths(value, ()))
    assert [line for _, line in places(raw)] == sorted(line for _, line in places(raw))


def test_wrong_path_has_the_nearest_line() -> None:
    raw = '{\n"a": {\n"b\'s": [1,\n2]}}'
    paths = ["$", "$.a", "$.a['b\\'s']", "$.a['b\\'s'][1]", "$.a['b\\'s'][7].c", "$.z"]
    assert lines_of(raw, paths) == [1, 2, 3, 4, 3, 1]


def _paths(value: Any, at: JsonPath) -> Iterator[JsonPath]:
    yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*at, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _paths(inner, (*at, number))
