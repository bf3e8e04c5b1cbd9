"""One installation, opened: its configuration, its ledger, its secrets, its clock and who asks."""

import getpass
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from standfast.config import Config, load
from standfast.errors import ConfigurationError
from standfast.evidence import Custody
from standfast.ledger import Ledger, opened
from standfast.ledger.incidents import IncidentRow
from standfast.records import Mode
from standfast.secrets import Resolver, SystemResolver

if TYPE_CHECKING:
    from standfast.outside import Outside

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def os_user() -> str:
    """Name the operating system's user: who acted when nobody signed in."""
    try:
        return f"os:{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"os:{os.getuid()}@{socket.gethostname()}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Everything that a use-case stands on."""

    config: Config
    ledger: Ledger
    resolver: Resolver
    clock: Clock
    actor: str  # who asks, for the timeline: "os:root@host" or a person's name

    def outside(self, incident: IncidentRow) -> "Outside":
        """Give what this incident may reach, by its mode and by nothing else."""
        custody = Custody(
            incident=incident.id,
            collector=self.actor,
            reason=f"incident {incident.id}, {incident.scenario}",
            folder=self.config.custody.folder / incident.id,
        )
        notice_of = self.ledger.incidents.notice
        config = _as_frozen(self.config, incident.connectors)
        if incident.mode is Mode.EXERCISE:
            from standfast.outside.exercise import Exercise

            return Exercise(
                config,
                custody,
                notice_of,
                accounts=_accounts_of(incident),
                locked=self.ledger.effects.locked_targets(incident.id),
            )
        from standfast.outside.live import Live  # templates and mail: a backup needs neither

        return Live(
            config,
            custody,
            notice_of,
            mode=incident.mode,
            resolver=self.resolver,
            clock=self.clock,
        )

    def reader(self) -> "Outside":
        """Give what a plan may reach: everything, to read."""
        custody = Custody(
            incident="plan",
            collector=self.actor,
            reason="plan",
            folder=self.config.custody.folder / "plan",
        )
        from standfast.outside.live import Live

        return Live(
            self.config,
            custody,
            self.ledger.incidents.notice,
            mode=Mode.PLAN,
            resolver=self.resolver,
            clock=self.clock,
        )


@contextmanager
def open_place(
    config_file: Path,
    *,
    env: Mapping[str, str],
    clock: Clock = system_clock,
    actor: str | None = None,
    resolver: Resolver | None = None,
) -> Iterator[Place]:
    """Open the installation that a configuration file describes."""
    config = load(config_file)
    resolver = resolver or SystemResolver(env=env, base_dir=config.folder)
    url = ledger_url(config, resolver)
    with opened(url, config.ledger.keys, config.ledger.witness) as ledger:
        yield Place(
            config=config,
            ledger=ledger,
            resolver=resolver,
            clock=clock,
            actor=actor or os_user(),
        )


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


def _as_frozen(config: Config, adapters: Sequence[str]) -> Config:
    """Leave out the adapters that were not there when the incident opened.

    What was planned and approved went through those; a directory that somebody adds meanwhile is
    for the next incident.
    """
    return config.model_copy(
        update={
            section: {
                name: settings
                for name, settings in getattr(config, section).items()
                if f"{section}.{name}" in adapters
            }
            for section in ("accounts", "evidence", "senders")
        }
    )


def _accounts_of(incident: IncidentRow) -> list[str]:
    """Give every account that the incident's inputs name, as people wrote it."""
    return [
        name
        for value in incident.inputs.values()
        if isinstance(value, list)
        for name in value
        if isinstance(name, str)
    ]
