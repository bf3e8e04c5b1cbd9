"""Sensitive numbers in logs: true and false matches, and log limits."""

import os
from pathlib import Path

import pytest

from standfast.evidence import sensitive_numbers
from standfast.evidence.sensitive_numbers import (
    cards_in,
    find_sensitive_numbers,
    social_security_in,
)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "pan=4111 1111 1111 1111;",
        "card 5555-5555-5555-4444.",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "4222222222222",
        "2026-11-27 02:13:44 4111111111111111 200 512",
        "12:00:01 4111 1111 1111 1111 1",
        "41 11 11 11 11 11 11 11",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "3782 822463 10005",
        "4111 - 1111 - 1111 - 1111",
        "4111  1111  1111  1111",
        "4111.1111.1111.1111.",
        "GET /pay?q=card%204111%201111%201111%201111&x=1",
        r'{"said": "card\n4111111111111111"}',
        "4111\u00a01111\u00a01111\u00a01111",
    ],
)
def test_a_card_in_clear_is_counted(text: str) -> None:
    assert len(cards_in(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # its last digit is wrong
        "**** **** **** 1111",
        "411111******1111",
        "9111111111111111",  # nobody issues it
        "41111111111111111",  # of a length that the issuer does not use
        "x4111111111111111",
        "a1b2-4111111111111111-9f",
        "0.4111111111111111",
        "2026-11-27 02:13:44",
        "10.0.0.4 45.33.32.156 5060 4111 11 1111 1111 11",
        "4111 11 1111 1111 11",
    ],
)
def test_masked_or_long_number_is_no_card(text: str) -> None:
    assert cards_in(text) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("ssn 123-45-6789,", 1),
        ("078-05-1120 and 219-09-9999", 2),
        ("000-12-3456 666-12-3456 901-12-3456 123-00-3456 123-45-0000", 0),
        ("call 555-123-4567, order 1123-45-67891", 0),
        ("***-**-6789", 0),
    ],
)
def test_only_assignable_social_security_numbers_count(text: str, count: int) -> None:
    assert len(social_security_in(text)) == count


def test_numbers_are_counted_by_file(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "app.log").write_text("pan 4111111111111111\nssn 123-45-6789\n")
    (tmp_path / "old" / "app.log").write_text("5555555555554444\n" * 3)
    (tmp_path / "clean.log").write_text("signed in\n")
    (tmp_path / "cards.gz").write_text("4111111111111111\n")
    (tmp_path / "link").symlink_to(tmp_path / "app.log")
    os.mkfifo(tmp_path / "pipe")
    found = find_sensitive_numbers([tmp_path], ["*.gz"])
    assert (found.files, found.unread, found.in_files) == (3, 0, 2)
    assert (found.cards, found.social_security) == (4, 1)
    assert find_sensitive_numbers([tmp_path], ["*.gz", "old"]).cards == 1
    assert find_sensitive_numbers([tmp_path / "app.log"]).cards == 1
    assert find_sensitive_numbers([tmp_path / "gone"]).files == 0


def test_only_the_end_of_newest_files_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitive_numbers, "END_BYTES", 100)
    monkeypatch.setattr(sensitive_numbers, "MOST_FILES", 2)
    for day, name in enumerate(("first", "second", "third"), start=1):
        (tmp_path / name).write_text("4111111111111111\n" * 10)
        os.utime(tmp_path / name, (day * 86_400, day * 86_400))
    (tmp_path / "third").write_text("4111111111111111\n" + "-" * 100)
    found = find_sensitive_numbers([tmp_path])
    assert (found.files, found.in_files, found.cards) == (2, 1, 5)
