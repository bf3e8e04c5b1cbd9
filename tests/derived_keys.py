"""Passphrases' keys, derived once a process: Argon2 takes 0.2 s of CPU on purpose.

Whoever enrols with a passphrase that was enrolled before in this process gets its salt and key
again. A new passphrase, and each sign-in with a wrong one, costs what it costs users.
"""

from functools import cache

import pytest
from argon2.low_level import hash_secret_raw

from standfast.people.passphrase_keys import enrol


def keep_derived_keys() -> None:
    """Keep each derived key; call it before a module imports `enrol`."""
    patch = pytest.MonkeyPatch()
    patch.setattr("standfast.people.passphrase_keys.hash_secret_raw", cache(hash_secret_raw))
    patch.setattr("standfast.people.passphrase_keys.enrol", cache(enrol))
