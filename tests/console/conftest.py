"""Fixtures of running console servers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from standfast.console.http.rate_limits import Allowance
from standfast.console.sign_in import sign_in_pages
from tests.console.installations import ALERTS, SIEM, Site, furnish_with, site_at
from tests.console.people import Browser
from tests.memory_disk import tmp_path

__all__ = ["tmp_path"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An installation with a signed trigger that acts, and Alertmanager's."""
    with site_at(furnish_with(tmp_path, SIEM, ALERTS)) as found:
        yield found


@pytest.fixture
def lee(site: Site) -> Browser:
    """Return a signed-in duty manager."""
    browser = Browser(site)
    assert browser.sign_in("lee").status_code == 303
    return browser


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of rate limits: on a busy machine, tries take minutes."""
    monkeypatch.setattr(sign_in_pages, "Allowance", partial(Allowance, monotonic=lambda: 0.0))
