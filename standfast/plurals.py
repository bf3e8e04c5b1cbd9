"""Numbers with their noun in singular or plural, and lists of names."""

from collections.abc import Sequence


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: 1 file, 2,000 files."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def first_names(names: Sequence[str], most: int) -> str:
    """Return the first `most` names and the number of the rest: a and 3 more."""
    others = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others
