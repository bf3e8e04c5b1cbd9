"""One small call centre for each kill, with real servers."""

import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from standfast import ledger
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation
from tests.kill.enrolled import enrol_everybody
from tests.kill.people import CONNECTOR, PASSWORD, Agents
from tests.kill.scenario import Case, go_on, run
from tests.kill.tracing import Death, in_own_process, traced_points
from tests.servers.sendgrid import KEY, SendGrid, running_sendgrid
from tests.servers.slapd import PEOPLE
from tests.servers.smtp import SmtpServer, running_smtp

KILLED = -9
CUSTOMERS = ("customer1@example.net", "customer2@example.net")
NO_ADDRESS = "customer3 at example.net"  # the planning of the notice refuses and names it
AUDIENCE = len(CUSTOMERS) + 1
# A call takes milliseconds; even on a busy machine it ends before this time.
TIMEOUT_SECONDS = 6

_SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000, the number on your card"

[ledger]
url = "{ledger_url}"

[playbooks]
folder = "playbooks"

[accounts.agents]
kind = "openldap"
host = "localhost"
port = {ldap_port}
tls = "none"
bind_dn = "{connector}"
password = "env:LDAP_PASSWORD"
base = "{people}"
timeout_seconds = {timeout}

[evidence.telephony]
kind = "files"
paths = ["logs"]

[senders.mail]
{sender}
sender_address = "security@example.com"
timeout_seconds = {timeout}

[audiences.customers]
kind = "csv"
path = "customers.csv"
why = "their record was open"

[notices]
sender = "mail"
abort_window_seconds = 0
"""
_SMTP = """
kind = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
"""
_SENDGRID = """
kind = "sendgrid"
key = "env:SENDGRID_KEY"
event_key = "env:SENDGRID_EVENTS"
url = "{url}"
"""


class Channel(Protocol):
    """Recipient of mail that counts its messages without Standfast."""

    @property
    def settings(self) -> str:
        """Return the lines of the configuration for this channel."""
        ...

    @property
    def env(self) -> dict[str, str]: ...

    def taken(self) -> Counter[str]:
        """Return the number of accepted messages for each address."""
        ...


@dataclass(frozen=True)
class Relay:
    """An SMTP relay without delivery events."""

    server: SmtpServer

    @property
    def settings(self) -> str:
        return _SMTP.format(port=self.server.port)

    @property
    def env(self) -> dict[str, str]:
        return {}

    def taken(self) -> Counter[str]:
        return Counter(mail.recipients[0] for mail in self.server.delivered)


@dataclass(frozen=True)
class Grid:
    """An account at SendGrid with events of accepted messages."""

    account: SendGrid

    @property
    def settings(self) -> str:
        return _SENDGRID.format(url=self.account.url)

    @property
    def env(self) -> dict[str, str]:
        return {"SENDGRID_KEY": KEY, "SENDGRID_EVENTS": self.account.event_key}

    def taken(self) -> Counter[str]:
        return Counter(mail.address for mail in self.account.taken)


@contextmanager
def running_channel(kind: str) -> Iterator[Channel]:
    """Run one of `smtp` and `sendgrid`."""
    if kind == "smtp":
        with running_smtp() as server:
            yield Relay(server)
    else:
        with running_sendgrid() as account:
            yield Grid(account)


@dataclass(kw_only=True)
class World:
    """One call centre with its breach and its external systems."""

    case: Case
    installation: Installation  # as the test opens it
    agents: Agents
    channel: Channel

    def run(self, death: Death | None) -> int:
        """Run the incident as the command line does, in a process that may die."""
        return in_own_process(run, self.case, death)

    def go_on(self) -> None:
        """Prepare the world for the next `serve`."""
        assert in_own_process(go_on, self.case) == 0

    @property
    def trace(self) -> list[str]:
        return traced_points(self.case.log)


def furnish(folder: Path, ledger_url: str = "sqlite:///ledger.db") -> None:
    """Write an installation with enrolled people, to copy for each kill."""
    (folder / "logs").mkdir(parents=True)
    (folder / "logs/sign-in.log").write_text("2026-11-25T02:13:00Z agent0 signed in\n")
    shutil.copytree(Path(__file__).parent / "playbooks", folder / "playbooks")
    people = (*CUSTOMERS, NO_ADDRESS)
    with (folder / "customers.csv").open("w") as file:
        rows = [("email", "name", "language"), *((one, "Ada", "en") for one in people)]
        csv.writer(file).writerows(rows)
    (folder / "keys").mkdir()
    (folder / "keys/evidence-seal.key").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    url = ledger_url.replace("sqlite:///", f"sqlite:///{folder}/")
    ledger.create(url, folder / "keys/ledger", folder / "witness.jsonl", datetime.now(UTC))
    config_file = configure(folder, ledger_url, ldap_port=9, sender=_SMTP.format(port=9))
    with open_installation(config_file, env={}, actor="os:test") as installation:
        enrol_everybody(installation)


def configure(folder: Path, ledger_url: str, *, ldap_port: int, sender: str) -> Path:
    """Write the configuration of an installation; return the file."""
    config_file = folder / "standfast.toml"
    config_file.write_text(
        _SETTINGS.format(
            ledger_url=ledger_url,
            ldap_port=ldap_port,
            connector=CONNECTOR,
            people=PEOPLE,
            sender=sender.strip(),
            timeout=TIMEOUT_SECONDS,
        )
    )
    return config_file


class NewWorld(Protocol):
    """A factory of worlds by name and channel; see `fresh_world`."""

    def __call__(
        self, name: str, *, kind: str = "smtp", scenario: str = "small"
    ) -> AbstractContextManager[World]: ...


@contextmanager
def fresh_world(
    folder: Path,
    furnished: Path,
    agents: Agents,
    kind: str,
    *,
    scenario: str = "small",
    ledger_url: str = "sqlite:///ledger.db",
) -> Iterator[World]:
    """Copy the installation into `folder`, with new agents and channel."""
    shutil.copytree(furnished, folder)
    first, second = agents.hire(2)
    with running_channel(kind) as channel:
        config_file = configure(
            folder, ledger_url, ldap_port=agents.slapd.port, sender=channel.settings
        )
        case = Case(
            config_file=config_file,
            accounts=(first, second),
            env={"LDAP_PASSWORD": PASSWORD, **channel.env},
            scenario=scenario,
        )
        with case.installation() as installation:
            yield World(case=case, installation=installation, agents=agents, channel=channel)
    shutil.rmtree(folder)
