"""Numbers that no log should hold: of payment cards, and of social security, written in clear.

Rules
- Counted and never shown: neither a number nor the line that it stands in leaves this module.
- A card's number is 13 to 19 digits that begin as an issuer's do and whose last digit is right
  (ISO/IEC 7812-1, Annex B); digits may stand in groups. One in ten other numbers of that beginning
  looks so as well: what is found is a reason to look, and no proof.
- A social-security number is written as 123-45-6789, without the areas, groups and serials that are
  never given out (SSA, randomised since 2011: 000, 666, 900 to 999; 00; 0000).
- Only the end of the newest files is read, so that it takes a second: what writes today shows
  there. Links are not followed, and devices and pipes are not opened.
"""

import heapq
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from backup.lazy_dataclass import dataclass
from standfast.evidence.tree import is_left_out

MOST_FILES = 50
END_BYTES = 1024 * 1024

_DIGITS = re.compile(rb"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
_ISSUED = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    rb"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    rb"|3[47]\d{13}"  # American Express
    rb"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    rb"|(?:6011|64[4-9]\d|65\d{2})\d{12}"  # Discover
    rb"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
)
_SOCIAL_SECURITY = re.compile(
    rb"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])"
)
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")  # twice the digit, its digits summed


@dataclass(frozen=True, kw_only=True)
class Unmasked:
    """What the ends of the newest files of a source came to."""

    files: int  # that were read
    unread: int
    cards: int
    social_security: int
    in_files: int  # that hold one or the other


def look_for_unmasked(paths: Sequence[Path], exclude: Sequence[str] = ()) -> Unmasked:
    """Count the numbers in clear in the newest files below `paths`.

    `exclude` holds shell patterns, matched against the whole path and its last name.
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


def cards_in(text: bytes) -> int:
    """How many numbers in `text` look like a payment card's."""
    found = (re.sub(rb"[ -]", b"", match[0]) for match in _DIGITS.finditer(text))
    return sum(bool(_ISSUED.fullmatch(digits)) and _is_checked(digits) for digits in found)


def social_security_in(text: bytes) -> int:
    """How many numbers in `text` look like a social-security number."""
    return sum(1 for _ in _SOCIAL_SECURITY.finditer(text))


def _is_checked(digits: bytes) -> bool:
    """Is the last digit right, by the formula of Luhn?"""
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(digits[-1::-2]) + sum(doubled) - ord("0") * len(digits)) % 10 == 0


def _counted_in(path: Path) -> tuple[int, int] | None:
    """Give the cards and the social-security numbers of one file's end; None: it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(max(0, os.fstat(descriptor).st_size - END_BYTES))
            text = stream.read(END_BYTES)
    except OSError:
        return None
    return cards_in(text), social_security_in(text)


def _newest(paths: Sequence[Path], exclude: Sequence[str]) -> list[Path]:
    found = ((_written_at(path), path) for path in _files(paths, exclude))
    return [path for _, path in heapq.nlargest(MOST_FILES, (one for one in found if one[0]))]


def _written_at(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 for what is no file, or is gone."""
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
