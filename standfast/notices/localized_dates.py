"""Dates and times in the form of a language: `4. März 2025`.

Rules
- The month is a word, so that nobody reads the fourth of March as the third of April.
- A time of day is not converted to another time zone.
- Digits that are not a date, or that readers may understand as different dates (03/04/2025), are
  refused before anything is sent (`is_unclear`).
"""

import re
from datetime import date, time

from babel import UnknownLocaleError
from babel.dates import format_date

_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?)?"
    r"( ?(?:[A-Z]{1,5}(?:[+-]\d{2}(?::?\d{2})?)?|[+-]\d{2}(?::?\d{2})?))?"
)
_FIGURES = re.compile(r"[\d\s.,:/+-]*\d[\d\s.,:/+-]*(?:T[\d:.]+)?(?:[+-][\d:]+| ?[A-Z]{1,5})?")
_YEAR = re.compile(r"\d{4}")


def long_date(day: date, language: str) -> str:
    """Return a day in words of a language; ISO 8601 if Babel lacks it."""
    base = language.partition("-")[0].lower()
    try:
        written = format_date(day, "long", "en_GB" if base == "en" else base)
    except (UnknownLocaleError, ValueError):
        return day.isoformat()
    is_first_in_french = base == "fr" and day.day == 1  # CLDR writes `1 mars`
    return f"1er{written.removeprefix('1')}" if is_first_in_french else written


def is_unclear(text: str) -> bool:
    """Return whether a text has only digits, but is no ISO date or time.

    A year alone is clear, and so is a text with words.
    """
    text = text.strip()
    if _YEAR.fullmatch(text) or not _FIGURES.fullmatch(text):
        return False
    found = _MOMENT.fullmatch(text)
    if found is None or (found[3] and not found[2]):
        return True
    try:
        date.fromisoformat(found[1])
        time.fromisoformat(found[2] or "00:00")
    except ValueError:
        return True
    return False


def in_language(text: str, language: str) -> str:
    """Return a date or time in the form of a language; other text unchanged."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        return text
    try:
        day = date.fromisoformat(found[1])
    except ValueError:
        return text  # such as 2025-02-30: shown as it was entered
    zone = {"Z": "UTC"}.get((found[3] or "").strip(), (found[3] or "").strip())
    return ", ".join(
        filter(None, (long_date(day, language), " ".join(filter(None, (found[2], zone)))))
    )
