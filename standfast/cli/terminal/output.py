"""Output of a command: JSON or lines and tables; widths, colours, escapes.

Rules
- The result goes to standard output; progress and errors go to standard error.
- Colours are used only on a terminal, and not with NO_COLOR. A colour only repeats what a word
  states.
- External text cannot control the terminal or reverse the reading direction: such control
  characters are shown as `?`.
- A character that the locale cannot encode is shown as an escape and never ends a command.
- Lines are cut or folded only on a terminal.
- Tables are laid out here, because importing rich takes a tenth of a second; progress uses rich.
- A stream that cannot be written (a full disk) does not change the command's work: the rest of the
  output is dropped, and `flush_output` returns the reason after the command has ended.
"""

import codecs
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from standfast.records import JsonObject

_MAX_CELL_WIDTH = 60  # a longer cell does not widen its column
_MIN_LAST_CELL_WIDTH = 20  # columns; with less room the last cell is printed below its row
_FOLDED_INDENT = 4  # columns by which a last cell below its row is indented
_DIRECTION_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_COLOURS = {  # SGR code of each word; only the first such word of a row is coloured
    "ok": "32",
    "done": "32",
    "warn": "33",
    "partial": "33",
    "unknown": "33",
    "needs": "33",
    "interrupted": "31",
    "fail": "31",
    "failed": "31",
    "refused": "31",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under each other, columns aligned; `headings` may be empty."""

    rows: Sequence[Sequence[str]]
    headings: Sequence[str] = ()
    indent: int = 0


Line = str | Table
MAX_SHOWN_ROWS = 20  # rows of a list that may be long; the JSON document has all of them
_output_errors: list[str] = []  # why standard output could not be written
ShowProgress = Callable[[str, int, int], None]  # activity, amount done, total amount


def first_rows(
    rows: Iterable[Sequence[str]], total: int | None = None, *, indent: int = 2
) -> list[Line]:
    """Return a table of the first rows, and a line with the number of others.

    `total` is the number of all rows, if `rows` has only some of them.
    """
    every = list(rows)
    more = (len(every) if total is None else total) - min(MAX_SHOWN_ROWS, len(every))
    lines: list[Line] = [Table(rows=every[:MAX_SHOWN_ROWS], indent=indent)]
    return [*lines, f"{' ' * indent}… and {more:,} more; see --json"] if more > 0 else lines


def print_json(document: JsonObject) -> None:
    """Print the document as JSON; escape bytes that are not UTF-8.

    If standard output is not UTF-8, every character beyond ASCII becomes an escape too.
    """
    is_utf8 = codecs.lookup(_encoding(sys.stdout)).name == "utf-8"
    _print_result(json.dumps(document, ensure_ascii=not is_utf8, indent=2))


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines and tables, in order."""
    for line in lines:
        if isinstance(line, Table):
            _print_table(line)
        else:
            _print_result(_printable(line))


def print_error(message: str) -> None:
    """Print an error message; drop it if standard error cannot be written."""
    try:
        _print_to(_printable(message), sys.stderr)
    except OSError:
        discard_output(sys.stderr)


def flush_output() -> str | None:
    """Flush standard output; return why output was lost, or None.

    If the reader closed the pipe, raises BrokenPipeError: output that nobody reads is not lost.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _note_lost_output(error)
    why = _output_errors[0] if _output_errors else None
    _output_errors.clear()
    return why


def discard_output(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that its last flush succeeds."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, stream.fileno())
    os.close(null_device)


@contextmanager
def progress() -> Iterator[ShowProgress]:
    """Show progress on standard error if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda label, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    bars: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[counted]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:

        def show_progress(label: str, done: int, total: int) -> None:
            if label not in bars:
                bars[label] = shown.add_task(_printable(label), total=total or None, counted="")
            counted = f"{done:,} of {total:,}" if total else f"{done:,}" if done else ""
            shown.update(bars[label], completed=done, total=total or None, counted=counted)

        yield show_progress


def _print_table(table: Table) -> None:
    rows = [[_printable(cell) for cell in row] for row in table.rows]
    headings = [[*table.headings]] if table.headings else []
    columns = max(map(len, [*headings, *rows]), default=0)
    widths = [
        max(
            (
                len(row[column])
                for row in [*headings, *rows]
                if column < len(row) and len(row[column]) <= _MAX_CELL_WIDTH
            ),
            default=0,
        )
        for column in range(columns)
    ]
    for number, row in enumerate([*headings, *rows]):
        for line in _fold_row(row, widths, table.indent):
            _print_result(_add_colour(line, row, is_heading=number < len(headings)))


def _fold_row(row: Sequence[str], widths: Sequence[int], indent: int) -> list[str]:
    """Return the lines of a row; on a terminal, wrap its last cell."""
    before = " " * indent + "".join(
        cell.ljust(width) + "  " for cell, width in zip(row[:-1], widths, strict=False)
    )
    last = row[-1] if row else ""
    whole = [(before + last).rstrip()]
    if not sys.stdout.isatty():
        return whole
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    room = width - len(before)
    # Never break a word, not even at a hyphen: people copy the id of an incident.
    wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
    if room >= _MIN_LAST_CELL_WIDTH:
        first, *more = wrap(last, room) or [""]
        return [(before + first).rstrip(), *(" " * len(before) + line for line in more)]
    below = " " * (indent + _FOLDED_INDENT)
    if len(whole[0]) <= width or width - len(below) < _MIN_LAST_CELL_WIDTH:
        return whole
    folded = [below + line for line in wrap(last, width - len(below))]
    return [before.rstrip(), *folded] if before.strip() else folded


def _add_colour(line: str, row: Sequence[str], *, is_heading: bool) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return line
    if is_heading:
        return f"\x1b[2m{line}\x1b[0m"
    for word in row:
        if word in _COLOURS:
            return line.replace(word, f"\x1b[{_COLOURS[word]}m{word}\x1b[0m", 1)
    return line


def _print_result(text: str) -> None:
    try:
        _print_to(text, sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:
        _note_lost_output(error)


def _note_lost_output(error: OSError) -> None:
    _output_errors.append(error.strerror or type(error).__name__)
    discard_output(sys.stdout)


def _print_to(text: str, stream: TextIO) -> None:
    encoding = _encoding(stream)
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _encoding(stream: TextIO) -> str:
    """Return the encoding of a stream; UTF-8 if the stream does not name it."""
    return stream.encoding or "utf-8"


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text  # the usual case
    return "".join("?" if _is_control_character(letter) else letter for letter in text)


def _is_control_character(letter: str) -> bool:
    if letter in "\n\t":
        return False
    return letter in _DIRECTION_CONTROLS or unicodedata.category(letter) in ("Cc", "Zl", "Zp")
