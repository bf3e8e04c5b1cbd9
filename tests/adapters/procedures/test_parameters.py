import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.adapters.procedures.parameters import (
    check_templates,
    fill,
    read_parameters,
)
from standfast.config.sections.procedures import ParameterConfig
from standfast.errors import ConfigurationError, UsageError
from standfast.records import Json


def read(kind: str, value: Json, options: tuple[str, ...] = ()) -> str:
    settings = {"type": kind, "options": options if kind == "choice" else ()}
    declared = {"it": ParameterConfig.model_validate(settings)}
    return read_parameters("commands.x", declared, {"parameters": {"it": value}})["it"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("word", "alice@example.com"),
        ("host", "pc-17.example.com"),
        ("host", "10.0.0.7"),
        ("host", "2001:db8::7"),
        ("address", "10.0.0.0/8"),
        ("number", "-4"),
        ("number", 17),
        ("choice", "b"),
        ("text", "One line; with $(anything) & more."),
    ],
)
def test_what_fits_is_given_as_text(kind: str, value: Json) -> None:
    assert read(kind, value, ("a", "b")) == str(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("word", "-n"),
        ("word", "a/b"),
        ("word", "a\n"),
        ("host", "a..b"),
        ("host", "fe80::1%$(id)"),
        ("address", "pc-17"),
        ("number", "1e9"),
        ("number", True),
        ("number", "٣"),
        ("choice", "c"),
        ("text", "two\nlines"),
        ("text", "--option"),
        ("text", ""),
        ("text", ["a"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(kind: str, value: Json) -> None:
    with pytest.raises(UsageError, match="'it'"):
        read(kind, value, ("a", "b"))


def test_surplus_or_missing_parameter_is_named() -> None:
    declared = {"host": ParameterConfig()}
    with pytest.raises(UsageError, match="needs the parameter 'host'"):
        read_parameters("commands.x", declared, {})
    with pytest.raises(UsageError, match="no parameter 'user'; its parameters are: host"):
        read_parameters("commands.x", declared, {"parameters": {"host": "a", "user": "b"}})


def test_braces_are_written_twice_and_templates_are_judged() -> None:
    assert fill("{{{a}}}", {"a": "1"}) == "{1}"
    for template in ("{b}", "{", "a}", "{}"):
        with pytest.raises(ConfigurationError):
            check_templates("commands.x", [template], {"a": ParameterConfig()})


@given(st.text(max_size=50))
def test_fitting_text_is_inserted_unchanged(value: str) -> None:
    try:
        text = read("text", value)
    except UsageError:
        return
    assert fill("<{it}>", {"it": text}) == f"<{value}>"
    assert "\n" not in text
    assert not text.startswith("-")
