"""Overview of the services: order, prediction, measures, and its page."""

from pathlib import Path

from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.continuity.service_overview import (
    service_document,
    service_overview,
    write_continuity_page,
)
from standfast.usecases.drills.restore_drill import run_drill
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at

PHONES = """
[services.phones]
owner = "Head of <IT>"
rto_minutes = 90
rpo_minutes = 60
depends_on = ["crm"]
minimum_capacity_percent = 40

[services.phones.modes.paper]
kind = "paper"
capacity_percent = 10
instructions = "Write each order on form 7."
"""


def test_overview_shows_measured_and_predicted_values(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path, PHONES + SERVICE)) as installation:
        before = {service.name: service for service in service_overview(installation)}
        assert [*before] == ["crm", "phones"], "dependencies first"
        assert (before["crm"].measured, before["crm"].predicted) == ("never", "unknown")
        run_backup(installation, "main", "direct")
        run_drill(installation, "main", identity(tmp_path))
        services = service_overview(installation)
        page = write_continuity_page(installation, services, tmp_path / "page.html").read_text()
    crm, phones = map(service_document, services)
    assert crm["measured_verdict"] == "met"
    assert isinstance(crm["predicted_rto_ms"], int)
    assert phones["measured_rto_ms"] is None
    assert phones["has_minimum_capacity"] is False
    assert "No degraded mode reaches the minimum capacity" in page
    assert "Head of &lt;IT&gt;" in page
    assert "<svg" in page
    assert "&lt;svg" not in page


def test_page_without_services_is_written(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path, "")) as installation:
        assert service_overview(installation) == ()
        page = write_continuity_page(installation, (), tmp_path / "page.html")
        assert "No service is configured" in page.read_text()
