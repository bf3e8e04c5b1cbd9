"""The file that `standfast init` writes."""

import re
import tomllib
from pathlib import Path

import pytest

from standfast.config.default_file import render_default
from standfast.config.loader import parse
from standfast.config.schema import Config
from standfast.config.sections.backup import FilesSourceConfig
from standfast.config.table_list import ITEM, NAME, tables
from standfast.errors import FileInvalid
from standfast.records import JsonObject
from tests.config.example import COMPLETE

KNOWN: JsonObject = {
    "organisation": {"name": 'The "Example" Ltd \\ Söhne', "contact_line": "+44 20 7946 0000"},
    "backup": {
        "sets": {
            "crm": {"sources": [{"kind": "sqlite", "name": "crm", "path": "/srv/crm.db"}]},
            "calls": {"sources": [{"kind": "files", "name": "calls", "path": "/srv/calls"}]},
        }
    },
}


def loaded(text: str) -> Config:
    return parse(text.encode(), Path("/etc/standfast/standfast.toml"))


def test_what_was_given_is_what_loads() -> None:
    config = loaded(render_default(KNOWN))
    assert config.organisation.name == 'The "Example" Ltd \\ Söhne'
    assert sorted(config.backup.sets) == ["calls", "crm"]
    (calls,) = config.backup.sets["calls"].sources
    assert isinstance(calls, FilesSourceConfig)
    assert calls.path == Path("/srv/calls")


def test_nothing_is_set_but_what_was_given() -> None:
    text = render_default(KNOWN)
    smallest = loaded('organisation = { name = "x", contact_line = "y" }')
    config = loaded(text)
    for section in sorted(set(Config.model_fields) - {"organisation", "backup"}):
        assert getattr(config, section) == getattr(smallest, section), section


def test_a_whole_configuration_survives_being_written() -> None:
    values = tomllib.loads(COMPLETE)
    text = render_default(values)
    assert loaded(text).model_dump() == loaded(COMPLETE).model_dump()


def test_every_inactive_setting_loads_when_activated() -> None:
    text = re.sub(r"^#(?! )", "", render_default(KNOWN), flags=re.MULTILINE)
    # What stays is names of things that the examples do not define, and a choice between two
    # places that are both shown: no key and no value is wrong.
    with pytest.raises(FileInvalid) as caught:
        loaded(text)
    assert caught.value.problems
    for problem in caught.value.problems:
        assert re.search("names no|one destination|(set|write) either", problem.message), str(
            problem
        )


def test_every_section_and_kind_is_shown() -> None:
    text = render_default(KNOWN)
    for table in tables():
        if table.path and ITEM not in table.path and NAME not in table.path[:-1]:
            header = ".".join(table.path[:-1] if table.path[-1] == NAME else table.path)
            assert f"[{header}" in text
            assert not table.kind or f'kind = "{table.kind}"' in text


def test_activating_table_is_shown_but_not_set() -> None:
    text = render_default(KNOWN)
    assert "\n#[backup.s3]\n" in text
    assert "\n[backup.s3]" not in text
    assert loaded(text).backup.s3 is None
    before, block, after = text.partition("#[backup.s3]\n")
    switched_on = re.sub(r"^#(?! )", "", (block + after).partition("\n\n")[0], flags=re.MULTILINE)
    assert loaded(before + switched_on).backup.s3 is not None


def test_no_line_is_too_long_to_read() -> None:
    assert max(len(line) for line in render_default(KNOWN).splitlines()) <= 100


def test_inner_table_of_two_kinds_is_written_once() -> None:
    """Both SCIM and Glewlwyd have a table `probe`."""
    probe: JsonObject = {
        "url": "https://login.example.com/userinfo",
        "control_token": "env:CONTROL",
    }
    directory: JsonObject = {
        "kind": "scim",
        "url": "https://directory.example.com/v2",
        "token": "env:TOKEN",
        "probe": probe,
    }
    config = loaded(render_default({**KNOWN, "accounts": {"staff": directory}}))
    assert getattr(config.accounts["staff"], "probe", None) is not None
