"""The TOML examples of docs/evidence.md are valid settings."""

import re
from pathlib import Path

from standfast.config import load
from standfast.config.sections.evidence_sources import EvidenceConfig
from standfast.config.validation import kinds_of, sections_in

TEXT = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text(encoding="utf-8")


def test_page_has_settings_that_load(tmp_path: Path) -> None:
    block = "\n".join(re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
    file = tmp_path / "standfast.toml"
    file.write_text(f'[organisation]\nname = "Example"\ncontact_line = "0123"\n{block}')
    config = load(file)
    kinds = {kind for section in sections_in(EvidenceConfig) for kind in kinds_of(section)}
    assert {settings.kind for settings in config.evidence.values()} == kinds
    assert config.custody.s3 is not None
    assert config.custody.timestamp is not None
