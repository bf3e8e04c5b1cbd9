"""Fixtures of senders; everything opened is closed after each test."""

from collections.abc import Iterator

import pytest

from tests.adapters.senders.smtp_senders import OPEN


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()
