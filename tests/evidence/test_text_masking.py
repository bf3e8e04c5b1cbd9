"""Masking of texts and of copies of files."""

import gzip
import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.evidence import masked_copy
from standfast.evidence.masked_copy import NOT_TEXT, TOO_LARGE, MaskedCopy, copy_masked
from standfast.evidence.text_masking import Masked, mask_text

TITLE = "[masked]"


def copied(content: bytes) -> tuple[MaskedCopy, bytes]:
    """Make a masked copy; return what it came to, and its bytes."""
    written = io.BytesIO()
    made = copy_masked(io.BytesIO(content), written, TITLE)
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    return made, written.getvalue()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("02:13:44 4111111111111111 200", "02:13:44 ************1111 200"),
        ("4111 1111-1111 1111", "**** ****-**** 1111"),
        ("378282246310005, 6304000000000000", "***********0005, 6304000000000000"),
        ("x4111111111111111y", "x************1111y"),
        (";4111111111111111=25121010000", ";************1111=25121010000"),
        ("q=card%204111%201111%201111%201111&x", "q=card%20****%20****%20****%201111&x"),
        (r'{"t": "\n4111111111111111"}', r'{"t": "\n************1111"}'),
        ("ssn 123-45-6789, order 987-65-4321", "ssn ***-**-****, order 987-65-4321"),
        ("s=123%2D45%2D6789", "s=***%2D**%2D****"),
        ('{"ssn":"123456789","id":"123456789"}', '{"ssn":"*********","id":"123456789"}'),
        ("Social Security No. 123 45 6789", "Social Security No. *** ** ****"),
        ("mail alice.b@example.net.", "mail a***@example.net."),
        ("?user=alice%40example.net&x=1", "?user=a***%40example.net&x=1"),
        (r"bob\u0040example.org", r"b***\u0040example.org"),
        ("eve&#64;example.org", "e***&#64;example.org"),
        ("bounces+alice=example.net@lists.example", "b***@lists.example"),
        ('"john doe"@example.net', "***@example.net"),
        ("müller@bücher.example", "m***@bücher.example"),
        (
            "root@desk-1 git@10.0.0.7 @handle 2026-11-27",
            "root@desk-1 git@10.0.0.7 @handle 2026-11-27",
        ),
    ],
)
def test_masking_changes_only_sensitive_numbers(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize("form", ["utf-8", "utf-16-le", "utf-16-be"])
def test_utf_16_inside_a_text_is_masked(form: str) -> None:
    count = Masked()
    line = "pan 4111111111111111, alice@example.net, 123-45-6789"
    raw = b"as ASCII\n" + line.encode(form) + b"\n"
    masked = mask_text(raw.decode("latin-1"), count).encode("latin-1")
    assert masked == (
        b"as ASCII\n" + "pan ************1111, a***@example.net, ***-**-****".encode(form) + b"\n"
    )
    assert (count.cards, count.social_security, count.mail) == (1, 1, 1)


@given(st.lists(st.sampled_from([*"4111 -@.=+%\n\0aé", "4111111111111111", "a@b.co", "%40"])))
def test_masking_twice_changes_nothing(parts: list[str]) -> None:
    masked = mask_text("".join(parts))
    assert mask_text(masked) == masked


def test_masked_copy_keeps_all_other_bytes() -> None:
    content = "naïve\r\n\x1b[1mpan 4111111111111111\n".encode() + b"\xff no UTF-8\n"
    made, copy = copied(content)
    masked = content.replace(b"411111111111", b"*" * 12)
    assert copy == TITLE.encode() + b"\n" + masked
    assert made.found.cards == 1


@pytest.mark.parametrize("form", ["utf-16-le", "utf-16-be"])
def test_utf_16_file_is_masked_in_utf_16(form: str) -> None:
    _, copy = copied("\ufeffИмя: ж@пример.рус, pan 4111111111111111\n".encode(form))
    assert copy.decode("utf-16") == f"{TITLE}\nИмя: ж***@пример.рус, pan ************1111\n"


def test_what_gzip_packed_is_unpacked_and_masked() -> None:
    packed = gzip.compress(b"pan 4111111111111111\n")
    assert copied(packed * 2)[1] == f"{TITLE}\n".encode() + b"pan ************1111\n" * 2
    assert copied(packed[:-9])[1].endswith(b"************1111\n")  # cut as it was written


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x7fELF\x02\x01pan 4111111111111111", NOT_TEXT),
        (b"\xff\xfepan\xd8\xd8", NOT_TEXT),  # begins as UTF-16, and is none
        # Without the time of day, each worker of xdist collects the same tests.
        (gzip.compress(b"\x00\x01", mtime=0), NOT_TEXT),
        (gzip.compress(b"text", mtime=0)[:-8] + b"no gzip", NOT_TEXT),
        (gzip.compress(b"a" * 100_000_000, mtime=0), TOO_LARGE),
    ],
    ids=["program", "UTF-16 cut off", "gzip of bytes", "gzip damaged", "gzip too large"],
)
def test_opaque_file_has_no_masked_copy(content: bytes, why: str) -> None:
    assert copied(content)[0].left_out == why


@pytest.mark.parametrize("between", ["\n", " and ", ", "])
def test_what_lies_across_two_pieces_is_masked(
    between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked_copy, "PIECE_BYTES", 64)
    line = f"alice@example.net, pan 4111 1111 1111 1111, 123-45-6789{between}"
    made, copy = copied((line * 50).encode())
    assert (made.found.cards, made.found.social_security, made.found.mail) == (50, 50, 50)
    assert copy.count(b"a***@example.net, pan **** **** **** 1111, ***-**-****") == 50


def test_an_empty_file_has_a_copy() -> None:
    assert copied(b"")[1] == f"{TITLE}\n".encode()
