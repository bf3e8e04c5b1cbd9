"""`standfast continuity show`: services, and a tree of dependencies."""

from pathlib import Path

from tests.cli.desk import Desk
from tests.usecases.backup_installation import SERVICE, furnish

_PHONES = """
[services.phones]
owner = "Head of IT"
rto_minutes = 90
rpo_minutes = 60
depends_on = ["crm"]
"""


def test_show_draws_the_dependencies(desk: Desk, tmp_path: Path) -> None:
    desk.use(furnish(tmp_path / "place", _PHONES + SERVICE))
    assert "Dependencies:\nphones\n└─ crm\n" in desk.run("continuity", "show").out


def test_independent_services_need_no_tree(desk: Desk, tmp_path: Path) -> None:
    desk.use(furnish(tmp_path / "place", SERVICE))
    answer = desk.run("continuity", "show")
    assert "crm" in answer.out
    assert "Dependencies" not in answer.out
