"""Names that the system gives, as they are written down."""

import pytest

from standfast.host_name import shown


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("desk-1.example.com", "desk-1.example.com"),
        ("A.Very Odd Host", "A.Very Odd Host"),
        ("", ""),
        ("höst", "höst"),
        ("caf\udce9-1", r"caf\xe9-1"),
        ("x\x1b[2J\ty\n", r"x\x1b[2J\ty\n"),
    ],
)
def test_non_text_bytes_are_escaped(given: str, written: str) -> None:
    assert shown(given) == written
    assert written.encode().decode() == written
