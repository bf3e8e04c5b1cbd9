"""Schema: `Config`, organisation, ledger, limits, approvals, `serve`.

`loader.py` reads the file; `reference_page.py`, `json_schema.py` and `default_file.py` generate
their output from this schema.

Rules
- Every key has a description, and an example unless its default serves as one: the documentation
  and the file that `standfast init` writes are generated from them.
- No value here is a secret: secrets are named by a `SecretReference`.
- `cross_references.py` checks the keys that name another section of the file, such as a service.
"""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from standfast.config.base_section import Section
from standfast.config.sections.accounts import AccountsConfig
from standfast.config.sections.audiences import AudienceConfig
from standfast.config.sections.backup import BackupConfig
from standfast.config.sections.continuity import ContinuityConfig
from standfast.config.sections.deadlines import ContractConfig, DeadlinesConfig
from standfast.config.sections.drills import DrillsConfig
from standfast.config.sections.evidence import CustodyConfig
from standfast.config.sections.evidence_sources import EvidenceConfig
from standfast.config.sections.monitoring import HeartbeatsConfig, IncidentEventsConfig
from standfast.config.sections.notices import NoticesConfig
from standfast.config.sections.on_call import OnCallConfig
from standfast.config.sections.password_rotation import RotationConfig
from standfast.config.sections.procedures import CommandConfig, ProcedureName, RequestConfig
from standfast.config.sections.review import ReviewConfig
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
    RoleOrPerson,
    SecretReference,
    TimeZone,
    WebAddress,
)

# `standfast init` writes these placeholders if no value is given; no customer may receive them.
NAME_PLACEHOLDER = "Our contact centre"
CONTACT_PLACEHOLDER = "the telephone number that you already have from us"

ServeRole = Literal["all", "api", "watch", "respond", "worker", "drills"]


