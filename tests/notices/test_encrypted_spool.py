from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from standfast.notices.audience import gather
from standfast.notices.audience_rows import Recipient, Rules
from standfast.notices.duplicate_rows import Seen
from standfast.notices.encrypted_spool import PAGE, Spool


def spooled(count: int) -> Spool[str]:
    def write(item: str) -> Sequence[Any]:
        return [item]

    spool = Spool(write, lambda written: str(written[0]))
    for number in range(count):
        spool.append(f"person {number}")
    return spool


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7])
def test_long_list_returns_its_items(count: int) -> None:
    spool, wanted = spooled(count), [f"person {number}" for number in range(count)]
    assert list(spool) == wanted
    assert list(spool) == wanted
    assert [len(page) for page in spool.pages()] == [
        len(wanted[start : start + PAGE]) for start in range(0, count, PAGE)
    ]
    assert (len(spool), spool[:3], spool[-2:]) == (count, wanted[:3], wanted[-2:])
    assert spool == wanted
    assert spool != [*wanted, "another"]
    assert spool != [*wanted[:-1], "another"]


def test_what_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        spooled(PAGE)[PAGE]


def test_spooled_pages_are_unreadable() -> None:
    spool = spooled(2 * PAGE)
    file = spool._file
    file.seek(0)
    assert b"person" not in file.read()


def test_its_file_is_closed_with_it() -> None:
    spool = spooled(PAGE)
    file = spool._file
    del spool
    assert file.closed


def test_repeated_mark_names_its_first_row() -> None:
    with closing(Seen()) as seen, closing(Seen()) as other:
        marks = {seen.mark("mailbox", f"customer{n}@example.net"): n for n in range(1, 2_001)}
        seen.add(marks)
        assert seen.known([*marks, seen.mark("person", "customer1@example.net")]) == marks
        assert seen.mark("mailbox", "a") != other.mark("mailbox", "a")


def test_deduplication_works_across_pages() -> None:
    count = 2 * PAGE + 10
    rows = [
        (number, {"address": f"c{number}@example.net", "key": f"k{number}", "is_minor": "no"})
        for number in range(1, count + 1)
    ]
    rows += [
        (count + 1, {"address": "C1@example.net", "key": "other", "is_minor": "no"}),
        (count + 2, {"address": "new@example.net", "key": "k2", "is_minor": "no"}),
        (count + 3, {"address": "c3@example.net", "key": "k3", "is_minor": "yes"}),
    ]
    found = gather(rows, Rules(why="x"))
    assert (found.rows, len(found.recipients)) == (len(rows), count - 1)
    assert [one.key for one in found.held] == ["k3"]
    assert [(one.row_number, one.reason) for one in found.repeated] == [
        (3, f"same person as row {count + 3}, held"),
        (count + 1, "same address as row 1"),
        (count + 2, "same person as row 2"),
    ]
    assert found.recipients[PAGE] == Recipient(
        key=f"k{PAGE + 2}", address=f"c{PAGE + 2}@example.net", why="x"
    )
