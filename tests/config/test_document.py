"""`docs/configuration.md` says what the schema says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from standfast.config.document import heading, page, type_in_words
from standfast.config.schema import Config
from standfast.config.structure import Table, table_at, tables

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS = [table for table in tables() if table.path]


def test_the_page_is_what_the_schema_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "the page is stale: run `make docs`"


@pytest.mark.parametrize("table", SECTIONS, ids=heading)
def test_every_key_is_documented_with_an_example(table: Table) -> None:
    section = page().split(f" {heading(table)}\n", 1)[1].split("\n#", 1)[0]
    for key, field in table.keys.items():
        assert field.description, f"{key} has no description"
        assert field.examples, f"{key} has no example"
        assert type_in_words(field.annotation), f"{key} has no type that a person can read"
        assert f"**`{key}`**" in section


def refusals(table: Table, key: str, example: object) -> list[str]:
    """Say what a key's own type refuses about a value; other keys may be missing."""
    try:
        table.model.model_validate({key: example})
    except ValidationError as error:
        return [detail["msg"] for detail in error.errors() if key in detail["loc"]]
    return []


@pytest.mark.parametrize("table", SECTIONS, ids=heading)
def test_every_example_is_accepted(table: Table) -> None:
    for key, field in table.keys.items():
        for example in field.examples or []:
            assert refusals(table, key, example) == []


def test_the_walk_reaches_every_section_of_the_file() -> None:
    assert {table.path[0] for table in SECTIONS} == set(Config.model_fields)


def test_a_table_is_found_by_its_path_and_kind() -> None:
    source = table_at(("backup", "sets", "crm", "sources", 1), "files")
    assert source is not None
    assert "exclude" in source.keys
    assert table_at(("backup", "sets", "crm", "sources", 1), "pigeon") is None
    assert table_at(("nowhere",), "") is None
