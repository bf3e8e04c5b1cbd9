"""Sign-in by passphrase."""

import pytest

from standfast.errors import ApprovalRefused
from standfast.people.passphrase_keys import Credential, sign_in

# Derived with another implementation of argon2id, that of `cryptography`.
DANA = Credential(
    public_key="e16245117ebfc490c88f9988eecad77150ea98b4f6f0df1ad8d46e32f0246ea9",
    salt="00112233445566778899aabbccddeeff",
)


def test_a_passphrase_gives_the_key_of_its_enrolment() -> None:
    key = sign_in("dana", "the rain in the north", DANA)
    assert key.public_key().public_bytes_raw().hex() == DANA.public_key


def test_another_passphrase_is_refused() -> None:
    with pytest.raises(ApprovalRefused):
        sign_in("dana", "the rain in the south", DANA)
