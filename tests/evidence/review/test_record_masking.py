"""Masking of the records of a review: accounts in every form."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.evidence.review.record_masking import masking_with

KEY = Ed25519PrivateKey.generate()
mask = masking_with(KEY, "inc-2026-0001")


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("opened by M.Keller at 02:13", "m.keller"),
        ("GET /agents/m.keller?x=1", "m.keller@example.com"),
        ("user=m.keller%40example.com", "m.keller@example.com"),
        ("path=%2Fm.keller", "m.keller"),
        ('"m.keller@example.com"', "m.keller"),
        ("session of CORP\\m.keller", "CORP\\m.keller"),
        ("session of m.keller.", "CORP\\m.keller"),
    ],
)
def test_account_is_masked_in_text(text: str, account: str) -> None:
    assert "keller" not in mask(text, account).lower()


@pytest.mark.parametrize("text", ["bobby", "bob.b", "plumbob", "bob_b"])
def test_longer_word_is_no_account(text: str) -> None:
    assert mask(text, "bob") == text


def test_pseudonym_depends_on_incident_and_key() -> None:
    others = (masking_with(KEY, "inc-2026-0002"), masking_with(Ed25519PrivateKey.generate(), ""))
    assert len({each("bob", "bob") for each in (mask, *others)}) == 3
    assert mask("BOB", "BOB") == mask("bob", "bob")


def test_masked_record_is_masked_once() -> None:
    masked = mask("bob@example.net paid 4111111111111111", "bob@example.net")
    assert mask(masked, "") == masked
