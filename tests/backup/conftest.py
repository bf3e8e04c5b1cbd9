from pathlib import Path

import pytest

from tests.backup.keep_site import KeptSite, ten_weeks
from tests.backup.site import Site, TamperedStore, new_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A new repository in memory."""
    return new_site(tmp_path / "site", TamperedStore())


@pytest.fixture
def kept(tmp_path: Path) -> KeptSite:
    """A site with a keeper, and ten weekly points of which the oldest four may go."""
    return ten_weeks(tmp_path)
