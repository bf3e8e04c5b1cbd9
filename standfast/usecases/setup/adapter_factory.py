"""Adapters of an incident: real or simulated by mode, as at its opening.

An adapter connects Standfast to one external system. The mode of an incident is live, exercise or
plan (which only reads). Some adapters call modules in `standfast.usecases`, for example to copy
evidence. These modules import the package `core`. Therefore `core` cannot import this module, and
uses only the protocol `AdapterFactory`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.adapters.evidence_sources import Custody
from standfast.config import Config
from standfast.records import Mode
from standfast.usecases.core.installation import Installation

if TYPE_CHECKING:
    from standfast.adapters.factory import Adapters
    from standfast.adapters.factory.audiences import Restored
    from standfast.ledger.incidents.incident_store import IncidentRow


class ConfiguredAdapters:
    """The default adapter factory of an opened installation."""

    def for_incident(self, installation: Installation, incident: "IncidentRow") -> "Adapters":
        """Return the adapters that an incident may use in its mode."""
        config = _as_frozen(installation.config, incident.adapters)
        custody = _custody(
            installation, incident.id, f"incident {incident.id}, {incident.scenario}"
        )
        if incident.mode is not Mode.EXERCISE:
            return _live(
                installation,
                config,
                custody,
                incident.mode,
                author=incident.opened_by,
                incident_id=incident.id,
            )
        from standfast.adapters.factory.exercise_adapters import Exercise

        return Exercise(
            config,
            custody,
            installation.ledger.incidents.notice,
            accounts=_accounts_of(incident),
            locked=installation.ledger.effects.locked_targets(incident.id),
        )

    def for_reading(self, installation: Installation) -> "Adapters":
        """Return all adapters, restricted to reading, for a plan."""
        custody = _custody(installation, "plan", "plan")
        return _live(installation, installation.config, custody, Mode.PLAN)

    def for_notifying(self, installation: Installation) -> "Adapters":
        """Return the message senders, for an alarm that belongs to no incident."""
        custody = _custody(installation, "alarm", "alarm")
        return _live(installation, installation.config, custody, Mode.LIVE)


def _custody(installation: Installation, name: str, reason: str) -> Custody:
    return Custody(
        incident=name,
        collector=installation.actor,
        reason=reason,
        folder=installation.config.custody.folder / name,
    )


def _live(
    installation: Installation,
    config: Config,
    custody: Custody,
    mode: Mode,
    *,
    author: str = "",
    incident_id: str | None = None,
) -> "Adapters":
    # Imported here: these modules load templates and mail, which takes time. A backup opens an
    # installation too, but does not need them.
    from standfast.adapters.factory.live_adapters import Live
    from standfast.usecases.evidence.bucket_copies import second_location
    from standfast.usecases.incidents.built_in_procedures import built_in_procedures
    from standfast.usecases.notices.affected_people import affected_audience

    return Live(
        config,
        custody,
        installation.ledger.incidents.notice,
        mode=mode,
        resolver=installation.resolver,
        clock=installation.clock,
        restored=_restored(installation, incident_id),
        own=built_in_procedures(installation, custody.incident, author or installation.actor),
        configured=installation.config,
        copy_destination=second_location(
            installation.config, installation.resolver, installation.clock
        ),
        affected=None
        if incident_id is None
        else partial(affected_audience, installation, incident_id),
    )


def _restored(installation: Installation, incident_id: str | None) -> "Restored":
    """Return a function that restores one file of a backup set.

    The function returns a context manager; at its end, the restored file is deleted. The restored
    version is the newest from before the incident. Without an incident, it is the newest version.
    """

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
    """Remove adapters that were configured after the incident opened.

    People approved a plan with the adapters that existed when the incident opened. An account
    directory that is configured later is used only in later incidents.
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
    """Return every account that the incident's inputs name, unchanged."""
    return [
        name
        for value in incident.inputs.values()
        if isinstance(value, list)
        for name in value
        if isinstance(name, str)
    ]
