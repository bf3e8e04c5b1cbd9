"""What every death starts from: a directory, and a place with its people enrolled."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.people import Agents, running_directory
from tests.kill.world import furnish
from tests.servers import need


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    need("slapd", "apt-get install slapd ldap-utils")
    need("ldapmodify", "apt-get install slapd ldap-utils")
    with running_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with its people enrolled, to be copied for each death."""
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    return folder
