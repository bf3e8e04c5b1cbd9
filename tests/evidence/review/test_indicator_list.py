"""Lists of indicators and STIX bundles, and the records that they match."""

import json
from pathlib import Path

import pytest

from standfast.errors import UsageError
from standfast.evidence.parsers.log_record import Record
from standfast.evidence.review.indicator_list import IndicatorList, read_indicator_list

SHA256 = "ab" * 32


def read(folder: Path, content: str) -> IndicatorList:
    path = folder / "indicators"
    path.write_text(content)
    return read_indicator_list(path)


def record(text: str, address: str = "") -> Record:
    return Record(at=0, line=1, text=text, address=address)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("connect to mail.EVIL.example:443", ["evil.example"]),
        ("from 203.0.113.9:50123 port", ["203.0.113.9"]),
        (f"upload sha256={SHA256.upper()}.", [SHA256]),
        ("notevil.example 203.0.113.99", []),
    ],
)
def test_words_of_records_match(tmp_path: Path, text: str, expected: list[str]) -> None:
    indicators = read(tmp_path, f"# seen\nevil.example # C2\n203.0.113.9\n{SHA256}\n")
    assert list(indicators.matches(record(text))) == expected


def test_network_matches_address_of_record(tmp_path: Path) -> None:
    indicators = read(tmp_path, "198.51.100.0/24\n2001:db8::/32\nnot an indicator\n")
    assert list(indicators.matches(record("", "198.51.100.7"))) == ["198.51.100.7"]
    assert list(indicators.matches(record("", "2001:db8::1"))) == ["2001:db8::1"]
    assert indicators.not_applied == ["line 3"]


def test_simple_stix_patterns_are_read(tmp_path: Path) -> None:
    patterns = {
        "a": "[ipv4-addr:value = '203.0.113.9' OR domain-name:value = 'evil.example']",
        "b": f"[file:hashes.'SHA-256' = '{SHA256}']",
        "c": "[ipv4-addr:value = '203.0.113.9'] FOLLOWEDBY [file:size = 5]",
    }
    objects = [
        {"type": "indicator", "id": name, "pattern": pattern} for name, pattern in patterns.items()
    ]
    bundle = {"type": "bundle", "objects": [*objects, {"type": "malware", "id": "m"}]}
    found = read(tmp_path, json.dumps(bundle))
    assert found.words == {"203.0.113.9", "evil.example", SHA256}
    assert found.not_applied == ["c"]


@pytest.mark.parametrize(
    "pattern",
    [
        "[ipv4-addr:value = '198.51.100.7' AND file:size = 5]",
        "[ipv4-addr:value = '198.51.100.7' OR file:size = 5]",
        "[ipv4-addr:value = '198.51.100.7' OR domain-name:value = 'not a domain']",
        "[ipv4-addr:value = '198.51.100.7'] OR [file:size = 5] FOLLOWEDBY [file:size = 6]",
        "[ipv4-addr:value = '198.51.100.7'] WITHIN 300 SECONDS",
        "[ipv4-addr:value != '198.51.100.7']",
        "[ipv4-addr:value IN ('198.51.100.7')]",
        "[domain-name:value MATCHES 'evil.*']",
    ],
)
def test_other_stix_pattern_is_named_and_not_applied(tmp_path: Path, pattern: str) -> None:
    patterns = {"known": "[domain-name:value = 'evil.example']", "other": pattern}
    objects = [{"type": "indicator", "id": name, "pattern": it} for name, it in patterns.items()]
    found = read(tmp_path, json.dumps({"type": "bundle", "objects": objects}))
    assert (found.words, found.networks) == ({"evil.example"}, [])
    assert found.not_applied == ["other"]


@pytest.mark.parametrize("content", ["", "# nothing\n", "{}", '{"objects": [1]}', "{broken"])
def test_list_without_indicator_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError):
        read(tmp_path, content)
