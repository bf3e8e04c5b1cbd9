"""One installation, opened: its configuration, its ledger, its secrets, its clock and who asks."""

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
from standfast.records import Now
from standfast.secrets import Resolver

if TYPE_CHECKING:
    from standfast.adapters.factory import Outside
    from standfast.ledger import Ledger
    from standfast.ledger.incidents.incident_store import IncidentRow


def system_clock() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def os_user() -> str:
    """Name the operating system's user: who acted when nobody signed in."""
    try:
        return f"os:{shown(getpass.getuser())}@{host_name()}"
    except (KeyError, OSError):
        return f"os:{os.getuid()}@{host_name()}"


class AdapterFactory(Protocol):
    """Adapters by mode; the implementation stays above every use-case that an adapter calls."""

    def for_incident(self, installation: "Installation", incident: "IncidentRow") -> "Outside":
        """Return the adapters of an incident, by its mode and by nothing else."""
        ...

    def for_reading(self, installation: "Installation") -> "Outside":
        """Return the adapters of a plan: everything, to read."""
        ...

    def for_notifying(self, installation: "Installation") -> "Outside":
        """Return the adapters of an alarm that belongs to no incident: the channels to people."""
        ...


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Everything that a use-case stands on."""

    config: Config
    opened: LazyLedger
    resolver: Resolver
    clock: Now
    adapters: AdapterFactory
    actor: str  # who asks, for the timeline: "os:root@host" or a person's name

    @property
    def ledger(self) -> "Ledger":
        """The whole ledger; a run alone needs only `runs`."""
        return self.opened.whole

    @property
    def runs(self) -> Runs:
        """The ledger's runs, without the rest of it where that can be."""
        return self.opened.runs

    def outside(self, incident: "IncidentRow") -> "Outside":
        """Return what this incident may reach, by its mode and by nothing else."""
        return self.adapters.for_incident(self, incident)

    def reader(self) -> "Outside":
        """Return what a plan may reach: everything, to read."""
        return self.adapters.for_reading(self)

    def teller(self) -> "Outside":
        """Return what an alarm may reach that belongs to no incident: the channels to people."""
        return self.adapters.for_notifying(self)


def ledger_url(config: Config, resolver: Resolver) -> str:
    """Give the ledger's address with its password, if it needs one."""
    url = config.ledger.url
    if config.ledger.password is None:
        return url
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if not at or ":" in user:
        raise ConfigurationError(
            "ledger.password is given, so ledger.url must name a user and no password: "
            "postgresql://USER@HOST/NAME"
        )
    password = quote(resolver.resolve(config.ledger.password).reveal(), safe="")
    return f"{scheme}{separator}{user}:{password}@{host}"
