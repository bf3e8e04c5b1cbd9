"""Rows with lists of references, without the very large files that have them."""

import pytest

from backup.writing import pages, taking


def most_refs(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have a row keep so many references itself; where there are more, they lie in lists."""
    for module in (pages, taking):
        monkeypatch.setattr(module, "MOST_REFS", number)
