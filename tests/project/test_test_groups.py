"""Tests that share fixed ports run in sequence, in one worker."""

import pytest


@pytest.mark.xdist_group("samba")
def test_a_group_is_told_to_the_scheduler(request: pytest.FixtureRequest) -> None:
    # pytest-xdist does it by the end of the test's id; a pytest that it does not know ignores that.
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("not run with --dist loadgroup")
    assert request.node.nodeid.endswith("@samba")
