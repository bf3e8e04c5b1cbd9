"""An event file, followed across rotation, truncation and restarts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.usecases.triggers.suricata_event_file import SuricataTail


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "eve.json"


def begin(file: Path) -> SuricataTail:
    """Begin to follow at the end of the existing content."""
    tail = SuricataTail(file, file.parent / "kept", "leak")
    assert list(lines(tail)) == []
    return tail


def lines(tail: SuricataTail, most_bytes: int = 1024) -> Iterator[bytes]:
    """Acknowledge and yield all lines that the file contains now."""
    while (batch := tail.read(most_bytes)) is not None:
        yield from batch.lines
        tail.keep(batch)


def write(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def again(file: Path) -> SuricataTail:
    """Return the state with which the next process begins."""
    return SuricataTail(file, file.parent / "kept", "leak")


def test_first_start_begins_at_the_end(file: Path) -> None:
    write(file, "old 1\nold 2\nhal")
    tail = begin(file)
    write(file, "f\nnew 1\nnew 2\n")
    assert list(lines(tail)) == [b"half", b"new 1", b"new 2"]
    assert list(lines(tail)) == []


def test_later_file_is_read_from_its_start(file: Path) -> None:
    tail = begin(file)
    write(file, "first\n")
    assert list(lines(tail)) == [b"first"]


def test_incomplete_line_is_awaited(file: Path) -> None:
    tail = begin(file)
    write(file, "one\ntw")
    assert list(lines(tail)) == [b"one"]
    write(file, "o\n\n\nthree\n")
    assert list(lines(tail)) == [b"two", b"three"]


def test_restart_continues_at_its_position(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n")
    assert list(lines(tail)) == [b"one"]
    write(file, "two\n")
    assert list(lines(again(file))) == [b"two"]
    assert list(lines(again(file))) == []


def test_part_of_a_batch_may_be_kept(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n\ntwo\nthree\nfo")
    batch = tail.read()
    assert batch is not None
    tail.keep(batch.first(2))
    assert list(lines(again(file))) == [b"three"]
    write(file, "ur\n")
    assert list(lines(again(file))) == [b"four"]


def test_unkept_lines_are_read_again(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n")
    batch = tail.read()
    assert batch is not None
    assert batch.lines == (b"one",)
    assert list(lines(again(file))) == [b"one"]  # the process died before it acknowledged the line


def test_moved_file_is_read_to_its_end(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n")
    assert list(lines(tail)) == [b"one"]
    write(file, "two\nlast words")
    file.rename(file.with_name("eve.json.1"))
    write(file, "three\n")
    assert list(lines(tail)) == [b"two", b"last words", b"three"]
    assert list(lines(again(file))) == []


def test_rotated_files_are_read_in_order(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n")
    assert list(lines(tail)) == [b"one"]
    write(file, "two\n")
    file.rename(file.with_name("eve.json-20261125"))
    write(file, "three\n")
    file.rename(file.with_name("eve.json-20261126"))
    write(file, "four\n")
    assert list(lines(again(file))) == [b"two", b"three", b"four"]


def test_copied_and_truncated_file_is_read_whole(file: Path) -> None:
    tail = begin(file)
    write(file, "one, long enough to be known again\n")
    assert list(lines(tail)) == [b"one, long enough to be known again"]
    write(file, "two\n")
    shutil.copy(file, file.with_name("eve.json.1"))
    file.write_text("")  # the same file, empty: logrotate's copytruncate
    assert list(lines(tail)) == [b"two"]
    write(file, "three\n")
    assert list(lines(tail)) == [b"three"]


def test_truncated_file_restarts_with_a_message(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tail = begin(file)
    write(file, "one\ntwo\n")
    assert list(lines(tail)) == [b"one", b"two"]
    file.write_text("anew, and longer than what was there\n")
    assert list(lines(tail)) == [b"anew, and longer than what was there"]
    assert "truncated or removed" in caplog.text


def test_compressed_file_is_skipped(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n")
    assert list(lines(tail)) == [b"one"]
    file.rename(file.with_name("eve.json.1.gz"))
    write(file, "two\n")
    assert list(lines(tail)) == [b"two"]


def test_overlong_line_is_skipped(file: Path) -> None:
    tail = begin(file)
    write(file, "x" * 5000 + "\ngood\n")
    assert list(lines(tail))[-1] == b"good"
    assert list(lines(again(file))) == []


def test_unreadable_position_begins_at_the_end(file: Path) -> None:
    begin(file)
    (note,) = (file.parent / "kept").glob("eve-*.json")
    note.write_text('{"offset": "x"}')
    write(file, "lost\n")
    tail = again(file)
    assert list(lines(tail)) == []
    write(file, "found\n")
    assert list(lines(tail)) == [b"found"]


def test_missing_file_is_awaited(file: Path) -> None:
    tail = begin(file)
    write(file, "one\n")
    assert list(lines(tail)) == [b"one"]
    file.rename(file.with_name("eve.json.1"))
    assert list(lines(tail)) == []
    write(file, "two\n")
    assert list(lines(tail)) == [b"two"]


@given(st.data())
def test_every_line_is_read_once_whatever_happens_between(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Pieces of lines, rotations and restarts neither lose nor repeat a line."""
    file = tmp_path_factory.mktemp("eve") / "eve.json"
    tail = begin(file)
    written: list[bytes] = []
    found: list[bytes] = []
    pending = ""
    for number in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(["write", "piece", "rotate", "restart", "read"])):
            case "write":
                line = f"line {number}"
                write(file, f"{line}\n")
                written.append((pending + line).encode())
                pending = ""
            case "piece":
                write(file, f"piece {number} ")
                pending += f"piece {number} "
            case "rotate" if file.exists() and not pending:
                file.rename(file.with_name(f"eve.json.{number:02}"))
            case "restart":
                tail = again(file)
            case "read":
                found += lines(tail)
    write(file, "end\n")
    written.append((pending + "end").encode())
    found += lines(tail)
    assert found == written
