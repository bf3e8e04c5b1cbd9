"""Schema of `standfast.toml`: `Config` and sections without an adapter.

`loader.py` reads the file; `reference_page.py`, `json_schema.py` and `default_file.py` generate
their output from this schema.

Rules
- Every key has a description and an example, since the documentation and the file that
  `standfast init` writes are generated from them.
- No value here is a secret: secrets are named by a `SecretReference`.
- `loader.py` checks the keys that name another section of the file (a set, a service, a sender).
"""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr

from standfast.config.base_section import Section
from standfast.config.sections.accounts import AccountsConfig
from standfast.config.sections.audiences import AudienceConfig
from standfast.config.sections.backup import BackupConfig
from standfast.config.sections.deadlines import ContractConfig, DeadlinesConfig
from standfast.config.sections.evidence import CustodyConfig, EvidenceConfig
from standfast.config.sections.notices import NoticesConfig
from standfast.config.sections.password_rotation import RotationConfig
from standfast.config.sections.procedures import CommandConfig, ProcedureName, RequestConfig
from standfast.config.sections.senders import SenderConfig
from standfast.config.sections.services import ServiceConfig
from standfast.config.sections.triggers import AnyTriggerConfig, Network, TriggerName
from standfast.config.value_types import (
    AccountName,
    Count,
    DatabaseUrl,
    Items,
    Language,
    Line,
    Name,
    Place,
    Port,
    Rung,
    SecretReference,
    TimeZone,
    WebAddress,
)

# `standfast init` writes these if no value is given; they must never reach a customer.
NAME_PLACEHOLDER = "Our contact centre"
CONTACT_PLACEHOLDER = "the telephone number that you already have from us"


class OrganisationConfig(Section):
    """Your organisation, as notices and reports name it."""

    name: Line = Field(
        description="The name that people know you by.", examples=["Example Contact Centres"]
    )
    contact_line: Line = Field(
        description="How people reach you by a way that they know already. Notices carry it "
        "instead of a link.",
        examples=["+44 20 7946 0000, the number on your card"],
    )
    contact_lines: Mapping[Language, Line] = Field(
        default={},
        description="The same in your other languages: who reads one that is not here reads "
        "`contact_line`.",
        examples=[{"es": "+44 20 7946 0000, el número de su tarjeta"}],
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="For schedules, and for times shown to people. What is stored is UTC.",
        examples=["Europe/London"],
    )
    languages: Annotated[Items[Language], Field(min_length=1)] = Field(
        default=("en",),
        description="Your languages (BCP 47). The first is used for people whose language is not "
        "known.",
        examples=[["en", "es"]],
    )

    @property
    def contact_by_language(self) -> str | Mapping[str, str]:
        """Return one contact line for all recipients, or one for each language."""
        if not self.contact_lines:
            return self.contact_line
        return {self.languages[0]: self.contact_line, **self.contact_lines}

    def contact_for(self, language: str) -> str:
        """Return the contact line for a language."""
        return self.contact_lines.get(language, self.contact_line)

    @property
    def placeholders(self) -> Mapping[str, str]:
        """Return the settings that still have the value of `standfast init`.

        The result maps the name of a value in notices to the key of its setting.
        """
        found = {}
        if self.name.casefold() == NAME_PLACEHOLDER.casefold():
            found["organisation"] = "organisation.name"
        for key, line in {"": self.contact_line, **self.contact_lines}.items():
            if line.casefold() == CONTACT_PLACEHOLDER.casefold():
                name = f"contact_lines.{key}" if key else "contact_line"
                found.setdefault("contact_line", f"organisation.{name}")
        return found


