"""Masking: enough to recognise, too little to use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.reports.name_masking import mask_address, mask_target, mask_word


@pytest.mark.parametrize(
    ("target", "masked"),
    [
        ("mail:ana.garcia@example.net", "a***@example.net"),
        ("mail:Ω@example.net", "Ω***@example.net"),
        ("mail:.odd@example.net", "***@example.net"),
        ("mail:row 17", "row 17"),
        ("agents:alice", "agents:a***"),
        ("agents:corp\\bob", "agents:c***"),
        ("agents:a:b@example.net", "agents:a***"),
        (":nobody", ":n***"),
        ("alice", "a***"),
        ("agents:", "agents:***"),
    ],
)
def test_masked_target_keeps_directory_and_first_letter(target: str, masked: str) -> None:
    assert mask_target(target) == masked


@given(st.text(min_size=2, max_size=40).filter(lambda name: "*" not in name))
def test_no_two_letters_of_a_name_come_through(name: str) -> None:
    assert mask_word(name) in {"***", f"{name[0]}***"}


@given(st.text(min_size=2, max_size=20).filter(lambda local: "*" not in local))
def test_only_the_last_at_sign_ends_masking(local: str) -> None:
    assert mask_address(f"{local}@example.org") in {
        "***@example.org",
        f"{local[0]}***@example.org",
    }
