import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from standfast.playbook.expressions import LONGEST_TEXT, embedded, parse
from standfast.records import Json

NAMES: dict[str, Json] = {
    "inputs": {
        "kind": "agent",
        "count": 3,
        "loud": True,
        "accounts": ["ana", "bo"],
        "numbers": [1, 2],
        "none": None,
    },
    "answers": {"ask": "no"},
    "steps": {"lock": {"state": "partial", "done": 487, "failed": 13}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.accounts", ["ana", "bo"]),
        ('inputs["kind"]', "agent"),
        ('steps.lock["failed"] > 0', True),
        ("400 < steps.lock.done <= 487", True),
        ("400 < steps.lock.done < 487", False),
        ('answers.ask == "yes"', False),
        ('answers.ask != "yes" and inputs.loud', True),
        ('not inputs.loud or "ana" in inputs.accounts', True),
        ('"x" not in inputs.accounts', True),
        ('"gen" in inputs.kind', True),
        ("inputs.none == None", True),
        ("inputs.loud == 1", False),
        ("inputs.loud in inputs.numbers", False),
        ("'a' < 'b'", True),
        ("True", True),
        ("9007199254740991", 2**53 - 1),
        ("  inputs.count >= 3\n", True),
        # The operand that `or` skips is not evaluated, as a person would expect.
        ("inputs.loud or inputs.nothing", True),
    ],
)
def test_an_expression_comes_to_its_value(text: str, value: Json) -> None:
    assert parse(text).evaluate(NAMES) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "inputs.count + 1",
        "-1",
        "1.5",
        "b'x'",
        "...",
        "f'{inputs.kind}'",
        "[x for x in inputs.accounts]",
        "{'a': 1}",
        "['a']",
        "('a', 'b')",
        "lambda: 1",
        "inputs.loud if True else False",
        "(x := 1)",
        "inputs.accounts[0]",
        "inputs.accounts[:1]",
        "inputs[inputs.kind]",
        "'x'.upper",
        "(inputs or answers).kind",
        "inputs.kind is None",
        "'text' and True",
        "not 'text'",
        "true",
        "null",
        "a; b",
        "a b",
        "",
        "'\\n'",
        "9007199254740992 == 1",
        "inputs.a" + " == 1" * 50,
        "(" * 300,
        "not " * 124 + "True",
        "x" * (LONGEST_TEXT + 1),
        "*inputs",
        "await x",
        "\x00",
    ],
)
def test_what_is_not_on_the_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(ValueError, match="write `True` instead of `true`"):
        parse("inputs.loud == true")
    with pytest.raises(ValueError, match="write `==` instead of `is`"):
        parse("inputs.kind is None")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("inputs.nothing", "inputs.nothing"),
        ("answers.other == 'x'", "answers.other"),
        ("unknown", "unknown"),
        ("inputs.kind.upper", "inputs.kind.upper"),
        ("inputs.__class__", "inputs.__class__"),
        ("inputs.kind.__class__.__mro__", "inputs.kind.__class__"),
    ],
)
def test_missing_name_is_an_error_not_false(text: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"`{missing}` is not known here"):
        parse(text).evaluate(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "not answers.ask",
        "answers.ask and inputs.loud",
        "inputs.count or inputs.loud",
        "inputs.kind < 3",
        "inputs.loud < 3",
        "inputs.none < 3",
        "3 in inputs.kind",
        "'x' in inputs.count",
        "'x' in inputs.none",
    ],
)
def test_python_does_not_decide_what_counts_as_true(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text).evaluate(NAMES)


def test_an_expression_names_what_it_depends_on() -> None:
    found = parse('answers.ask == "yes" and not steps.lock["failed"] > 0 or inputs.loud')
    assert found.names() == {("answers", "ask"), ("steps", "lock", "failed"), ("inputs", "loud")}
    assert found.boolean_names() == [("inputs", "loud")]
    assert [(c.path, c.value) for c in found.comparisons()] == [(("answers", "ask"), "yes")]
    assert parse("inputs.loud").path() == ("inputs", "loud")
    assert found.path() is None


def test_only_a_whole_value_is_an_expression() -> None:
    found = embedded(" {{ inputs.kind }} ")
    assert found is not None
    assert found.evaluate(NAMES) == "agent"
    for literal in ("inputs.kind", "{ x }", "}}", 7, None, ["{{ inputs.kind }}"]):
        assert embedded(literal) is None
    for mixed in ("Hello {{ inputs.kind }}", "{{ a }} {{ b }}", "{{ a", "{{ }}"):
        with pytest.raises(ValueError):
            embedded(mixed)


_GRAMMAR = """inputs answers steps . kind count loud [ ] ( ) "x" 'y' 1 == != < in not and or is True
None lambda : , + - * f"{x}" ** ` @ if else for await yield \\ # 0x 1e9 :="""
_PIECES = st.sampled_from(_GRAMMAR.split())


@given(st.lists(_PIECES, max_size=60).map(" ".join) | st.text(max_size=600))
@example("1if 2else 3")
@example("0in x")
@example("\f")
@example("(" * 99 + ")" * 99)
@example("-" * 499 + "1")
@example("a" + ".a" * 249)
@example("a" + "['a']" * 99)
def test_any_text_raises_only_value_error(text: str) -> None:
    try:
        value = parse(text).evaluate(NAMES)
    except ValueError:
        return
    assert value is None or isinstance(value, bool | int | str | list | dict)
