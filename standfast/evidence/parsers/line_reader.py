"""Lines and CSV rows of a log, read within limits.

Rules
- A line or row is read up to a limit, and its rest is skipped. The result states that it was cut.
- A row of CSV with quotes may span several lines. Therefore the quotes in a skipped part are
  counted, because they decide where the row ends. Thus a long line never hides the next row.
- If a quote does not close within MOST_ROW_LINES or before the end of the file, the row is marked
  as unclosed: its cells may contain the following rows.
- A search may exclude lines before they are parsed. The function is called with several whole lines
  at once.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, TypeAlias

from standfast.evidence.parsers.log_record import LONGEST_TEXT

MOST_ROW_LINES = 10_000
_PIECE = 64 * 1024
SEARCHED_BYTES = 256 * 1024  # searched at once
_NUL = "\N{REPLACEMENT CHARACTER}"
SearchLines: TypeAlias = Callable[[bytes], Sequence[int]]  # indexes, from 0, of the lines to read


class Line(NamedTuple):
    """The beginning of one line."""

    number: int  # from 1
    content: bytes  # with the line break, unless it is cut
    is_cut: bool
    skipped_quotes: int  # number of quotes in the part that was cut


@dataclass(kw_only=True)
class Row:
    """One row of CSV."""

    cells: list[str] = field(default_factory=list)
    begin: int = 0  # first line of the row; `end` is its last line
    end: int = 0
    size_bytes: int = 0
    is_cut: bool = False
    is_unclosed: bool = False  # True if a quote in it does not close

    @property
    def lines(self) -> range:
        return range(self.begin, self.end + 1)

    def texts(self, lines: Iterator[Line]) -> Iterator[str]:
        """Yield the lines of the row up to the limit, and skip the others."""
        quotes = 0
        for line in lines:
            self.begin, self.end = self.begin or line.number, line.number
            quotes += line.content.count(b'"') + line.skipped_quotes
            text = line.content[: LONGEST_TEXT - self.size_bytes]
            self.size_bytes += len(text)
            self.is_cut = line.is_cut or len(text) < len(line.content)
            if self.is_cut:
                self._skip(lines, quotes)
            yield text.decode("utf-8-sig", "backslashreplace").replace("\0", _NUL)
            if self.is_cut:
                return
            if len(self.lines) >= MOST_ROW_LINES:
                break
        self.is_unclosed = self.begin > 0

    def _skip(self, lines: Iterator[Line], quotes: int) -> None:
        """Skip the lines up to the one with the closing quote."""
        while quotes % 2:
            line = next(lines, None)
            if line is None or len(self.lines) >= MOST_ROW_LINES:
                self.is_unclosed = True
            if line is None:
                return
            self.end = line.number
            if self.is_unclosed:
                return
            quotes += line.content.count(b'"') + line.skipped_quotes


def read_lines(stream: BinaryIO, longest: int, before: int = 0) -> Iterator[Line]:
    """Yield each line, up to `longest` bytes of it.

    `before` is the number of lines in the file before the stream's position.
    """
    number, read = before, stream.readline
    while content := read(longest):
        number += 1
        is_cut, quotes, end = False, 0, content
        while not end.endswith(b"\n") and (end := read(_PIECE)):
            is_cut = is_cut or end not in (b"\n", b"\r\n")
            quotes += end.count(b'"')
        yield Line(number, content, is_cut, quotes)


def read_found_lines(
    stream: BinaryIO, longest: int, search: SearchLines, before: int = 0
) -> Iterator[Line]:
    """Yield only the lines that the search returns, like `read_lines`."""
    while piece := stream.read(SEARCHED_BYTES):
        if not piece.endswith(b"\n"):
            # Read two bytes more than `longest`, to distinguish a cut line from a line with a line
            # break.
            piece += stream.readline(longest + 2)
        if found := search(piece):
            lines = io.BytesIO(piece).readlines()
            for index in found:
                (line,) = read_lines(io.BytesIO(lines[index]), longest)
                yield line._replace(number=before + index + 1)
        before += piece.count(b"\n")
        if not piece.endswith(b"\n"):
            before += 1
            while (rest := stream.readline(_PIECE)) and not rest.endswith(b"\n"):
                pass


def read_rows(stream: BinaryIO) -> Iterator[Row]:
    """Yield each row that is not empty; a row that is not CSV has no cells."""
    lines = read_lines(stream, LONGEST_TEXT)
    while True:
        row = Row()
        try:
            row.cells = next(csv.reader(row.texts(lines)), [])
        except csv.Error:
            yield row
            continue
        if not row.begin:
            return
        if row.cells or row.is_unclosed:
            yield row
