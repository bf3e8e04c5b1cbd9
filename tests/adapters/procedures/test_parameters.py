import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.adapters.procedures.parameters import (
    Parameter,
    ParameterType,
    check_templates,
    fill,
    read_parameters,
)
from standfast.errors import ConfigurationError, UsageError
from standfast.records import Json


def read(kind: ParameterType, value: Json, options: tuple[str, ...] = ()) -> str:
    declared = {"it": Parameter(type=kind, options=options)}
    return read_parameters("commands.x", declared, {"parameters": {"it": value}})["it"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ParameterType.WORD, "alice@example.com"),
        (ParameterType.HOST, "pc-17.example.com"),
        (ParameterType.HOST, "10.0.0.7"),
        (ParameterType.HOST, "2001:db8::7"),
        (ParameterType.ADDRESS, "10.0.0.0/8"),
        (ParameterType.NUMBER, "-4"),
        (ParameterType.NUMBER, 17),
        (ParameterType.CHOICE, "b"),
        (ParameterType.TEXT, "One line; with $(anything) & more."),
    ],
)
def test_what_fits_is_given_as_text(kind: ParameterType, value: Json) -> None:
    assert read(kind, value, ("a", "b")) == str(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ParameterType.WORD, "-n"),
        (ParameterType.WORD, "a/b"),
        (ParameterType.WORD, "a\n"),
        (ParameterType.HOST, "a..b"),
        (ParameterType.HOST, "fe80::1%$(id)"),
        (ParameterType.ADDRESS, "pc-17"),
        (ParameterType.NUMBER, "1e9"),
        (ParameterType.NUMBER, True),
        (ParameterType.NUMBER, "٣"),
        (ParameterType.CHOICE, "c"),
        (ParameterType.TEXT, "two\nlines"),
        (ParameterType.TEXT, "--option"),
        (ParameterType.TEXT, ""),
        (ParameterType.TEXT, ["a"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(kind: ParameterType, value: Json) -> None:
    with pytest.raises(UsageError, match="'it'"):
        read(kind, value, ("a", "b"))


def test_a_parameter_too_many_or_too_few_is_named() -> None:
    declared = {"host": Parameter()}
    with pytest.raises(UsageError, match="needs the parameter 'host'"):
        read_parameters("commands.x", declared, {})
    with pytest.raises(UsageError, match="no parameter 'user'; its parameters are: host"):
        read_parameters("commands.x", declared, {"parameters": {"host": "a", "user": "b"}})


def test_braces_are_written_twice_and_templates_are_judged() -> None:
    assert fill("{{{a}}}", {"a": "1"}) == "{1}"
    for template in ("{b}", "{", "a}", "{}"):
        with pytest.raises(ConfigurationError):
            check_templates("commands.x", [template], {"a": Parameter()})


@given(st.text(max_size=50))
def test_a_text_that_fits_is_put_in_as_it_is(value: str) -> None:
    try:
        text = read(ParameterType.TEXT, value)
    except UsageError:
        return
    assert fill("<{it}>", {"it": text}) == f"<{value}>"
    assert "\n" not in text
    assert not text.startswith("-")