class OrganisationConfig(Section):
    """Your organisation, as notices and reports name it."""

    name: Line = Field(
        description="The name by which people know you.", examples=["Example Contact Centres"]
    )
    contact_line: Line = Field(
        description="How people can reach you, by a contact that they already know. Notices "
        "contain it instead of a link.",
        examples=["+44 20 7946 0000, the number on your card"],
    )
    contact_lines: Mapping[Language, Line] = Field(
        default={},
        description="The contact line in your other languages. Readers of a language that is "
        "missing here get `contact_line`.",
        examples=[{"es": "+44 20 7946 0000, el número de su tarjeta"}],
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="The time zone of schedules and of times that are shown to people. Stored "
        "times are UTC.",
        examples=["Europe/London"],
    )
    languages: Annotated[Items[Language], Field(min_length=1)] = Field(
        default=("en",),
        description="Your languages (BCP 47). The first one is for people whose language is "
        "not known.",
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
        """Return the settings that still have a placeholder of `standfast init`.

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
    """The ledger: the database of what was decided, done and proven."""

    url: DatabaseUrl = Field(
        default="sqlite:///ledger.db",
        description="The database. SQLite needs nothing else; a ledger in PostgreSQL can be "
        "shared by several hosts. If the database is empty, `standfast init` on the "
        "installation's folder creates the ledger.",
        examples=["postgresql+psycopg://standfast@db.example.com/standfast"],
    )
    password: SecretReference | None = Field(
        default=None,
        description="The password of the database, for PostgreSQL.",
        examples=["env:STANDFAST_LEDGER_PASSWORD"],
    )
    keys: Place = Field(
        default=Path("keys/ledger"),
        description="The folder with the keys of the personal columns, outside the ledger and "
        "its backups. Deleting a key erases the personal data that the key encrypts.",
        examples=["/etc/standfast/ledger-keys"],
    )
    witness: Place = Field(
        default=Path("witness.jsonl"),
        description="The file for signed heads of the audit chain, preferably on another "
        "machine: it reveals a history that was rewritten.",
        examples=["/mnt/witness/ledger.jsonl"],
    )


class PlaybooksConfig(Section):
    """Your own playbooks, in addition to the shipped ones."""

    folder: Place | None = Field(
        default=None,
        description="A folder with your own playbooks. A playbook with the name of a shipped "
        "one replaces it.",
        examples=["playbooks"],
    )


class ProtectedConfig(Section):
    """Accounts that no playbook may ever lock."""

    accounts: Mapping[AccountName, Line] = Field(
        default={},
        description='`"DIRECTORY:ACCOUNT"` and the reason, for example for responders, '
        "break-glass accounts and service accounts.",
        examples=[{"staff:break-glass": "the way in when all else is locked"}],
    )


class LimitsConfig(Section):
    """Limits of the actions of one person alone."""

    accounts_without_second_person: Count = Field(
        default=200,
        description="The number of accounts that one person may lock, sign out or give a new "
        "password within 24 hours, in all incidents. Above this number, a second person must "
        "approve.",
    )
    accounts_by_directory: Mapping[Name, Count] = Field(
        default={},
        description="The same limit for single directories, by name. It applies in addition to "
        "the limit for all directories.",
        examples=[{"staff": 20}],
    )


class ApprovalsConfig(Section):
    """Escalation of steps that wait for approval and get no answer."""

    ladder: Items[RoleOrPerson] = Field(
        default=(),
        description="The roles that are paged one after the other if an approval is not given in "
        "the time that the playbook states; `person:NAME` means one person. The people that are "
        "paged may also approve. After the last role, all other enrolled people are paged.",
        examples=[["duty-manager", "head-of-operations", "person:dana"]],
    )
    break_glass: bool = Field(
        default=True,
        description="Permit break-glass approvals: one person alone approves a containment "
        "step, everybody is notified, and the step begins ten minutes later unless somebody "
        "refuses it. Irreversible steps, and undos, always need their approvals.",
        examples=[False],
    )


class ServeConfig(Section):
    """Settings of `standfast serve`, its console and Prefect."""

    host: Line = Field(
        default="127.0.0.1", description="The address on which the HTTP server listens."
    )
    port: Port = Field(default=8350, description="The port.")
    trusted_proxies: Items[Network] = Field(
        default=(),
        description="Reverse proxies whose `X-Forwarded-For` and client certificate headers "
        "are trusted.",
        examples=[["127.0.0.1/32"]],
    )
    console: WebAddress | None = Field(
        default=None,
        description="The public address of the console, on which people read incidents, answer "
        "and sign by phone. A TLS proxy at this address forwards `/console`. Without it there is "
        "no console.",
        examples=["https://standfast.example.com"],
    )
    metrics_tokens: Annotated[Items[SecretReference], Field(max_length=2)] = Field(
        default=(),
        description="The bearer token, of at least 24 characters, with which Prometheus reads "
        "`/metrics`, or two tokens while one replaces the other. Without a token there are no "
        "metrics.",
        examples=[["file:keys/metrics-token"]],
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="The form of the log on standard error: lines for people, or one JSON "
        "object for each line. Neither form contains secrets or mail addresses.",
        examples=["json"],
    )
    prefect: WebAddress | None = Field(
        default=None,
        description="The API of an existing Prefect server, which several hosts may share "
        "(deploy/site/README.md). Default: `serve` starts one. "
        "Protect it with a password (`PREFECT_SERVER_API_AUTH_STRING`), which `serve` receives "
        "as `PREFECT_API_AUTH_STRING`: anybody that may change its deployments can run any "
        "command here. Never set it on a machine with `drills.identity`.",
        examples=["http://127.0.0.1:4200/api"],
    )
    hosts: Mapping[Line, Annotated[Items[ServeRole], Field(min_length=1)]] = Field(
        default={},
        description="The machines that must run `standfast serve`, by their `hostname`, and the "
        "roles of each (`standfast serve --role`). People are notified if a machine has not been "
        "seen for 15 minutes, or was never seen. Use the same list on all hosts.",
        examples=[{"host-1": ["all"], "host-2": ["worker", "respond"]}],
    )
    prefect_home: Place = Field(
        default=Path("prefect"),
        description="The folder of the Prefect server that `serve` starts.",
        examples=["/var/lib/standfast/prefect"],
    )


class Config(Section):
    """The whole of `standfast.toml`."""

    organisation: OrganisationConfig = Field(description="Your organisation.")
    ledger: LedgerConfig = Field(default={}, validate_default=True, description="The ledger.")
    backup: BackupConfig = Field(
        default={}, validate_default=True, description="The encrypted repository."
    )
    drills: DrillsConfig = Field(default={}, validate_default=True, description="Restore drills.")
    heartbeats: HeartbeatsConfig = Field(
        default={}, validate_default=True, description="Heartbeats of backups and drills."
    )
    incident_events: Mapping[Name, IncidentEventsConfig] = Field(
        default={}, description="Systems that receive events of live incidents."
    )
    services: Mapping[Name, ServiceConfig] = Field(
        default={}, description="Services and their recovery objectives."
    )
    continuity: ContinuityConfig = Field(
        default={},
        validate_default=True,
        description="Attestations, and the calendar of drills, exercises and attestations.",
    )
    accounts: Mapping[Name, AccountsConfig] = Field(
        default={}, description="Directories of accounts that can be locked."
    )
    protected: ProtectedConfig = Field(
        default={}, validate_default=True, description="Accounts that no playbook may lock."
    )
    limits: LimitsConfig = Field(
        default={}, validate_default=True, description="Limits of what one person may do alone."
    )
    rotation: RotationConfig | None = Field(
        default=None, description="Recipients of new passwords."
    )
    approvals: ApprovalsConfig = Field(
        default={}, validate_default=True, description="Escalation of approvals that nobody gives."
    )
    on_call: OnCallConfig = Field(
        default={}, validate_default=True, description="Pages until somebody acknowledges."
    )
    commands: Mapping[ProcedureName, CommandConfig] = Field(
        default={}, description="Commands that playbooks and hooks of backups may run."
    )
    requests: Mapping[ProcedureName, RequestConfig] = Field(
        default={}, description="HTTP requests that playbooks and events may send."
    )
    evidence: Mapping[Name, EvidenceConfig] = Field(default={}, description="Sources of evidence.")
    custody: CustodyConfig = Field(
        default={}, validate_default=True, description="Storage of evidence."
    )
    review: ReviewConfig = Field(
        default={}, validate_default=True, description="Detections in frozen logs."
    )
    senders: Mapping[Name, SenderConfig] = Field(default={}, description="Senders of notices.")
    audiences: Mapping[Name, AudienceConfig] = Field(
        default={}, description="Audiences of notices."
    )
    notices: NoticesConfig = Field(
        default={}, validate_default=True, description="Sending of notices."
    )
    playbooks: PlaybooksConfig = Field(
        default={}, validate_default=True, description="Your own playbooks."
    )
    deadlines: DeadlinesConfig = Field(
        default={},
        validate_default=True,
        description="Laws on breach notification that may apply to you.",
    )
    contracts: Mapping[Name, ContractConfig] = Field(
        default={}, description="Clients' agreements with a time limit for notifying the client."
    )
    triggers: Mapping[TriggerName, AnyTriggerConfig] = Field(
        default={}, description="Triggers that open incidents from outside."
    )
    serve: ServeConfig = Field(
        default={}, validate_default=True, description="The process `standfast serve`."
    )

    _folder: Path = PrivateAttr(default=Path())
    _fingerprint: str = PrivateAttr(default="")

    @property
    def folder(self) -> Path:
        """The folder at which relative paths and `file:` references start."""
        return self._folder

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file's path and content, in hex; "" without a file."""
        return self._fingerprint

    def read_from(self, content: bytes, path: Path) -> None:
        """Record the file that the configuration was read from."""
        file = path.absolute()
        self._folder = file.parent
        self._fingerprint = sha256(os.fsencode(file) + b"\0" + content).hexdigest()
