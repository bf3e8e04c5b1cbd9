"""Which duties to tell bind this place: the law's, and those of its agreements.

Apart from the clocks of an incident, and without the ledger, so that `standfast status` can say
what is due next and loads no database for it.
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
    """Give the obligations that the program comes with."""
    file = resources.files("standfast.deadlines") / "obligations.jsonl"
    return read(file.read_text(encoding="utf-8").splitlines())


def obligations(config: Config) -> tuple[Obligation, ...]:
    """Give the law's duties, and then those of the agreements that the configuration names."""
    try:
        agreements = [
            contract(
                name,
                client=one.client,
                section=one.section,
                value=one.within,
                unit=Unit(one.unit),
                start=one.start,
                content=one.content,
            )
            for name, one in config.contracts.items()
        ]
    except ValueError as error:
        raise ConfigurationError(f"[contracts]: {error}") from None
    return (*shipped(), *agreements)


def reach(config: Config) -> Reach:
    """Give which duties concern this place; ConfigurationError for a place that no law names."""
    known = {obligation.jurisdiction for obligation in obligations(config)}
    unknown = [name for name in config.deadlines.jurisdictions if name not in known]
    if unknown:
        raise ConfigurationError(
            f"[deadlines] jurisdictions: no obligation is known in {', '.join(map(repr, unknown))};"
            " `standfast deadline places` lists the places"
        )
    agreements = {AGREEMENT + name for name in config.contracts}
    return Reach(
        jurisdictions=frozenset(config.deadlines.jurisdictions) | agreements,
        parts=frozenset(map(Part, config.deadlines.parts)),
        sectors=frozenset(map(Sector, config.deadlines.sectors)),
        zone=ZoneInfo(config.organisation.time_zone),
        authority_country=config.deadlines.authority_country or "",
    )
