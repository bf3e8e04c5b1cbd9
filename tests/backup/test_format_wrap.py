"""What an age file says openly of who opens it."""

import pyrage

from backup.format.wrap import openers


def test_an_age_file_says_how_many_keys_open_it() -> None:
    keys = [pyrage.x25519.Identity.generate().to_public() for _ in range(3)]
    for count in (1, 2, 3):
        assert openers(pyrage.encrypt(b"K" * 32, keys[:count])) == count
    assert openers(pyrage.passphrase.encrypt(b"K" * 32, "a phrase")) == 1


def test_what_is_no_age_file_opens_for_nobody() -> None:
    for junk in (b"", b"\n---", b"age-encryption.org/v1\n-> X25519 a\nb"):
        assert openers(junk) == 0
