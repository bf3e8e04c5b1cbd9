"""Nothing secret or personal passes the door out of a flow."""

from pathlib import Path

import pytest

from flows.error_boundary import FlowFailed, in_installation
from standfast.errors import UsageError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from tests.usecases.backup_installation import furnish


def test_what_the_operation_gives_is_given(tmp_path: Path) -> None:
    config = str(furnish(tmp_path))
    outcome = in_installation(
        config, lambda installation: run_backup(installation, "main", "prefect")
    )
    assert outcome.result.files == 5


def test_of_a_foreign_exception_only_the_class_leaves(tmp_path: Path) -> None:
    def work(installation: Installation) -> None:
        raise KeyError("agent01@example.com")

    with pytest.raises(FlowFailed) as caught:
        in_installation(str(furnish(tmp_path)), work)
    assert str(caught.value).startswith("unexpected KeyError")
    assert "agent01" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_own_error_keeps_only_its_message(tmp_path: Path) -> None:
    def work(installation: Installation) -> None:
        try:
            raise ValueError("agent01@example.com")
        except ValueError as error:
            raise UsageError("name a set that there is") from error

    with pytest.raises(FlowFailed, match="a set") as caught:
        in_installation(str(furnish(tmp_path)), work)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_configuration_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FlowFailed, match=r"standfast\.toml"):
        in_installation(str(tmp_path / "standfast.toml"), lambda installation: installation)
