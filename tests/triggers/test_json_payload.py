"""JSON from anybody: one meaning, bounded, and never repeated in an error."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.triggers.json_payload import DEEPEST, LARGEST_BYTES, read_object

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), NESTED, max_size=5))
def test_what_json_wrote_is_read_the_same(value: dict[str, object]) -> None:
    try:
        body = json.dumps(value).encode()
        assert read_object(body) == json.loads(body)
    except ValueError as error:
        assert "nests deeper" in str(error)  # noqa: PT017 - either is right, by the value's depth


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(read_object(body), dict)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"secret": 1, "secret": 2}', "repeats a key"),
        (b'{"a": {"secret": 1, "secret": 1}}', "repeats a key"),
        (b'{"secret": NaN}', "does not have"),
        (b'{"secret": -Infinity}', "does not have"),
        (b'{"secret": "\xff"}', "not UTF-8"),
        (b'["secret"]', "not a JSON object"),
        (b'{"secret": ', "not JSON"),
        (b"", "not JSON"),
        (b'{"secret": %s}' % (b"9" * 5000), "too long"),
        (b'{"secret": 1e%s}' % (b"9" * 50), "too long"),
        (b"[" * 100_000, "deeper"),
        (b'{"secret":' * 40_000, "deeper"),
        (b'{"a": "%s"}' % (b"secret" * LARGEST_BYTES), "too large"),
    ],
)
def test_ambiguous_json_is_refused_and_not_repeated(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_object(body)
    assert "secret" not in str(refused.value)


def test_brackets_within_a_text_nest_nothing() -> None:
    text = '[{"\\' * 1000
    assert read_object(json.dumps({"a": text}).encode()) == {"a": text}
    deep: object = "x"
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert read_object(json.dumps({"a": deep}).encode()) == {"a": deep}
    with pytest.raises(ValueError, match="deeper"):
        read_object(json.dumps({"a": [deep]}).encode())


def test_endless_text_costs_only_its_length() -> None:
    body = b'{"a": "' + b'\\"' * 200_000
    with pytest.raises(ValueError, match="not JSON"):
        read_object(body)  # with the square of it, this would take minutes


def test_own_programs_may_repeat_a_key() -> None:
    assert read_object(b'{"a": 1, "a": 2}', is_strict=False) == {"a": 2}
    with pytest.raises(ValueError, match="deeper"):
        read_object(b'{"a":' * 40_000, is_strict=False)


def test_half_surrogate_is_refused_or_replaced() -> None:
    body = rb'{"a": ["\ud83d\ude00", {"b\udc00": "x\ud800y"}]}'
    with pytest.raises(ValueError, match="without a UTF-8"):
        read_object(body)
    assert read_object(body, is_strict=False) == {"a": ["\U0001f600", {"b?": "x?y"}]}
    assert read_object(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}
