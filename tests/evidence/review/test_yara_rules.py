"""YARA rules: refused if unusable, with a hash, and applied to records."""

from pathlib import Path

import pytest

from standfast.errors import ConfigurationError
from standfast.evidence.parsers.log_record import Record
from standfast.evidence.review.yara_rules import load_rules
from tests.servers import need

RULE = 'rule %s { strings: $text = "%s" condition: $text }\n'


@pytest.fixture(autouse=True)
def _needs_yara() -> None:
    need("yara_x", "requirements/extras/yara.txt")


def test_rule_matches_records_with_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(RULE % ("export", "/export") + RULE % ("other", "nothing"))
    rules = load_rules(tmp_path, "rules")
    assert rules.matches(Record(0, 1, text="GET /export/all")) == ["export"]
    assert rules.matches(Record(0, 2, text="GET /")) == []


def test_changed_rules_have_another_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.yar"
    digests = set[str]()
    for text in ("one", "two"):
        file.write_text(RULE % ("same", text))
        digests.add(load_rules(file, "rules").digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    "content", ["rule broken { condition: nothing_known }", "", 'include "/etc/passwd"', "\0\xff"]
)
def test_unusable_rules_are_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yar"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError):
        load_rules(file, "rules")


def test_missing_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_rules(tmp_path / "none", "rules")
