"""Recipients that the header of an age file discloses."""

import pyrage

from backup.format.age_header import MAX_HEADER_BYTES, count_openers, has_short_header


def test_age_file_reports_its_number_of_recipients() -> None:
    keys = [pyrage.x25519.Identity.generate().to_public() for _ in range(3)]
    for count in (1, 2, 3):
        assert count_openers(pyrage.encrypt(b"K" * 32, keys[:count])) == count
    assert count_openers(pyrage.passphrase.encrypt(b"K" * 32, "a phrase")) == 1


def test_invalid_age_file_opens_for_nobody() -> None:
    for junk in (b"", b"\n---", b"age-encryption.org/v1\n-> X25519 a\nb"):
        assert count_openers(junk) == 0


def test_short_header_fits_into_a_pack() -> None:
    wrapped = pyrage.encrypt(b"K" * 32, [pyrage.x25519.Identity.generate().to_public()])
    header, end, rest = wrapped.partition(b"\n---")
    more = b"\n-> other\n" + b"A" * 64
    assert has_short_header(wrapped)
    long = header + more * (MAX_HEADER_BYTES // len(more)) + end + rest
    assert not has_short_header(long)
    assert has_short_header(long, 2 * MAX_HEADER_BYTES)
    assert count_openers(long) > 1
