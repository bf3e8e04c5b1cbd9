"""Server processes of a site: Prefect answers and stores after each death."""

import subprocess
from pathlib import Path

import pytest

from tests.servers import installed
from tests.servers.prefect_site import PrefectSite, running_site


def store(site: PrefectSite, home: Path, pool: str) -> None:
    """Create a work pool through the balanced address."""
    done = subprocess.run(
        [installed("prefect"), "work-pool", "create", pool, "--type", "process"],
        env={
            "PREFECT_API_URL": site.url,
            "PREFECT_API_AUTH_STRING": site.secret,
            "PREFECT_HOME": str(home),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_site_stores_after_each_death(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        site.kill("api-0")
        store(site, tmp_path / "client", "after-api")
        site.kill("redis")
        site.start_redis()
        store(site, tmp_path / "client", "after-redis")
        site.kill("services")
        store(site, tmp_path / "client", "without-services")
