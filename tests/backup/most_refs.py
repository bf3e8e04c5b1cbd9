"""Rows with lists of references, without very large files."""

import pytest

from backup.archiver import manifest_builder, source_archiver


def most_refs(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Limit the references within a row; a row with more of them uses lists."""
    for module in (manifest_builder, source_archiver):
        monkeypatch.setattr(module, "MAX_REFS", number)
