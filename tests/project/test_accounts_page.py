"""docs/accounts.md holds: each kind is there, by the name of its module, and its settings load."""

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from standfast.config.sections.accounts import AccountsConfig
from standfast.config.validation import kinds_of, sections_in, validate

PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text(encoding="utf-8")


def kinds() -> list[str]:
    return [word for one in sections_in(AccountsConfig) for word in kinds_of(one)]


@pytest.mark.parametrize("kind", kinds())
def test_a_kind_is_a_module_and_a_heading(kind: str) -> None:
    assert find_spec(f"standfast.adapters.accounts.{kind}") is not None
    assert PAGE.count(f"\n## {kind}\n") == 1


@pytest.mark.parametrize("block", re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S))
def test_the_settings_of_the_page_load(block: str, tmp_path: Path) -> None:
    classes = {word: one for one in sections_in(AccountsConfig) for word in kinds_of(one)}
    for one in tomllib.loads(block)["accounts"].values():
        assert isinstance(validate(classes[one["kind"]], one, tmp_path), classes[one["kind"]])
