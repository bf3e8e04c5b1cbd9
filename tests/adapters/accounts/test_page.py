"""Sections of docs/accounts.md, compared with the connectors."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.pooled_connector import PooledConnector
from standfast.config.sections.accounts import AccountsConfig
from standfast.config.validation import kinds_of, sections_in, validate
from tests.adapters.accounts.rights import PAGE

TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)}
SETTINGS = {word: section for section in sections_in(AccountsConfig) for word in kinds_of(section)}
KINDS = sorted(SETTINGS)


def connector_of(kind: str) -> type[Connector]:
    module = importlib.import_module(f"standfast.adapters.accounts.{kind}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{module.__name__}.connector")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Connector)
        and value.__module__ == module.__name__
    ]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_page_states_acts_needs_and_limits(kind: str) -> None:
    section = SECTIONS[kind]
    for word in ("**Lock**", "**Prove**", "**Undo**", "**Irreversible**"):
        assert word in section, f"{kind} does not say {word}"
    assert re.search(r"\bneeds?\b", section, re.IGNORECASE)
    assert re.search(r"\bcannot\b", section, re.IGNORECASE)


@pytest.mark.parametrize("kind", KINDS)
def test_page_has_an_example_that_loads(kind: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", SECTIONS[kind], re.MULTILINE | re.DOTALL)
    (directory,) = tomllib.loads(block)["accounts"].values()
    assert directory["kind"] == kind
    assert isinstance(validate(SETTINGS[kind], directory, tmp_path), SETTINGS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_page_states_how_the_connector_was_tested(kind: str) -> None:
    assert f"`{kind}`" in SECTIONS["All directories"]
    is_said = "**Contract-tested**" in SECTIONS[kind]
    assert is_said is connector_of(kind).is_contract_tested


@pytest.mark.parametrize("kind", KINDS)
def test_page_describes_password_rotation(kind: str) -> None:
    connector = connector_of(kind)
    rotates = issubclass(connector, PooledConnector) and connector.rotates
    assert ("**Rotate**" in SECTIONS[kind]) is rotates
