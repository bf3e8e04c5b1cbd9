"""Settings of legal clocks: applicable laws and client agreements.

A legal clock is the running time limit of one duty to notify an authority, a client or people.

Rules
- Without `[deadlines]`, no law applies: the jurisdictions and sectors of an organisation cannot be
  guessed.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from standfast.config.base_section import Section
from standfast.config.value_types import Items, Line, Text


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

    The resulting dates are not legal advice.
    """

    jurisdictions: Items[Line] = Field(
        default=(),
        description="The places of residence of the people whose data you hold; `standfast "
        "deadline places` lists the permitted values.",
        examples=[["EU/EEA", "UK", "US federal", "US-CA"]],
    )
    parts: Items[Part] = Field(
        default=("processor",),
        description="Your capacity: a `processor` holds data for clients, a `controller` "
        "decides about the purpose. A contact centre is usually a processor, and a controller "
        "for its own staff.",
        examples=[["processor", "controller"]],
    )
    sectors: Items[Sector] = Field(
        default=(),
        description="Sectors with their own obligations to which you or your clients belong: "
        "bank, broker, cards, critical, dfs, financial, government, health, lender, listed, "
        "nis2, telecom.",
        examples=[["cards", "health"]],
    )
    authority_country: Annotated[str, AfterValidator(_country)] | None = Field(
        default=None,
        description="The country of your European authority (ISO 3166-1), for its holidays.",
        examples=["DE"],
    )
    reminder_roles: Items[Line] = Field(
        default=(),
        description="The roles that are reminded after one half, three quarters and nine "
        "tenths of the time, and when the date is missed. Default: all enrolled people.",
        examples=[["duty-manager", "legal"]],
    )


class ContractConfig(Section):
    """A client's agreement with a time limit for notifying the client."""

    client: Line = Field(description="The name of the client.", examples=["Acme Bank"])
    section: Line = Field(
        description="The section of the agreement.", examples=["data processing agreement, 12.3"]
    )
    within: Annotated[int, Field(ge=1, le=3660)] = Field(
        description="The time limit, in `unit`.", examples=[24]
    )
    unit: Literal["hours", "calendar_days", "business_days", "months"] = Field(
        default="hours", description="The unit of `within`."
    )
    start: Line = Field(
        default="awareness",
        description="The fact that starts the time limit; `standfast deadline places` lists "
        "the facts.",
    )
    content: Items[Text] = Field(
        default=(),
        description="What the notice to the client must contain.",
        examples=[["what happened", "measures taken"]],
    )
