"""`standfast continuity`: a tree of dependencies, imported services."""

from pathlib import Path

from standfast.errors import ExitStatus
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


def test_imported_services_become_configuration(desk: Desk, tmp_path: Path) -> None:
    config_file = furnish(tmp_path / "place", SERVICE)
    desk.use(config_file)
    (desk.folder / "services.csv").write_text(
        "name,owner,rto_minutes,rpo_minutes,depends_on\nphones,Head of IT,90,60,crm\n"
    )
    answer = desk.run("continuity", "import", "services.csv")
    assert answer.status == ExitStatus.DONE
    config_file.write_text(config_file.read_text() + answer.out)
    assert "phones\n└─ crm\n" in desk.run("continuity", "show").out