class LedgerConfig(Section):
    """The record of decisions, actions and evidence."""

    url: DatabaseUrl = Field(
        default="sqlite:///ledger.db",
        description="The database. SQLite needs nothing more; PostgreSQL carries many runners. "
        "`standfast init` on the place's folder makes a ledger in a database that has none.",
        examples=["postgresql+psycopg://standfast@db.example.com/standfast"],
    )
    password: SecretReference | None = Field(
        default=None,
        description="The database's password, for PostgreSQL.",
        examples=["env:STANDFAST_LEDGER_PASSWORD"],
    )
    keys: Place = Field(
        default=Path("keys/ledger"),
        description="The folder with the keys of the personal columns. Outside the ledger and "
        "its backups: to erase a key is to erase those people.",
        examples=["/etc/standfast/ledger-keys"],
    )
    witness: Place = Field(
        default=Path("witness.jsonl"),
        description="Where signed heads of the audit chain go. Best outside this machine: it is "
        "what shows a history that was rewritten.",
        examples=["/mnt/witness/ledger.jsonl"],
    )


class DrillsConfig(Section):
    """The folder and the identity of restore drills."""

    folder: Place = Field(
        default=Path("drills"),
        description="The folder that drills restore into; each one's target is destroyed after it.",
        examples=["/var/lib/standfast/drills"],
    )
    loads_databases: bool = Field(
        default=True,
        description="Load dumps into throwaway servers. They need the disk space of the databases, "
        "and the server programs; docs/drills.md explains it.",
        examples=[False],
    )
    identity: SecretReference | None = Field(
        default=None,
        description="A custodian's identity, for drills that nobody attends: with it `standfast "
        "serve` drills each set on Sundays at 05:00. It opens backups: never on the backup host. "
        "Without it a drill asks for the identity's file.",
        examples=["file:keys/custodian.txt"],
    )


class PlaybooksConfig(Section):
    """Your own playbooks, in addition to the shipped ones."""

    folder: Place | None = Field(
        default=None,
        description="A folder with your own playbooks; one named like a shipped one replaces it.",
        examples=["playbooks"],
    )


class ProtectedConfig(Section):
    """Accounts that no playbook may ever lock."""

    accounts: Mapping[AccountName, Line] = Field(
        default={},
        description='`"DIRECTORY:ACCOUNT"` and the reason: responders, break-glass and service '
        "accounts.",
        examples=[{"staff:break-glass": "the way in when all else is locked"}],
    )


class LimitsConfig(Section):
    """Limits of the actions that one person may do without a second."""

    accounts_without_second_person: Count = Field(
        default=200,
        description="An incident that would lock more accounts than this, or sign more out or give "
        "more a new password, needs a second person.",
        examples=[200],
    )
    accounts_by_directory: Mapping[Name, Count] = Field(
        default={},
        description="The same for single directories, by name: locking more accounts there than "
        "this needs a second person, whatever the whole incident comes to.",
        examples=[{"staff": 20}],
    )


class ApprovalsConfig(Section):
    """Escalation of steps that wait for approval and get no answer."""

    ladder: Items[Rung] = Field(
        default=(),
        description="Unanswered for as long as the playbook says, the people of these roles are "
        "paged, one after the other; `person:NAME` is one person. Whoever is reached may approve "
        "as well, from then on. At last everybody else who is enrolled is told.",
        examples=[["duty-manager", "head-of-operations", "person:dana"]],
    )
    break_glass: bool = Field(
        default=True,
        description="One person alone may let a step contain, where nobody else answers: everybody "
        "is told, and it begins ten minutes later unless somebody refuses it. What cannot be taken "
        "back, and giving access back, always takes its approvals.",
        examples=[False],
    )


