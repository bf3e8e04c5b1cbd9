"""CSV files of spreadsheets: encoding, separator, escape of formulas.

Rules
- A file is UTF-8 with or without a byte order mark, or UTF-16 with a byte order mark, which Excel
  calls "Unicode text".
- A first line `sep=;`, which Excel writes and reads, is not a header: it names the separator.
- Without this line, the separator is the most frequent of comma, semicolon and tab in the header.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _csv import Reader

LARGEST_FIELD = 64 * 1024 * 1024  # characters; a longer cell raises csv.Error
_SEPARATOR = re.compile(r'"?sep=(?P<mark>[,;\t])"?[\r\n]*', re.IGNORECASE)


def formula_safe(text: str) -> str:
    """Escape a text that a spreadsheet would read as a formula.

    Some spreadsheets treat full-width signs as plain ones, and skip spaces before them.
    """
    begins = unicodedata.normalize("NFKC", text[:100]).lstrip()[:1]
    return f"'{text}" if begins in ("=", "+", "-", "@") else text


class CsvRows:
    """Rows of a seekable file, the header first; raises the errors of `csv`.

    A byte that does not fit the encoding raises UnicodeDecodeError, unless `errors` permits it.
    """

    def __init__(self, file: BinaryIO, *, errors: str = "strict") -> None:
        # The limit applies to the whole process: only raise it, so that other readers continue to
        # work.
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_FIELD))
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        file.seek(0)
        encoding = "utf-16" if is_utf16 else "utf-8-sig"
        stream = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
        first = stream.readline(LARGEST_FIELD)
        named = _SEPARATOR.fullmatch(first)
        self._lines_before = 1 if named else 0
        if not named:
            stream.seek(0)
        self._reader: Reader = csv.reader(
            stream, delimiter=named["mark"] if named else max(",;\t", key=first.count), strict=True
        )

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        return next(self._reader)

    @property
    def line(self) -> int:
        """Return the number of the line that was read last, from 1."""
        return self._lines_before + self._reader.line_num
