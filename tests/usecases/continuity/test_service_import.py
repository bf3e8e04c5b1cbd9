"""Import of services from CSV: valid TOML, or every invalid row."""

import tomllib
from pathlib import Path

import pytest

from standfast.config.loader import load
from standfast.errors import ConfigurationError, FileInvalid, UsageError
from standfast.usecases.continuity.service_import import services_from_csv
from tests.usecases.backup_installation import SERVICE, furnish

HEADER = "name,owner,rto_minutes,rpo_minutes,depends_on,sets\n"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("place"), SERVICE)


def written(folder: Path, text: str) -> Path:
    file = folder / "services.csv"
    file.write_text(text)
    return file


def test_imported_services_are_valid_configuration(config_file: Path, tmp_path: Path) -> None:
    rows = 'phones,"Head of ""IT""",90,60,crm,main\ndesk,Ops,120,60,"phones, crm",\n'
    text = services_from_csv(load(config_file), written(tmp_path, HEADER + rows))
    services = tomllib.loads(text)["services"]
    assert services["phones"] == {
        "owner": 'Head of "IT"',
        "rto_minutes": 90,
        "rpo_minutes": 60,
        "depends_on": ["crm"],
        "sets": ["main"],
    }
    copy = config_file.with_name("with-import.toml")
    copy.write_text(config_file.read_text() + text)
    assert load(copy).services["desk"].depends_on == ("phones", "crm")


def test_each_invalid_row_is_named(config_file: Path, tmp_path: Path) -> None:
    rows = (
        "phones,Ops,90,60,nothing,\n"
        "\n"
        "mail,,soon,60,,\n"
        "crm,Ops,90,60,,\n"
        "phones,Ops,90,60,,\n"
        "Desk,Ops,90,60,,\n"
    )
    with pytest.raises(FileInvalid) as refused:
        services_from_csv(load(config_file), written(tmp_path, HEADER + rows))
    assert {problem.line for problem in refused.value.problems} == {4, 5, 6, 7}
    dangling = "phones,Ops,90,60,nothing,tapes\n"
    with pytest.raises(FileInvalid) as refused:
        services_from_csv(load(config_file), written(tmp_path, HEADER + dangling))
    assert [problem.line for problem in refused.value.problems] == [2, 2]


def test_impossible_dependencies_are_refused(config_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):  # the service crm promises a RTO of an hour
        services_from_csv(load(config_file), written(tmp_path, HEADER + "phones,Ops,30,60,crm,\n"))


def test_file_without_columns_is_refused(config_file: Path, tmp_path: Path) -> None:
    for text in ("", "name,owner\nphones,Ops\n", HEADER.replace("sets", "set")):
        with pytest.raises(UsageError):
            services_from_csv(load(config_file), written(tmp_path, text))
