"""Joint exit status of several backup sets."""

import pytest

from standfast.cli.backups.backup import joint_status
from standfast.errors import ExitStatus


@pytest.mark.parametrize(
    ("statuses", "one"),
    [
        ([], ExitStatus.DONE),
        ([ExitStatus.REFUSED], ExitStatus.REFUSED),
        ([ExitStatus.DONE, ExitStatus.FAILED], ExitStatus.PARTIAL),
        ([ExitStatus.FAILED, ExitStatus.REFUSED], ExitStatus.FAILED),
        ([ExitStatus.DONE, ExitStatus.DAMAGED], ExitStatus.DAMAGED),
    ],
)
def test_several_sets_end_with_one_status(statuses: list[ExitStatus], one: ExitStatus) -> None:
    assert joint_status(statuses) is one
