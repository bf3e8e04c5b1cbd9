"""docs/senders.md describes each kind of sender, with settings that load."""

import re
import tomllib
from pathlib import Path

import pytest

from standfast.config.sections.senders import SenderConfig
from standfast.config.validation import kinds_of, sections_in, validate

TEXT = (Path(__file__).parents[3] / "docs" / "senders.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)}
SETTINGS = {word: section for section in sections_in(SenderConfig) for word in kinds_of(section)}


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_page_has_an_example_that_loads(kind: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", SECTIONS[kind], re.MULTILINE | re.DOTALL)
    (sender,) = tomllib.loads(block)["senders"].values()
    assert sender["kind"] == kind
    assert isinstance(validate(SETTINGS[kind], sender, tmp_path), SETTINGS[kind])


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_page_states_needs_and_delivery_reports(kind: str) -> None:
    assert re.search(r"\bneeds\b", SECTIONS[kind], re.IGNORECASE)
    assert f"| `{kind}` |" in SECTIONS["Set up and try a sender"]
