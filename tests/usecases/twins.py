"""Live installation with scriptable simulators instead of systems.

Wire formats and answers of real systems are tested in test_lifecycle and tests/adapters. The ledger
is real, on the database that the test names.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path

import pytest

from standfast import retry_rules
from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.adapters.evidence_sources.simulator import SimulatedEvidenceSource
from standfast.adapters.factory import Adapters, NoticeOf
from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.simulator import SimulatedProcedure
from standfast.adapters.senders import Sender
from standfast.adapters.senders.simulator import SimulatedSender
from standfast.config import Config
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Recipient
from standfast.records import Limits, Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle as incident
from standfast.usecases.incidents.outcome import Outcome
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

ACCOUNTS = tuple(f"agent{number:02}" for number in range(1, 6))


def twin_directory(*names: str, limits: Limits | None = None) -> SimulatedConnector:
    """Return a directory that answers at once, so that tests do not wait."""
    return SimulatedConnector(
        "agents",
        dict.fromkeys(names or ACCOUNTS, True),
        limits=limits or Limits(batch=2, workers=2, timeout_seconds=0.05),
        retry_after_seconds=0.01,
    )


@dataclass
class Twins:
    """The simulated systems outside Standfast."""

    directory: Connector = field(default_factory=twin_directory)
    mail: SimulatedSender = field(
        default_factory=lambda: SimulatedSender(
            name="mail", limits=Limits(batch=2, workers=2, timeout_seconds=0.05)
        )
    )
    procedures: dict[str, SimulatedProcedure] = field(default_factory=dict)
    audiences: dict[str, int] = field(default_factory=lambda: {"staff": 2, "customers": 4})

    def told(self, address: str) -> int:
        """Return the number of messages to one address."""
        return sum(message.address == address for message in self.mail.messages)


class TwinAdapters(Adapters):
    """The adapters of a live incident, all of them simulators."""

    def __init__(
        self, config: Config, custody: Custody, notice_of: NoticeOf, mode: Mode, twins: Twins
    ) -> None:
        super().__init__(config, custody, notice_of)
        self.mode = mode
        self._twins = twins

    def _build_connector(self, name: str) -> Connector:
        return self._twins.directory

    def _build_source(self, name: str) -> EvidenceSource:
        return SimulatedEvidenceSource(name=name)

    def _build_sender(self, name: str) -> Sender:
        return self._twins.mail

    def _build_procedure(self, name: str) -> Procedure:
        return self._twins.procedures.setdefault(
            name,
            SimulatedProcedure(name, limits=Limits(batch=2, workers=2, timeout_seconds=0.05)),
        )

    def _read_audience(self, name: str) -> Audience:
        return Audience(
            recipients=tuple(
                Recipient(key=str(n), address=f"{name}{n}@example.net", name=f"Person {n}")
                for n in range(1, self._twins.audiences[name] + 1)
            )
        )


@dataclass(frozen=True, kw_only=True)
class SimulatedInstallation(Installation):
    """An installation with live incidents that reach simulators."""

    twins: Twins

    def adapters_for(self, incident: IncidentRow) -> Adapters:
        if incident.mode is Mode.EXERCISE:
            return super().adapters_for(incident)
        custody = Custody(
            incident=incident.id, collector="test", reason="test", folder=Path("unused")
        )
        notice_of = self.ledger.incidents.notice
        return TwinAdapters(self.config, custody, notice_of, incident.mode, self.twins)

    def open(
        self,
        scenario: str,
        accounts: Sequence[str] = ("agents:agent01",),
        *,
        mode: Mode = Mode.LIVE,
        opened_by: str | None = "dana",
        trigger: str | None = None,
    ) -> str:
        """Open an incident as dana, signed in; return its id."""
        opened = incident.open_incident(
            self,
            scenario,
            {"accounts": list(accounts)},
            mode=mode,
            opened_by=opened_by,
            trigger=trigger,
        )
        return opened.incident

    def advance(self, incident_id: str) -> Outcome:
        return incident.advance(self, incident_id, "direct")

    def run(self, scenario: str, accounts: Sequence[str] = ("agents:agent01",)) -> str:
        """Open an incident and run it; return its id."""
        case = self.open(scenario, accounts)
        self.advance(case)
        return case

    @property
    def directory(self) -> SimulatedConnector:
        """Return the directory of an installation with the usual simulator."""
        assert isinstance(self.twins.directory, SimulatedConnector)
        return self.twins.directory

    def is_enabled(self, name: str) -> bool:
        return self.directory.is_enabled(name)

    def advance_while_it_dies(self, case: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Advance while a directory is away, from its `verb` until its return.

        The runner must end although the directory is still away.
        """
        directory = self.directory
        act = getattr(directory, f"_{verb}")

        def act_and_die(orders: object) -> object:
            results = act(orders)
            directory.go_away()
            return results

        with monkeypatch.context() as patched:
            patched.setattr(retry_rules, "LONGEST_WAIT", timedelta(seconds=0.3))
            patched.setattr(directory, f"_{verb}", act_and_die)
            runner = threading.Thread(target=self.advance, args=(case,), daemon=True)
            runner.start()
            runner.join(120)
            assert not runner.is_alive(), "the runner sits and asks"
        directory.come_back()


@contextmanager
def simulated_installation(
    folder: Path,
    ledger_url: str = "sqlite:///ledger.db",
    twins: Twins | None = None,
    *,
    playbooks: Sequence[str] = (),
    smtp_port: int = 9,
) -> Iterator[SimulatedInstallation]:
    """Open an installation on this database, with three people.

    They are dana, lee and kim. `playbooks` are texts in addition to the shipped ones.
    """
    config_file = furnish(folder, ledger_url=ledger_url, smtp_port=smtp_port)
    if playbooks:
        add_playbooks(config_file, *playbooks)
    with installation_at(config_file) as installation:
        enrol_people(installation, *PASSPHRASES)
        known = {one.name: getattr(installation, one.name) for one in fields(Installation)}
        yield SimulatedInstallation(**known, twins=twins or Twins())


def add_playbooks(config_file: Path, *texts: str) -> None:
    """Add playbooks to an installation."""
    own = config_file.parent / "playbooks"
    own.mkdir()
    for text in texts:
        (name,) = re.findall(r"^playbook: (\S+)$", text, re.MULTILINE)
        (own / f"{name}.yaml").write_text(text)
    with config_file.open("a") as file:
        file.write('\n[playbooks]\nfolder = "playbooks"\n')
