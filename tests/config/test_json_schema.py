"""`docs/standfast.schema.json`: what editors check the file with."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from standfast.config.default_file import render_default
from standfast.config.json_schema import json_schema
from tests.config.example import COMPLETE, changed

FILE = Path(__file__).parents[2] / "docs" / "standfast.schema.json"
VALIDATOR = Draft202012Validator(json.loads(json_schema()))


def test_the_file_is_what_the_models_write() -> None:
    assert FILE.read_text(encoding="utf-8") == json_schema(), "the file is stale: run `make docs`"


@pytest.mark.parametrize("text", [COMPLETE, render_default(tomllib.loads(COMPLETE))])
def test_a_configuration_that_loads_fits(text: str) -> None:
    assert list(VALIDATOR.iter_errors(tomllib.loads(text))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schedule =", "shedule ="),
        ('kind = "scim"', 'kind = "scmi"'),
        ("port = 2525", 'port = "2525"'),
        ("port = 2525", "port = 70000"),
        ('security = "none"', 'security = "nome"'),
        ('paths = ["logs"]', "paths = []"),
        ('owner = "Head of operations"\nrto_minutes = 60\n', "rto_minutes = 60\n"),
    ],
)
def test_a_mistake_does_not_fit(old: str, new: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads(changed(old, new)))
