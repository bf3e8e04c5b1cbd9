"""Days and moments as readers of a language write them: `2025-03-04` becomes `4. März 2025`.

Owns English, Spanish, French and German. A language that is not here reads the figures.

Rules
- The month is a word, so that nobody takes the fourth of March for the third of April.
- A time of day and its zone stand as they were given: they are not moved to another zone.
- Figures alone that are no day, or a day that some read otherwise (03/04/2025), are told of before
  anybody reads them.
"""

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Final

_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?)?"
    r"( ?(?:[A-Z]{1,5}(?:[+-]\d{2}(?::?\d{2})?)?|[+-]\d{2}(?::?\d{2})?))?"
)
_FIGURES = re.compile(r"[\d\s.,:/+-]*\d[\d\s.,:/+-]*(?:T[\d:.]+)?(?:[+-][\d:]+| ?[A-Z]{1,5})?")
_YEAR = re.compile(r"\d{4}")
_MONTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
    "es": (
        "enero", "febrero", "marzo", "abril", "mayo", "junio",
        "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre",
    ),
    "fr": (
        "janvier", "février", "mars", "avril", "mai", "juin",
        "juillet", "août", "septembre", "octobre", "novembre", "décembre",
    ),
    "de": (
        "Januar", "Februar", "März", "April", "Mai", "Juni",
        "Juli", "August", "September", "Oktober", "November", "Dezember",
    ),
}  # fmt: skip


def long_date(day: date, language: str) -> str:
    """Write a day out; in figures (ISO 8601) where the language's months are not known here."""
    base = language.partition("-")[0].lower()
    months = _MONTHS.get(base)
    if months is None:
        return day.isoformat()
    month = months[day.month - 1]
    match base:
        case "es":
            return f"{day.day} de {month} de {day.year}"
        case "fr":
            return f"{'1er' if day.day == 1 else day.day} {month} {day.year}"
        case "de":
            return f"{day.day}. {month} {day.year}"
        case _:
            return f"{day.day} {month} {day.year}"


def is_unclear(text: str) -> bool:
    """Is it written in figures, and yet no day or moment that each language could write out?"""
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
    """Write out a text that is a day or a moment and nothing else; any other stays as it is."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        return text
    try:
        day = date.fromisoformat(found[1])
    except ValueError:
        return text  # 2025-02-30: shown as somebody wrote it
    zone = {"Z": "UTC"}.get((found[3] or "").strip(), (found[3] or "").strip())
    return ", ".join(
        filter(None, (long_date(day, language), " ".join(filter(None, (found[2], zone)))))
    )
