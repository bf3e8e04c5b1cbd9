"""Mapping of message values to inputs: text at a position, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.triggers.input_mapping import Missing, parse

ALERT = {
    "data": {"user": "alice", "n": 7, "is_new": True, "empty": " ", "null": None, "a/b~c": "odd"},
    "alerts": [
        {"labels": {"account": "alice"}},
        {"labels": {}},
        {"labels": {"account": "bob,carol"}},
    ],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("agents:alice,agents:bob", "agents:alice,agents:bob"),
        ("agents:{/data/user}", ["agents:alice"]),
        ("{/data/user}", ["alice"]),
        ("{/data/user} did it {/data/n} times: {/data/is_new}", ["alice did it 7 times: yes"]),
        ("{/data/a~1b~0c}", ["odd"]),
        ("{/alerts/0/labels/account}", ["alice"]),
        ("agents:{/alerts/*/labels/account}!", ["agents:alice!", "agents:bob,carol!"]),
        ("", ""),
    ],
)
def test_places_are_filled(text: str, value: str | list[str]) -> None:
    assert parse(text).read(ALERT) == value


@pytest.mark.parametrize(
    "text",
    [
        "{/data/nobody}",
        "{/data/null}",
        "{/data/empty}",
        "{/data/user/more}",
        "{/alerts/3/labels/account}",
        "{/alerts/00/labels/account}",
        "{/alerts/-1/labels/account}",
        "{/alerts/*/labels/nothing}",
        "{/nothing/*/x}",
    ],
)
def test_missing_place_is_named(text: str) -> None:
    with pytest.raises(Missing, match=r"no value at /"):
        parse(text).read(ALERT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{/data}", "no text at /data"),
        ("{/alerts}", "no text at /alerts"),
        ("{/data/*/x}", "no list at /data"),
    ],
)
def test_non_text_is_refused_without_its_value(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        parse(text).read(ALERT)
    assert "alice" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{data}", "braces must contain"),
        ("{/data", "braces must contain"),
        ("{{/data}}", "braces must contain"),
        ("{/a~2}", "write ~ as ~0"),
        ("{/a/*/b/*/c}", "one \\* only"),
        ("{/a/*/b} {/c}", "must be the only one"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


def test_a_text_longer_than_any_name_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse("{/a}").read({"a": "x" * 2001})
    with pytest.raises(ValueError, match="more than"):
        parse("{/a/*/b}").read({"a": [{"b": "x"}] * 10_001})


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="{}")))
def test_value_is_never_parsed_again(value: str, before: str) -> None:
    """Commas and braces in a message have no meaning."""
    if not value.strip():
        return
    assert parse(before + "{/v}").read({"v": value}) == [before + value]
