"""Settings of legal clocks: applicable laws and client agreements.

Rules
- Without `[deadlines]` no law applies: the places and trades of an organisation cannot be guessed.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from standfast.config.base_section import Section
from standfast.config.value_types import (
    Items,
    Line,
    Text,
)


def _country(code: str) -> str:
    if not (len(code) == 2 and code.isascii() and code.isalpha() and code.isupper()):
        raise ValueError("a country is written by its two letters (ISO 3166-1): DE, FR, IE")
    return code


Part = Literal["controller", "processor"]
Sector = Literal[
    "bank",
    "broker",
    "cards",
    "critical",
    "dfs",
    "financial",
    "government",
    "health",
    "lender",
    "listed",
    "nis2",
    "telecom",
]


class DeadlinesConfig(Section):
    """Facts that decide which breach notification laws may bind you.

    They are not legal advice.
    """

    jurisdictions: Items[Line] = Field(
        default=(),
        description="Where people live whose data you hold, as `standfast deadline places` lists "
        "them.",
        examples=[["EU/EEA", "UK", "US federal", "US-CA"]],
    )
    parts: Items[Part] = Field(
        default=("processor",),
        description="The part you play: `processor` holds data for clients, `controller` decides "
        "what it is for. A contact centre is mostly the first, and the second for its own staff.",
        examples=[["processor", "controller"]],
    )
    sectors: Items[Sector] = Field(
        default=(),
        description="Trades with duties of their own that you, or the clients you work for, are "
        "in: bank, broker, cards, critical, dfs, financial, government, health, lender, listed, "
        "nis2, telecom.",
        examples=[["cards", "health"]],
    )
    authority_country: Annotated[str, AfterValidator(_country)] | None = Field(
        default=None,
        description="The country of your European authority, for its holidays (ISO 3166-1).",
        examples=["DE"],
    )
    reminder_roles: Items[Line] = Field(
        default=(),
        description="Who is reminded at a half, three quarters and nine tenths of the time, and "
        "when it is missed; left out, everybody enrolled.",
        examples=[["duty-manager", "legal"]],
    )


class ContractConfig(Section):
    """A client's agreement with a time limit for notifying the client."""

    client: Line = Field(description="The client.", examples=["Acme Bank"])
    section: Line = Field(
        description="Where the agreement says it.", examples=["data processing agreement, 12.3"]
    )
    within: Annotated[int, Field(ge=1, le=3660)] = Field(
        description="How long you have.", examples=[24]
    )
    unit: Literal["hours", "calendar_days", "business_days", "months"] = Field(
        default="hours", description="In what `within` is counted.", examples=["hours"]
    )
    start: Line = Field(
        default="awareness",
        description="The fact that the time counts from; `standfast deadline places` lists them.",
        examples=["awareness"],
    )
    content: Items[Text] = Field(
        default=(),
        description="What the notice to the client must hold.",
        examples=[["what happened", "measures taken"]],
    )
