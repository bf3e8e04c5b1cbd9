"""Printed output of commands."""

import io
import json
import sys

import pytest

from standfast.cli.terminal.output import Table, print_error, print_json, print_lines, progress
from standfast.cli.terminal.units import format_age, format_duration, format_size
from standfast.plurals import counted


def test_columns_are_aligned_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentence = "a sentence that is longer than any terminal " * 10
    print_lines([Table(headings=("a", "b"), rows=[["one", sentence], ["three", "x"]], indent=2)])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading == "  a      b"
    assert first == f"  one    {sentence}".rstrip()
    assert second == "  three  x"


def test_terminal_wraps_last_column_and_colours_state(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    print_lines([Table(rows=[["lock", "failed", "every word of this goes below the first"]])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lock  \x1b[31mfailed\x1b[0m  every word")
    assert all(line.startswith(" " * 14 + w) for line, w in zip(lines[1:], ("below",), strict=True))


def test_narrow_terminal_moves_last_column_down(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    told = "1,998 told, 2 not (the mailbox is full)"
    mend = "see `standfast notice held inc-2026-000001`, or let it be"
    print_lines([Table(rows=[["customers", told, mend], ["lock", "x", "y"]], indent=2)])
    print_lines([Table(rows=[["lock", mend.replace("see", "see also")]])])
    assert capsys.readouterr().out.splitlines() == [
        f"  customers  {told}",
        "      see `standfast notice held inc-2026-000001`,",
        "      or let it be",
        "  lock       x",
        "      y",
        "lock  see also `standfast notice held",
        "      inc-2026-000001`, or let it be",
    ]


def test_last_column_alone_leaves_no_empty_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    rows = [["warn", "configuration", "it is open"], ["", "", "→ close it to others"]]
    print_lines([Table(rows=rows)])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "    it is open",
        "    → close it to others",
    ]


def test_foreign_text_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_lines(["a\x1b[2Jb\rc", Table(rows=[["x\x07y"]])])
    assert capsys.readouterr().out == "a?[2Jb?c\nx?y\n"


def test_foreign_text_keeps_its_writing_direction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_lines(["alice\u202eecila", Table(rows=[["a\u2066b", "Zo\u00eb \u05d0\u200d"]])])
    print_error("one\u2028two")
    said = capsys.readouterr()
    assert said.out == "alice?ecila\na?b  Zo\u00eb \u05d0\u200d\n"
    assert said.err == "one?two\n"


def test_undecodable_path_still_makes_one_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"path": "caf\udce9", "name": "Zoë"})
    out = capsys.readouterr().out
    assert "Zoë" in out
    assert json.loads(out) == {"path": "caf\udce9", "name": "Zoë"}


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])
def test_missing_letter_is_escaped_in_one_document(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_lines(["→ mend it…"])
    sys.stdout.flush()
    assert written.getvalue() == b"\\u2192 mend it\\u2026\n"
    written.seek(0)
    written.truncate()
    print_json({"path": "caf\udce9", "name": "Zoë"})
    sys.stdout.flush()
    assert json.loads(written.getvalue().decode("ascii")) == {"path": "caf\udce9", "name": "Zoë"}


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as tell:
        tell("reading", 1, 2)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_progress_goes_to_a_terminals_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress() as tell:
        tell("lock", 3, 25)
        tell("lock", 25, 25)
    said = capsys.readouterr()
    assert said.out == ""


def test_amounts_are_printed_for_people() -> None:
    from datetime import timedelta

    assert [format_size(n) for n in (0, 1023, 1024, 1536 << 10, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 TiB",
    ]
    assert [format_age(timedelta(seconds=n)) for n in (-5, 119, 120, 7_200, 172_800)] == [
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "2 days",
    ]
    assert [format_duration(n) for n in (None, 40, 1_340, 600_000, 17_400_000)] == [
        "never",
        "40 ms",
        "1.3 s",
        "10 min",
        "4 h 50 min",
    ]
    assert [counted(n, "file") for n in (0, 1, 1_200)] == ["0 files", "1 file", "1,200 files"]


def test_long_cell_does_not_widen_other_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_lines([Table(rows=[["lock", "x" * 100, "Lock"], ["prove", "done", "Prove"]])])
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"lock   {'x' * 100}  Lock"
    assert second == "prove  done  Prove"
