"""Argon2 keys, derived once a process: the same passphrase and salt give the same key again."""

from collections.abc import Iterator
from functools import cache

import pytest
from argon2.low_level import hash_secret_raw


@pytest.fixture(scope="session", autouse=True)
def keys_are_derived_once() -> Iterator[None]:
    """Keep each derived key; a new passphrase or salt still costs what it costs users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("standfast.people.sign_in.hash_secret_raw", cache(hash_secret_raw))
        yield