class ServeConfig(Section):
    """Settings of `standfast serve`, its console and Prefect."""

    host: Line = Field(
        default="127.0.0.1",
        description="The address that the console listens on.",
        examples=["127.0.0.1"],
    )
    port: Port = Field(default=8350, description="Its port.", examples=[8350])
    trusted_proxies: Items[Network] = Field(
        default=(),
        description="Reverse proxies whose `X-Forwarded-For` is believed, and whose word about a "
        "client's certificate is.",
        examples=[["127.0.0.1/32"]],
    )
    console: WebAddress | None = Field(
        default=None,
        description="Where people reach the console, to look at incidents, answer and sign by "
        "phone: a proxy there speaks TLS and hands `/console` on. Without it there is no console.",
        examples=["https://standfast.example.com"],
    )
    prefect: WebAddress | None = Field(
        default=None,
        description="The API of a Prefect server that runs already; one is started without it. Let "
        "it ask for a password (`PREFECT_SERVER_API_AUTH_STRING`), which `serve` is given as "
        "`PREFECT_API_AUTH_STRING`: who may change its deployments has any command run here.",
        examples=["http://127.0.0.1:4200/api"],
    )
    prefect_home: Place = Field(
        default=Path("prefect"),
        description="The folder of the Prefect server that is started here.",
        examples=["/var/lib/standfast/prefect"],
    )


class Config(Section):
    """The whole of `standfast.toml`."""

    organisation: OrganisationConfig = Field(description="Who you are.")
    ledger: LedgerConfig = Field(default={}, validate_default=True, description="The record.")
    backup: BackupConfig = Field(
        default={}, validate_default=True, description="The encrypted repository."
    )
    drills: DrillsConfig = Field(default={}, validate_default=True, description="Restore drills.")
    services: Mapping[Name, ServiceConfig] = Field(
        default={}, description="What the business needs back."
    )
    accounts: Mapping[Name, AccountsConfig] = Field(
        default={}, description="Directories of accounts that can be locked."
    )
    protected: ProtectedConfig = Field(
        default={}, validate_default=True, description="What is never locked."
    )
    limits: LimitsConfig = Field(
        default={}, validate_default=True, description="What needs a second person."
    )
    rotation: RotationConfig | None = Field(
        default=None, description="Who may open the new passwords of accounts."
    )
    approvals: ApprovalsConfig = Field(
        default={}, validate_default=True, description="Who is asked when nobody answers."
    )
    commands: Mapping[ProcedureName, CommandConfig] = Field(
        default={}, description="Commands that playbooks may run."
    )
    requests: Mapping[ProcedureName, RequestConfig] = Field(
        default={}, description="HTTP requests that playbooks may send."
    )
    evidence: Mapping[Name, EvidenceConfig] = Field(
        default={}, description="What is frozen as evidence."
    )
    custody: CustodyConfig = Field(
        default={}, validate_default=True, description="Where evidence lies."
    )
    senders: Mapping[Name, SenderConfig] = Field(default={}, description="Through what notices go.")
    audiences: Mapping[Name, AudienceConfig] = Field(default={}, description="Whom they reach.")
    notices: NoticesConfig = Field(
        default={}, validate_default=True, description="How notices go out."
    )
    playbooks: PlaybooksConfig = Field(
        default={}, validate_default=True, description="Your playbooks."
    )
    deadlines: DeadlinesConfig = Field(
        default={},
        validate_default=True,
        description="Which laws on telling of a breach may bind you.",
    )
    contracts: Mapping[Name, ContractConfig] = Field(
        default={}, description="How soon clients are told, by their agreements."
    )
    triggers: Mapping[TriggerName, AnyTriggerConfig] = Field(
        default={}, description="What opens an incident from outside."
    )
    serve: ServeConfig = Field(default={}, validate_default=True, description="The warm process.")

    _folder: Path = PrivateAttr(default=Path())
    _fingerprint: str = PrivateAttr(default="")

    @property
    def folder(self) -> Path:
        """The folder that relative paths and `file:` references start at."""
        return self._folder

    @property
    def fingerprint(self) -> str:
        """Identifier of this content in this folder; empty without a file."""
        return self._fingerprint

    def read_from(self, content: bytes, path: Path) -> None:
        """Record the file that the configuration was read from."""
        file = path.absolute()
        self._folder = file.parent
        self._fingerprint = sha256(os.fsencode(file) + b"\0" + content).hexdigest()
