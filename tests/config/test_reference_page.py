"""`docs/configuration.md` agrees with the schema."""

import tomllib
from pathlib import Path

import pytest

from standfast.config.base_section import example_of
from standfast.config.reference_page import heading, page, type_in_words
from standfast.config.schema import Config
from standfast.config.table_list import Table, tables
from standfast.config.toml_writer import toml
from standfast.config.validation import validate

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS = [table for table in tables() if table.path]


def test_the_page_is_what_the_schema_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "the page is stale: run `make docs`"


@pytest.mark.parametrize("table", SECTIONS, ids=heading)
def test_every_key_is_documented_with_an_example(table: Table) -> None:
    section = page().split(f" {heading(table)}\n", 1)[1].split("\n#", 1)[0]
    for key, field in table.keys.items():
        assert field.description, f"{key} has no description"
        assert example_of(field) is not None, f"{key} has no example"
        assert type_in_words(field.annotation), f"{key} has no type that a person can read"
        assert f"**`{key}`**" in section


def refusals(table: Table, key: str, example: object) -> list[str]:
    """Return what a key's own type refuses; other keys may be missing."""
    kind = {"kind": table.kind} if table.kind else {}
    found = validate(table.model, kind | {key: example}, Path())
    return [one.message for one in found if key in one.key] if isinstance(found, list) else []


@pytest.mark.parametrize("table", SECTIONS, ids=heading)
def test_every_example_is_accepted(table: Table) -> None:
    for key, field in table.keys.items():
        for example in field.examples or ():
            assert refusals(table, key, example) == []


def test_the_walk_reaches_every_section_of_the_file() -> None:
    assert {table.path[0] for table in SECTIONS} == set(Config.model_fields)


def test_every_default_would_be_accepted() -> None:
    """Defaults are not validated while a file is read."""
    for table in SECTIONS:
        for key, field in table.keys.items():
            if not field.is_required() and field.default not in (None, (), {}):
                written = tomllib.loads(f"{key} = {toml(field.default)}")[key]
                assert refusals(table, key, written) == []
