"""Opened installation: configuration, ledger, secrets and adapters.

An installation is one configured Standfast. Its ledger is the database of incidents, approvals and
runs. An adapter connects Standfast to one external system, such as an account directory.
"""

import getpass
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from standfast.config import Config
from standfast.errors import ConfigurationError
from standfast.host_name import host_name, shown
from standfast.ledger.lazy_ledger import LazyLedger, Runs
from standfast.records import JsonObject, Now
from standfast.secrets import Resolver

if TYPE_CHECKING:
    from standfast.adapters.factory import Adapters
    from standfast.ledger import Ledger
    from standfast.ledger.incidents.incident_store import IncidentRow


def system_clock() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def os_user() -> str:
    """Return the operating-system user, the actor if nobody signs in."""
    try:
        return f"os:{shown(getpass.getuser())}@{host_name()}"
    except (KeyError, OSError):
        return f"os:{os.getuid()}@{host_name()}"


class AdapterFactory(Protocol):
    """A factory of adapters; the folder `setup` implements it.

    The mode of an incident decides which adapters it uses: live adapters, simulators in an
    exercise, or adapters that only read in a plan.
    """

    def for_incident(self, installation: "Installation", incident: "IncidentRow") -> "Adapters":
        """Return the adapters for the mode of an incident."""
        ...

    def for_reading(self, installation: "Installation") -> "Adapters":
        """Return all adapters, restricted to reading, for a plan."""
        ...

    def for_notifying(self, installation: "Installation") -> "Adapters":
        """Return the message senders, for an alarm that belongs to no incident."""
        ...


@dataclass(frozen=True, kw_only=True)
class Installation:
    """One configured installation, the first argument of every use-case."""

    config: Config
    opened: LazyLedger
    resolver: Resolver
    clock: Now
    adapter_factory: AdapterFactory
    actor: str  # recorded in the audit log: "os:root@host" or a person's name

    @property
    def ledger(self) -> "Ledger":
        """The whole ledger; its code takes longer to load than that of `runs`."""
        return self.opened.whole

    @property
    def runs(self) -> Runs:
        """The recorded runs, loaded without the rest of the ledger if possible.

        A run is one execution of a backup, a drill or similar work.
        """
        return self.opened.runs

    def adapters_for(self, incident: "IncidentRow") -> "Adapters":
        """Return the adapters for the mode of an incident."""
        return self.adapter_factory.for_incident(self, incident)

    def reading_adapters(self) -> "Adapters":
        """Return all adapters, restricted to reading, for a plan."""
        return self.adapter_factory.for_reading(self)

    def record_event(
        self, subject: str, action: str, detail: JsonObject, *, by: str | None = None
    ) -> None:
        """Append an event to the ledger's audit log; change no other table.

        `subject` is usually the id of an incident. `by` is the name of a person who signed in; it
        is recorded instead of `actor`.
        """
        with self.ledger.database.write(
            actor=by or self.actor, subject=subject, action=action, now=self.clock(), detail=detail
        ):
            pass

    def alarm_channels(self) -> "Adapters":
        """Return the message senders, for an alarm that belongs to no incident."""
        return self.adapter_factory.for_notifying(self)


def ledger_url(config: Config, resolver: Resolver) -> str:
    """Return the ledger's address, with the password if one is configured."""
    url = config.ledger.url
    if config.ledger.password is None:
        return url
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if not at or ":" in user:
        raise ConfigurationError(
            "ledger.url: it must name a user and no password, because ledger.password is set. "
            "Write postgresql://USER@HOST/NAME."
        )
    password = quote(resolver.resolve(config.ledger.password).reveal(), safe="")
    return f"{scheme}{separator}{user}:{password}@{host}"
