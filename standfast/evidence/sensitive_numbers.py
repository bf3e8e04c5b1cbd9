"""Card and social-security numbers: digits that count, search of logs.

The rules decide which digits are such a number. `text_masking`, which masks texts, uses them too.

Rules
- Numbers are counted and never shown: this module returns neither a number nor its line.
- A card number has 13 to 19 digits, begins with the prefix of an issuer, and has a valid check
  digit (ISO/IEC 7812-1, Annex B). Its digits may be in groups, if the groups have the same length
  or at least four digits each. About one in ten numbers with such a prefix passes these tests
  although it is not a card number. A match is therefore a reason to look at the log, and not a
  proof.
- A social-security number is written as 123-45-6789. A number is ignored if its area (000, 666, 900
  to 999), group (00) or serial (0000) is never issued (source: SSA, randomised since 2011).
- Only the ends of the newest files are read, so that the search takes a second. These parts are
  sufficient to find programs that log such numbers now. Links are not followed. Devices and pipes
  are not opened.
"""

import heapq
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.evidence.tree_copy import is_left_out

MOST_FILES = 50
END_BYTES = 1024 * 1024

Span = tuple[int, int]

_ESCAPED = r"%[0-9A-Fa-f]{2}", r"\\u[0-9A-Fa-f]{4}"  # an escaped character in a URL and in JSON
# Match the first digit before the text that precedes it: the search for a digit is faster.
_BEGIN = r"(?:(?<!\d\d)|(?<=" + r"\d)|(?<=".join(_ESCAPED) + r"\d))"
_BETWEEN = r"(?: {0,2}[.+_/-] {0,2}| {1,2}|\t|\xc2?\xa0|%20|%2[Dd]|\\u00[Aa]0)"
_BEGINS = re.compile(rf"[2-6]{_BEGIN}(?=(?:{_BETWEEN}?\d){{12}})", re.ASCII)
_GROUPS = re.compile(rf"\d{{1,20}}(?:{_BETWEEN}\d{{1,20}}){{0,18}}", re.ASCII)
_SMALL = re.compile(rf"\d{{1,3}}(?:{_BETWEEN}\d{{1,3}}(?!\d)){{13,}}", re.ASCII)
_SPLIT = re.compile(rf"({_BETWEEN})")
_MOST_DIGITS = 19
_FEWEST = 4  # digits of a group, if lengths differ: dates, times and addresses have shorter groups
# A number that is part of a longer word or number. An escaped character before it is not such a
# word.
_WITHIN = re.compile(r"[\w.-]\Z", re.ASCII)
_IS_ESCAPED = re.compile(rf"(?:{'|'.join(_ESCAPED)}|\\[nrt])\Z")
_GOES_ON = re.compile(r"[\w-]|\.\d", re.ASCII)
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|(?:6011|64[4-9]\d|65\d{2})\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
)
_SOCIAL_SECURITY = re.compile(
    rf"[0-8]{_BEGIN}\d\d(?<!000|666)(-|%2[Dd])(?!00)\d\d\1(?!0000)\d{{4}}(?!\d)", re.ASCII
)
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")  # twice the digit, its digits summed


@dataclass(frozen=True, kw_only=True)
class Unmasked:
    """Numbers found at the ends of the newest files of a source."""

    files: int  # number of files that were read
    unread: int
    cards: int
    social_security: int
    in_files: int  # files with at least one number of either kind


def find_sensitive_numbers(paths: Sequence[Path], exclude: Sequence[str] = ()) -> Unmasked:
    """Count the unmasked numbers in the newest files below `paths`.

    `exclude` contains shell patterns, matched against the whole path and its last name.
    """
    counts = [_counted_in(path) for path in _newest(paths, exclude)]
    read = [count for count in counts if count is not None]
    return Unmasked(
        files=len(read),
        unread=len(counts) - len(read),
        cards=sum(cards for cards, _ in read),
        social_security=sum(numbers for _, numbers in read),
        in_files=sum(any(count) for count in read),
    )


def cards_in(text: str, *, is_alone: bool = True) -> list[Span]:
    """Return the spans of payment card numbers, in order, without overlaps.

    With `is_alone`, return only numbers that are not part of a longer word or number. Counting uses
    this; masking needs all numbers. Decode bytes as latin-1 before the call.
    """
    found: list[Span] = []
    resume = 0
    for begins in _BEGINS.finditer(text):
        if begins.start() < resume:
            continue
        # Limit the time of counting: in a column of small numbers, try only the first number.
        small = _SMALL.match(text, begins.start()) if is_alone else None
        resume = small.end() if small else resume
        for start, end in _cards_from(text, begins.start()):
            if is_alone and _is_within(text, start, end):
                continue
            if found and start < found[-1][1]:
                start, end = found[-1][0], max(end, found.pop()[1])
            found.append((start, end))
    return found


def social_security_in(text: str, *, is_alone: bool = True) -> list[Span]:
    """Return the spans of social-security numbers, as `cards_in` does."""
    found = (match.span() for match in _SOCIAL_SECURITY.finditer(text))
    return [span for span in found if not (is_alone and _is_within(text, *span))]


def _cards_from(text: str, start: int) -> Iterator[Span]:
    """Yield each card number that begins at `start` and ends with a group."""
    groups = _GROUPS.match(text, start)
    parts = _SPLIT.split(groups[0]) if groups else []
    first = fewest = len(parts[0]) if parts else 0
    digits, end, is_even = "", start, True
    for number, part in enumerate(parts):
        end += len(part)
        if number % 2:  # the separator of two groups
            continue
        digits += part
        if len(digits) > _MOST_DIGITS or not (is_even or fewest >= _FEWEST):
            return
        is_last_of_even = is_even and len(part) <= first
        if (
            (is_last_of_even or fewest >= _FEWEST)
            and _ISSUED.fullmatch(digits)
            and _is_checked(digits)
            and not text[end : end + 1].isdecimal()
        ):
            yield start, end
        is_even = is_even and len(part) == first
        fewest = min(fewest, len(part))


def _is_within(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - 6) : start]
    is_begun = _WITHIN.search(before) and not _IS_ESCAPED.search(before)
    return bool(is_begun or _GOES_ON.match(text, end))


def _is_checked(number: str) -> bool:
    """Return whether the last digit is valid by the formula of Luhn."""
    digits = number.encode()
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(digits[-1::-2]) + sum(doubled) - ord("0") * len(digits)) % 10 == 0


def _counted_in(path: Path) -> tuple[int, int] | None:
    """Count the numbers at the end of a file, by kind; None if unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(max(0, os.fstat(descriptor).st_size - END_BYTES))
            text = stream.read(END_BYTES).decode("latin-1")
    except OSError:
        return None
    return len(cards_in(text)), len(social_security_in(text))


def _newest(paths: Sequence[Path], exclude: Sequence[str]) -> list[Path]:
    found = ((_written_at(path), path) for path in _files(paths, exclude))
    return [path for _, path in heapq.nlargest(MOST_FILES, (dated for dated in found if dated[0]))]


def _written_at(path: Path) -> int:
    """Return the modification time in ns; 0 if it is not a regular file."""
    try:
        seen = path.lstat()
    except OSError:
        return 0
    return seen.st_mtime_ns if stat.S_ISREG(seen.st_mode) else 0


def _files(paths: Sequence[Path], exclude: Sequence[str]) -> Iterator[Path]:
    def is_wanted(path: Path) -> bool:
        return not is_left_out(str(path), exclude)

    for root in paths:
        if not root.is_dir():
            yield root
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if is_wanted(Path(folder, name))]
            yield from filter(is_wanted, (Path(folder, name) for name in names))
