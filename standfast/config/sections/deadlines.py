"""The settings of legal clocks: which laws may bind you, and what your clients' agreements say.

Rules
- Without `[deadlines]` no law is counted: which places and trades are yours, nobody can guess.
"""

from typing import Annotated, Literal

from standfast.config.base_section import Section, setting
from standfast.config.value_types import Line, Text, between


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
    """Which laws on telling of a breach may bind you. Facts, not legal advice."""

    jurisdictions: tuple[Line, ...] = setting(
        default=(),
        description="Where people live whose data you hold, as `standfast deadline places` lists "
        "them.",
        examples=[["EU/EEA", "UK", "US federal", "US-CA"]],
    )
    parts: tuple[Part, ...] = setting(
        default=("processor",),
        description="The part you play: `processor` holds data for clients, `controller` decides "
        "what it is for. A contact centre is mostly the first, and the second for its own staff.",
        examples=[["processor", "controller"]],
    )
    sectors: tuple[Sector, ...] = setting(
        default=(),
        description="Trades with duties of their own that you, or the clients you work for, are "
        "in: bank, broker, cards, critical, dfs, financial, government, health, lender, listed, "
        "nis2, telecom.",
        examples=[["cards", "health"]],
    )
    authority_country: Annotated[str, _country] | None = setting(
        default=None,
        description="The country of your European authority, for its holidays (ISO 3166-1).",
        examples=["DE"],
    )
    reminder_roles: tuple[Line, ...] = setting(
        default=(),
        description="Who is reminded at a half, three quarters and nine tenths of the time, and "
        "when it is missed; left out, everybody enrolled.",
        examples=[["duty-manager", "legal"]],
    )


class ContractConfig(Section):
    """A client's agreement that says how soon the client is to be told."""

    client: Line = setting(description="The client.", examples=["Acme Bank"])
    section: Line = setting(
        description="Where the agreement says it.", examples=["data processing agreement, 12.3"]
    )
    within: Annotated[int, between(1, 3660)] = setting(
        description="How long you have.", examples=[24]
    )
    unit: Literal["hours", "calendar_days", "business_days", "months"] = setting(
        default="hours", description="In what `within` is counted.", examples=["hours"]
    )
    start: Line = setting(
        default="awareness",
        description="The fact that the time counts from; `standfast deadline places` lists them.",
        examples=["awareness"],
    )
    content: tuple[Text, ...] = setting(
        default=(),
        description="What the notice to the client must hold.",
        examples=[["what happened", "measures taken"]],
    )
