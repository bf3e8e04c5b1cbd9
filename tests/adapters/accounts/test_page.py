"""docs/accounts.md has a heading for each kind of directory, and says what its connector says."""

import importlib
import re

import pytest

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.pooled_connector import PooledConnector
from standfast.config.sections.accounts import AccountsConfig
from standfast.config.validation import kinds_of, sections_in
from tests.adapters.accounts.rights import PAGE

TEXT = PAGE.read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)}
KINDS = sorted(word for one in sections_in(AccountsConfig) for word in kinds_of(one))


def connector_of(kind: str) -> type[Connector]:
    module = importlib.import_module(f"standfast.adapters.accounts.{kind}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{module.__name__}.connector")
    (found,) = [
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, Connector)
        and one.__module__ == module.__name__
    ]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_what_it_does_needs_and_cannot(kind: str) -> None:
    section = SECTIONS[kind]
    for word in ("**Lock**", "**Prove**", "**Undo**"):
        assert word in section, f"{kind} does not say {word}"
    assert re.search(r"\bneeds?\b", section, re.IGNORECASE)
    assert re.search(r"\bcannot\b", section, re.IGNORECASE)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_how_it_was_tried(kind: str) -> None:
    assert f"`{kind}`" in SECTIONS["What holds for all"]
    is_said = "**Contract-tested**" in SECTIONS[kind]
    assert is_said is connector_of(kind).is_contract_tested


@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_new_passwords_says_how(kind: str) -> None:
    connector = connector_of(kind)
    rotates = issubclass(connector, PooledConnector) and connector.rotates
    assert ("**Rotate**" in SECTIONS[kind]) is rotates
