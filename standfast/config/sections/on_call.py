"""Settings of pages to people on call: pagers, rota and escalation."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from standfast.config.base_section import Section
from standfast.config.value_types import (
    Items,
    Minutes,
    Name,
    Place,
    RoleOrPerson,
    TimeZone,
    matching,
)

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SignInName = Annotated[
    str, matching(r"[a-z][a-z0-9._-]{0,63}", "a person is named by the sign-in name, such as lee")
]
TimeOfDay = Annotated[
    str, matching(r"([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day is written as 09:00")
]


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("a day is written as 2026-01-05") from None


def _local_time(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a time is written as 2026-12-24T18:00") from None
    if moment.tzinfo is not None:
        raise ValueError("write the time without a zone; it is in `on_call.time_zone`")
    return moment.isoformat()


LocalDate = Annotated[str, AfterValidator(_date)]
LocalTime = Annotated[str, AfterValidator(_local_time)]


class PagerConfig(Section):
    """One channel that reaches a person on call."""

    sender: Name = Field(
        description='The sender of `[senders]`: a personal address of `kind = "apprise"` (push, '
        "SMS or voice), or a mail sender, which writes to the person's mail address.",
        examples=["lee-push"],
    )
    after_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=0,
        description="Minutes without an acknowledgement after the previous page to this person, "
        "before this pager is used.",
    )


class PersonOnCallConfig(Section):
    """The pagers of one person, by sign-in name."""

    pagers: Items[PagerConfig] = Field(
        description="The pagers of the person, in the order in which they are used. Without one, "
        "pages go to the mail address.",
        examples=[[{"sender": "lee-push"}, {"sender": "lee-phone", "after_minutes": 5}]],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        senders = [pager.sender for pager in self.pagers]
        if len(set(senders)) < len(senders):
            raise ValueError("each pager needs its own sender")
        return self


class ShiftConfig(Section):
    """A shift that repeats every week, with one person or several in turn.

    If shifts overlap, the person of the shift that is listed first is paged first.
    """

    people: Annotated[Items[SignInName], Field(min_length=1)] = Field(
        description="The person on duty. Several people take turns, one week each.",
        examples=[["lee", "kim"]],
    )
    days: Annotated[Items[Day], Field(min_length=1)] = Field(
        default=DAYS, description="The days on which the shift starts.", examples=[["sat", "sun"]]
    )
    start: TimeOfDay = Field(
        default="00:00", description="The time at which the shift starts.", examples=["18:00"]
    )
    end: TimeOfDay = Field(
        default="00:00",
        description="The time at which the shift ends. If it is not later than `start`, the "
        "shift ends on the next day.",
        examples=["08:00"],
    )
    first_day: LocalDate = Field(
        default="2024-01-01",
        description="The first day of the first person's week, if several people take turns. The "
        "next person's week begins seven days later.",
        examples=["2026-01-05"],
    )


class OverrideConfig(Section):
    """A time in which other people replace everybody on duty."""

    people: Annotated[Items[SignInName], Field(min_length=1)] = Field(
        description="The people on duty in this time, in the order in which they are paged.",
        examples=[["kim"]],
    )
    start: LocalTime = Field(
        description="The time at which the override starts.", examples=["2026-12-24T18:00"]
    )
    end: LocalTime = Field(
        description="The time at which the override ends.", examples=["2026-12-26T09:00"]
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if datetime.fromisoformat(self.end) <= datetime.fromisoformat(self.start):
            raise ValueError("`end` must be later than `start`")
        return self


class OnCallConfig(Section):
    """Pages that are repeated until somebody acknowledges them.

    Without `shifts`, `calendar` and `fallback`, nobody is on call.
    """

    people: Mapping[SignInName, PersonOnCallConfig] = Field(
        default={}, description="Pagers by person."
    )
    shifts: Items[ShiftConfig] = Field(
        default=(),
        description="The rota: the people on duty in each hour of the week.",
        examples=[[{"people": ["lee", "kim"], "start": "09:00", "end": "09:00"}]],
    )
    calendar: Place | None = Field(
        default=None,
        description="The rota as a file in iCalendar format, instead of `shifts`: the title of "
        "each event is the sign-in name of the person on duty. It is read for each page.",
        examples=["on-call.ics"],
    )
    overrides: Items[OverrideConfig] = Field(
        default=(),
        description="Exceptions to the rota.",
        examples=[[{"people": ["kim"], "start": "2026-12-24T18:00", "end": "2026-12-26T09:00"}]],
    )
    fallback: Items[RoleOrPerson] = Field(
        default=(),
        description="The people that are paged if nobody is on duty, or if nobody on duty has "
        "acknowledged: roles, or `person:NAME`.",
        examples=[["duty-manager", "person:dana"]],
    )
    escalate_after_minutes: Minutes = Field(
        default=10,
        description="Minutes without an acknowledgement after the last page to a person, before "
        "the next person is paged.",
    )
    rounds: Annotated[int, Field(ge=1, le=20)] = Field(
        default=3,
        description="The number of rounds in which the people on duty, and then those of "
        "`fallback`, are paged one after another, if nobody acknowledges. A round in which no "
        "page could be sent does not count.",
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The time zone of the rota. Default: `organisation.time_zone`.",
        examples=["Europe/London"],
    )

    @property
    def is_used(self) -> bool:
        """Return whether anybody is on call."""
        return bool(self.shifts or self.calendar or self.fallback)

    @property
    def pager_senders(self) -> frozenset[str]:
        """The senders that are pagers of a person."""
        return frozenset(pager.sender for person in self.people.values() for pager in person.pagers)

    @model_validator(mode="after")
    def check(self) -> Self:
        if self.shifts and self.calendar is not None:
            raise ValueError("set either `shifts` or `calendar`")
        if (self.people or self.overrides) and not self.is_used:
            raise ValueError("nobody would be paged: set either `shifts`, `calendar` or `fallback`")
        return self
