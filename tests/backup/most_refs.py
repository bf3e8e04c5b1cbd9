"""Rows with lists of references, without the very large files that have them."""

import pytest

from backup.archiver import manifest_builder, source_archiver


def most_refs(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have a row keep so many references itself; where there are more, they lie in lists."""
    for module in (manifest_builder, source_archiver):
        monkeypatch.setattr(module, "MAX_REFS", number)
