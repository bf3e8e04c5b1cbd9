"""One installation, opened: its configuration, its ledger, its secrets, its clock and who asks."""

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from standfast.config import Config, load
from standfast.errors import ConfigurationError
from standfast.evidence import Custody
from standfast.host_name import host_name, shown
from standfast.ledger.lazily import LazyLedger, Runs
from standfast.records import Mode, Now
from standfast.secrets import Resolver, SystemResolver

if TYPE_CHECKING:
    from standfast.ledger import Ledger
    from standfast.ledger.incidents import IncidentRow
    from standfast.outside import Outside
    from standfast.outside.audiences import Restored


def system_clock() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def os_user() -> str:
    """Name the operating system's user: who acted when nobody signed in."""
    try:
        return f"os:{shown(getpass.getuser())}@{host_name()}"
    except (KeyError, OSError):
        return f"os:{os.getuid()}@{host_name()}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Everything that a use-case stands on."""

    config: Config
    opened: LazyLedger
    resolver: Resolver
    clock: Now
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
        from standfast.operations.evidence_copy import elsewhere
        from standfast.operations.own_acts import own_acts
        from standfast.outside.live import Live  # templates and mail: a backup needs neither

        return Live(
            config,
            custody,
            notice_of,
            mode=incident.mode,
            resolver=self.resolver,
            clock=self.clock,
            restored=self._restored(incident.id),
            own=own_acts(self, incident.id, incident.opened_by),
            configured=self.config,
            elsewhere=elsewhere(self.config, self.resolver, self.clock),
        )

    def reader(self) -> "Outside":
        """Give what a plan may reach: everything, to read."""
        return self._beside_incidents("plan", Mode.PLAN)

    def teller(self) -> "Outside":
        """Give what an alarm may reach that belongs to no incident: the channels to people."""
        return self._beside_incidents("alarm", Mode.LIVE)

    def _beside_incidents(self, name: str, mode: Mode) -> "Outside":
        custody = Custody(
            incident=name,
            collector=self.actor,
            reason=name,
            folder=self.config.custody.folder / name,
        )
        from standfast.operations.evidence_copy import elsewhere
        from standfast.operations.own_acts import own_acts
        from standfast.outside.live import Live

        return Live(
            self.config,
            custody,
            self.ledger.incidents.notice,
            mode=mode,
            resolver=self.resolver,
            clock=self.clock,
            restored=self._restored(None),
            own=own_acts(self, name, self.actor),
            elsewhere=elsewhere(self.config, self.resolver, self.clock),
        )

    def _restored(self, incident_id: str | None) -> "Restored":
        """Give how a file of a backup set comes back as it was before the incident, or now."""

        def restored(set_name: str, path: str) -> AbstractContextManager[Path]:
            from standfast.operations.audience_snapshots import file_before, incident_time

            moment = self.clock() if incident_id is None else incident_time(self, incident_id)
            return file_before(self, moment, set_name, path)

        return restored


@contextmanager
def open_place(
    config_file: Path,
    *,
    env: Mapping[str, str],
    clock: Now | None = None,
    actor: str | None = None,
    resolver: Resolver | None = None,
    needs_ledger: bool = True,
) -> Iterator[Place]:
    """Open the installation that a configuration file describes.

    Without a `clock` it goes by the machine's, or by that of the ledger's server where several
    hosts may share one. Unless it `needs_ledger`, one that does not answer shows only when it is
    asked.
    """
    config = load(config_file)
    resolver = resolver or SystemResolver(env=env, base_dir=config.folder)
    url = ledger_url(config, resolver)
    server = None
    if clock is None and not url.startswith("sqlite"):
        from standfast.ledger.server_clock import ServerClock  # with what a file does without

        server = ServerClock(system_clock)
    ledger = LazyLedger(
        url, config.ledger.keys, config.ledger.witness, server, opens_now=needs_ledger
    )
    with ledger as opened:
        yield Place(
            config=config,
            opened=opened,
            resolver=resolver,
            clock=clock or server or system_clock,
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
    kept = {
        section: {
            name: settings
            for name, settings in getattr(config, section).items()
            if f"{section}.{name}" in adapters
        }
        for section in ("accounts", "evidence", "senders", "commands", "requests")
    }
    return config.replaced(**kept)


def _accounts_of(incident: "IncidentRow") -> list[str]:
    """Give every account that the incident's inputs name, as people wrote it."""
    return [
        name
        for value in incident.inputs.values()
        if isinstance(value, list)
        for name in value
        if isinstance(name, str)
    ]
