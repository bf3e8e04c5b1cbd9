"""Paper lists: items with owners, each entered once."""

from pathlib import Path

import pytest

from standfast.errors import Refused, UsageError
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.paper_list import add_items, enter_item, paper_items
from tests.usecases.installations import furnish, installation_at


def opened(installation: Installation) -> str:
    return lifecycle.open_incident(
        installation, "platform-outage", {"service": "crm"}, mode=Mode.EXERCISE
    ).incident


def paper(folder: Path, *rows: str) -> Path:
    file = folder / "paper.csv"
    file.write_text("\n".join(["owner;item", *rows]))
    return file


def test_items_are_entered_once_by_a_person(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        case = opened(installation)
        add_items(installation, case, paper(tmp_path, "Ada;bookings of the afternoon"))
        add_items(installation, case, paper(tmp_path, "Grace;refunds", "Grace;calls"))
        assert enter_item(installation, case, 2, by="dana").entered_by == "dana"
        assert enter_item(installation, case, 2, by="kim").entered_by == "dana"
        items = paper_items(installation, case)
        assert [item.number for item in items] == [1, 2, 3]
        assert [item.owner for item in items] == ["Ada", "Grace", "Grace"]
        assert [bool(item.entered_at) for item in items] == [False, True, False]


def test_timeline_has_no_text_of_items(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        case = opened(installation)
        add_items(installation, case, paper(tmp_path, "Ada;bookings of the afternoon"))
        told = str([event.detail for event in installation.ledger.timeline(case)])
        assert "Ada" not in told
        assert "bookings" not in told


def test_unknown_item_is_refused(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        case = opened(installation)
        with pytest.raises(UsageError):
            enter_item(installation, case, 1)


@pytest.mark.parametrize("rows", [(), ("Ada",), ("Ada;",), (";calls",), ("Ada;" + "x" * 501,)])
def test_invalid_file_adds_nothing(rows: tuple[str, ...], tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        case = opened(installation)
        with pytest.raises(UsageError):
            add_items(installation, case, paper(tmp_path, *rows))
        assert paper_items(installation, case) == ()


def test_closed_incident_takes_no_items(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        case = opened(installation)
        lifecycle.close(installation, case)
        with pytest.raises(Refused):
            add_items(installation, case, paper(tmp_path, "Ada;calls"))
