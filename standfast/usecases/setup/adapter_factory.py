"""Adapters of an installation, by mode: simulators in an exercise, the configured ones else.

Stays above the use-cases that built-in procedures, evidence copies and restored audiences run;
`core` sees only the protocol `AdapterFactory`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.adapters.evidence_sources import Custody
from standfast.config import Config
from standfast.records import Mode
from standfast.usecases.core.installation import Installation

if TYPE_CHECKING:
    from standfast.adapters.factory import Outside
    from standfast.adapters.factory.audiences import Restored
    from standfast.ledger.incidents.incident_store import IncidentRow


class ConfiguredAdapters:
    """The factory that every opened installation gets, unless a caller passes another."""

    def for_incident(self, installation: Installation, incident: "IncidentRow") -> "Outside":
        """Give what this incident may reach, by its mode and by nothing else."""
        custody = Custody(
            incident=incident.id,
            collector=installation.actor,
            reason=f"incident {incident.id}, {incident.scenario}",
            folder=installation.config.custody.folder / incident.id,
        )
        notice_of = installation.ledger.incidents.notice
        config = _as_frozen(installation.config, incident.connectors)
        if incident.mode is Mode.EXERCISE:
            from standfast.adapters.factory.exercise_adapters import Exercise

            return Exercise(
                config,
                custody,
                notice_of,
                accounts=_accounts_of(incident),
                locked=installation.ledger.effects.locked_targets(incident.id),
            )
        from standfast.adapters.factory.live_adapters import (
            Live,  # templates and mail: a backup needs neither
        )
        from standfast.usecases.evidence.bucket_copies import elsewhere
        from standfast.usecases.incidents.built_in_procedures import built_in_procedures

        return Live(
            config,
            custody,
            notice_of,
            mode=incident.mode,
            resolver=installation.resolver,
            clock=installation.clock,
            restored=_restored(installation, incident.id),
            own=built_in_procedures(installation, incident.id, incident.opened_by),
            configured=installation.config,
            elsewhere=elsewhere(installation.config, installation.resolver, installation.clock),
        )

    def for_reading(self, installation: Installation) -> "Outside":
        """Give what a plan may reach: everything, to read."""
        return _beside_incidents(installation, "plan", Mode.PLAN)

    def for_notifying(self, installation: Installation) -> "Outside":
        """Give what an alarm may reach that belongs to no incident: the channels to people."""
        return _beside_incidents(installation, "alarm", Mode.LIVE)


def _beside_incidents(installation: Installation, name: str, mode: Mode) -> "Outside":
    custody = Custody(
        incident=name,
        collector=installation.actor,
        reason=name,
        folder=installation.config.custody.folder / name,
    )
    from standfast.adapters.factory.live_adapters import Live
    from standfast.usecases.evidence.bucket_copies import elsewhere
    from standfast.usecases.incidents.built_in_procedures import built_in_procedures

    return Live(
        installation.config,
        custody,
        installation.ledger.incidents.notice,
        mode=mode,
        resolver=installation.resolver,
        clock=installation.clock,
        restored=_restored(installation, None),
        own=built_in_procedures(installation, name, installation.actor),
        elsewhere=elsewhere(installation.config, installation.resolver, installation.clock),
    )


def _restored(installation: Installation, incident_id: str | None) -> "Restored":
    """Give how a file of a backup set comes back as it was before the incident, or now."""

    def restored(set_name: str, path: str) -> AbstractContextManager[Path]:
        from standfast.usecases.notices.audience_snapshots import file_before, incident_time

        moment = (
            installation.clock()
            if incident_id is None
            else incident_time(installation, incident_id)
        )
        return file_before(installation, moment, set_name, path)

    return restored


def _as_frozen(config: Config, adapters: Sequence[str]) -> Config:
    """Leave out the adapters that were not there when the incident opened.

    What was planned and approved went through those; a directory that somebody adds meanwhile is
    for the next incident.
    """
    kept = {
        section: {
            name: settings
            for name, settings in getattr(config, section).items()
            if f"{section}.{name}" in adapters
        }
        for section in ("accounts", "evidence", "senders", "commands", "requests")
    }
    return config.model_copy(update=kept)


def _accounts_of(incident: "IncidentRow") -> list[str]:
    """Give every account that the incident's inputs name, as people wrote it."""
    return [
        name
        for value in incident.inputs.values()
        if isinstance(value, list)
        for name in value
        if isinstance(name, str)
    ]
