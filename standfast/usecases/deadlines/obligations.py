"""Obligations of this installation, from laws and from contracts.

An obligation is a duty to notify somebody of an incident. This module imports neither the code of
the ledger (the database of incidents) nor that of incidents, so that `standfast status` starts
quickly.
"""

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from standfast.config import Config
from standfast.deadlines.applicability import Part, Sector
from standfast.deadlines.contract_clocks import contract
from standfast.deadlines.legal_clocks import Reach
from standfast.deadlines.obligations import AGREEMENT, Obligation, Unit, read
from standfast.errors import ConfigurationError


@cache
def shipped() -> tuple[Obligation, ...]:
    """Return the obligations that the program ships."""
    file = resources.files("standfast.deadlines") / "obligations.jsonl"
    return read(file.read_text(encoding="utf-8").splitlines())


def obligations(config: Config) -> tuple[Obligation, ...]:
    """Return the obligations of laws, then the obligations of contracts."""
    try:
        agreements = [
            contract(
                name,
                client=settings.client,
                section=settings.section,
                value=settings.within,
                unit=Unit(settings.unit),
                start=settings.start,
                content=settings.content,
            )
            for name, settings in config.contracts.items()
        ]
    except ValueError as error:
        raise ConfigurationError(f"[contracts]: {error}") from None
    return (*shipped(), *agreements)


def reach(config: Config) -> Reach:
    """Return the jurisdictions, roles and sectors of the organisation.

    Raise ConfigurationError for an unknown jurisdiction.
    """
    known = {obligation.jurisdiction for obligation in obligations(config)}
    unknown = [name for name in config.deadlines.jurisdictions if name not in known]
    if unknown:
        raise ConfigurationError(
            f"deadlines.jurisdictions: no obligation is known in {', '.join(map(repr, unknown))}."
            " List the places with `standfast deadline places`."
        )
    agreements = {AGREEMENT + name for name in config.contracts}
    return Reach(
        jurisdictions=frozenset(config.deadlines.jurisdictions) | agreements,
        parts=frozenset(map(Part, config.deadlines.parts)),
        sectors=frozenset(map(Sector, config.deadlines.sectors)),
        zone=ZoneInfo(config.organisation.time_zone),
        authority_country=config.deadlines.authority_country or "",
    )
