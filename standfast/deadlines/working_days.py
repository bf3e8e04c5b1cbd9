"""Working days and time zones of a jurisdiction.

Rules
- Holidays come from the library `holidays`, by country and, for a State or province, its
  subdivision.
- The strict count, which results in the earliest due date, skips only nation-wide holidays, because
  an authority elsewhere perhaps does not observe a local holiday. For the European Union, no
  holiday is skipped until the organisation names the country of its authority.
- Saturday and Sunday are not working days in any jurisdiction that `obligations.jsonl` contains.
- A day begins and ends in the time zone of the jurisdiction, not of the organisation: a contact
  centre in Manila may have American clients. A jurisdiction with several time zones is represented
  by its easternmost and its westernmost zone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

_WEEKEND: Final = 5  # date.weekday() of Saturday
_COUNTRIES: Final[Mapping[str, str]] = {
    "Australia": "AU",
    "Brazil": "BR",
    "Canada": "CA",
    "India": "IN",
    "Japan": "JP",
    "Singapore": "SG",
    "South Korea": "KR",
    "US": "US",
}


_EASTERN, _CENTRAL, _MOUNTAIN, _PACIFIC = (
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
)
_ZONES: Final[Mapping[str, tuple[str, ...]]] = {
    "Australia": ("Australia/Sydney", "Australia/Perth"),
    "Brazil": ("America/Sao_Paulo", "America/Rio_Branco"),
    "Canada": ("America/St_Johns", "America/Vancouver"),
    "Canada-QC": ("America/Toronto",),
    "India": ("Asia/Kolkata",),
    "Japan": ("Asia/Tokyo",),
    "Singapore": ("Asia/Singapore",),
    "South Korea": ("Asia/Seoul",),
    "UK": ("Europe/London",),
    "US federal": (_EASTERN,),  # time zone of the seat of its authorities
    "US-AL": (_CENTRAL,),
    "US-AZ": ("America/Phoenix",),
    "US-CA": (_PACIFIC,),
    "US-CO": (_MOUNTAIN,),
    "US-CT": (_EASTERN,),
    "US-DE": (_EASTERN,),
    "US-FL": (_EASTERN, _CENTRAL),
    "US-IA": (_CENTRAL,),
    "US-IN": (_EASTERN, _CENTRAL),
    "US-LA": (_CENTRAL,),
    "US-MD": (_EASTERN,),
    "US-ME": (_EASTERN,),
    "US-NM": (_MOUNTAIN,),
    "US-NY": (_EASTERN,),
    "US-OH": (_EASTERN,),
    "US-OK": (_CENTRAL,),
    "US-OR": (_MOUNTAIN, _PACIFIC),
    "US-PR": ("America/Puerto_Rico",),
    "US-RI": (_EASTERN,),
    "US-SD": (_CENTRAL, _MOUNTAIN),
    "US-TN": (_EASTERN, _CENTRAL),
    "US-TX": (_CENTRAL, _MOUNTAIN),
    "US-VT": (_EASTERN,),
    "US-WA": (_PACIFIC,),
    "US-WI": (_CENTRAL,),
}
_WEST_OF_EUROPE: Final = frozenset({"IE", "PT", "IS"})
_EAST_OF_EUROPE: Final = frozenset({"BG", "CY", "EE", "FI", "GR", "LT", "LV", "RO"})


@dataclass(frozen=True)
class WorkingDays:
    """The working days of one place.

    `country` is an ISO 3166-1 code, or "" if unknown. `subdivision` is the second part of an ISO
    3166-2 code, or "". `skips_hour_of_event` is True if hours are counted from the end of the hour
    in which the event happened, as Regulation 1182/71 requires.
    """

    country: str = ""
    subdivision: str = ""
    skips_hour_of_event: bool = False

    def is_working(self, day: date, *, is_strict: bool = False) -> bool:
        """Return whether a day is a working day.

        With `is_strict`, a local holiday is a working day.
        """
        if day.weekday() >= _WEEKEND:
            return False
        if not self.country:
            return True
        local = "" if is_strict else self.subdivision
        return day not in _holidays(self.country, local)

    def next_working_day(self, day: date) -> date:
        """Return `day`, or the first working day after it."""
        while not self.is_working(day):
            day += timedelta(days=1)
        return day

    def nth_working_day_after(self, event: date, count: int, *, is_strict: bool = False) -> date:
        """Return the `count`-th working day after the day of an event."""
        day = event
        while count > 0:
            day += timedelta(days=1)
            count -= self.is_working(day, is_strict=is_strict)
        return day


def working_days(jurisdiction: str, authority_country: str = "") -> WorkingDays:
    """Return the working days of a jurisdiction such as `US-CA` or `EU/EEA`.

    `authority_country` is the country of the organisation's European authority (ISO 3166-1). Raise
    ValueError for a country that `holidays` does not know.
    """
    if jurisdiction.startswith("EU"):
        return WorkingDays(_known_country(authority_country), skips_hour_of_event=True)
    if jurisdiction == "UK":
        # Use the holidays of England, the seat of the authority; those of Scotland differ.
        return WorkingDays("GB", "ENG")
    name, _, part = jurisdiction.partition("-")
    country = _COUNTRIES.get(name.removesuffix(" federal"), "")
    if country and part:
        return WorkingDays(country, part)
    return WorkingDays(country)


def time_zones_of(jurisdiction: str, authority_country: str = "") -> tuple[ZoneInfo, ...]:
    """Return the time zones in which a jurisdiction's days may be counted.

    Return () for an unknown jurisdiction. In European law, days are counted in the time zone of the
    authority. While the authority's country is unknown, return the westernmost and the easternmost
    zone of the European Union.
    """
    if not jurisdiction.startswith("EU"):
        names = _ZONES.get(jurisdiction, ())
    elif not authority_country:
        names = ("Europe/Lisbon", "Europe/Helsinki")
    elif authority_country in _WEST_OF_EUROPE:
        names = ("Atlantic/Reykjavik" if authority_country == "IS" else "Europe/Lisbon",)
    elif authority_country in _EAST_OF_EUROPE:
        names = ("Europe/Helsinki",)
    else:
        names = ("Europe/Brussels",)
    return tuple(map(ZoneInfo, names))


def _known_country(code: str) -> str:
    if code:
        try:
            _holidays(code, "")
        except NotImplementedError:
            raise ValueError(f"country {code!r}: its holidays are not known") from None
    return code


@lru_cache(maxsize=64)
def _holidays(country: str, subdivision: str) -> Any:
    import holidays  # imported here: the import takes a tenth of a second, and only dates need it

    return holidays.country_holidays(country, subdiv=subdivision or None)
