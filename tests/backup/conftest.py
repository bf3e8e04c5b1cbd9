from pathlib import Path

import pytest

from tests.backup.site import Site, TamperedStore, new_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A new repository in memory."""
    return new_site(tmp_path / "site", TamperedStore())
