import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from standfast.notices.mail_addresses import parse_address
from standfast.notices.plain_text import is_one_line, one_line


@pytest.mark.parametrize(
    ("text", "sent_to"),
    [
        ("Ana@Shop.Test", "Ana@shop.test"),
        (" ana@shop.test ", "ana@shop.test"),
        ("ana+news@shop.test", "ana+news@shop.test"),
        ("ana@münchen.test", "ana@xn--mnchen-3ya.test"),
        ("ana@XN--MNCHEN-3YA.test", "ana@xn--mnchen-3ya.test"),
        ("ana@straße.test", "ana@xn--strae-oqa.test"),
        ("ana@日本。test", "ana@xn--wgv71a.test"),
        ("jörg@shop.test", "jörg@shop.test"),
        ("o'neil@shop.test", "o'neil@shop.test"),
    ],
)
def test_an_address_has_one_form(text: str, sent_to: str) -> None:
    assert parse_address(text).text == sent_to


def test_spellings_of_one_mailbox_have_one_key() -> None:
    spellings = ("Ana@München.test", "ana@xn--mnchen-3ya.TEST", "ANA@mu\u0308nchen.test")
    assert len({parse_address(text).key for text in spellings}) == 1
    accents = ("jos\u00e9@shop.test", "jose\u0301@shop.test", "JOSE\u0301@shop.test")
    assert len({parse_address(text).key for text in accents}) == 1
    assert {parse_address(text).text for text in accents[:2]} == {accents[0]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ana",
        "ana@",
        "@shop.test",
        "ana@shop",
        "ana@shop..test",
        "ana@-shop.test",
        "ana@shop.test.",
        "ana@192.168.0.1",
        "ana@shop.123",
        "ö" * 32 + "@" + "x." * 108 + "test",
        "ana@[192.168.0.1]",
        ".ana@shop.test",
        "ana.@shop.test",
        "a..na@shop.test",
        '"ana"@shop.test',
        "ana(x)@shop.test",
        "Ana <ana@shop.test>",
        "ana@shop.test, ben@shop.test",
        "ana@shop.test\r\nBcc: ben@shop.test",
        "ana\n@shop.test",
        "a\u202ena@shop.test",
        "ana@sh\u202eop.test",
        "ana@xn--zzzz.test",
        "a\ud800@shop.test",
        "ana@sh\ud800op.test",
        "x" * 65 + "@shop.test",
        "ö" * 33 + "@shop.test",
        "ana@" + "x" * 64 + ".test",
        "ana@" + "x." * 130 + "test",
        "x" * 10_000_000 + "@shop.test",
    ],
)
def test_invalid_mailbox_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert "ana" not in str(caught.value)


@pytest.mark.parametrize(
    "local",
    [
        "=?utf-8?b?YQ0KU3ViamVjdDogUGF5?=",
        "=?utf-8?q?a=0d=0aBcc=3Ax?=.é",
        "ana=?utf-8?q?b",
        "=?",
    ],
)
def test_encoded_word_in_an_address_is_refused(local: str) -> None:
    with pytest.raises(ValueError, match="encoded word") as caught:
        parse_address(f"{local}@shop.test")
    assert "ana" not in str(caught.value)


@pytest.mark.parametrize("local", ["a=b?c", "a?=b", "bounce+ana=shop.test", "?="])
def test_separate_signs_of_encoded_words_are_accepted(local: str) -> None:
    assert parse_address(f"{local}@shop.test").local == local


@given(st.text(max_size=60) | st.emails())
def test_accepted_address_is_stable_and_header_safe(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(address.text) == address
    assert address.domain.isascii()
    assert not set(address.text) & set('\r\n<>,;: \t"')


@given(st.from_regex(r"[a-zA-Z0-9.+_-]{1,66}@[a-zA-Z0-9.-]{1,70}", fullmatch=True))
def test_plain_addresses_agree_with_email_validator(text: str) -> None:
    try:
        expected = validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        with pytest.raises(ValueError, match="name@domain"):
            parse_address(text)
    else:
        found = parse_address(text)
        assert (found.local, found.domain) == (expected.local_part, expected.ascii_domain)


@given(st.text())
def test_cleaning_twice_changes_nothing_and_leaves_one_line(text: str) -> None:
    cleaned = one_line(text)
    assert one_line(cleaned) == cleaned
    assert is_one_line(cleaned)
    cleaned.encode()
