"""`standfast.toml` as one type: `Config` and the sections that belong to no adapter.

Owns the shape of the file; `load.py` reads it, `document.py` and `default.py` write it down for
people.

Rules
- Every key has a description and an example, since the documentation and the file that
  `standfast init` writes are made from them.
- Nothing here is secret: a secret is a `SecretReference`.
- Keys that name something of this file (a set, a service, a sender) are checked by `load.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr

from standfast.config.accounts import AccountsConfig
from standfast.config.backup import BackupConfig
from standfast.config.evidence import CustodyConfig, EvidenceConfig
from standfast.config.fields import (
    FOLDER,
    AccountName,
    Count,
    DatabaseUrl,
    Language,
    Line,
    Name,
    Place,
    Port,
    SecretReference,
    Section,
    TimeZone,
    WebAddress,
)
from standfast.config.notices import AudienceConfig, NoticesConfig, SenderConfig
from standfast.config.services import ServiceConfig


class OrganisationConfig(Section):
    """Who you are, as notices and reports say it."""

    name: Line = Field(
        description="The name that people know you by.", examples=["Example Contact Centres"]
    )
    contact_line: Line = Field(
        description="How people reach you by a way that they know already. Notices carry it "
        "instead of a link.",
        examples=["+44 20 7946 0000, the number on your card"],
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="For schedules, and for times shown to people. What is stored is UTC.",
        examples=["Europe/London"],
    )
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = Field(
        default=("en",),
        description="Your languages (BCP 47). The first is used for people whose language is not "
        "known.",
        examples=[["en", "es"]],
    )


class LedgerConfig(Section):
    """The record of what was decided, done and proven."""

    url: DatabaseUrl = Field(
        default="sqlite:///ledger.db",
        description="The database. SQLite needs nothing more; PostgreSQL carries many runners.",
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
    """Where restore drills run, and with which identity."""

    folder: Place = Field(
        default=Path("drills"),
        description="The folder that drills restore into; each one's target is destroyed after it.",
        examples=["/var/lib/standfast/drills"],
    )
    identity: SecretReference | None = Field(
        default=None,
        description="A custodian's identity, for drills that nobody attends. It opens backups: "
        "never on the backup host. Without it a drill asks for the identity's file.",
        examples=["file:keys/custodian.txt"],
    )


class PlaybooksConfig(Section):
    """Your own playbooks, beside the shipped ones."""

    folder: Place | None = Field(
        default=None,
        description="A folder with your own playbooks; one named like a shipped one replaces it.",
        examples=["playbooks"],
    )


class ProtectedConfig(Section):
    """Accounts that no playbook may lock, whoever asks."""

    accounts: Mapping[AccountName, Line] = Field(
        default={},
        description='`"DIRECTORY:ACCOUNT"` and the reason: responders, break-glass and service '
        "accounts.",
        examples=[{"staff:break-glass": "the way in when all else is locked"}],
    )


class LimitsConfig(Section):
    """How much one person may do without a second."""

    accounts_without_second_person: Count = Field(
        default=200,
        description="An incident that would lock more accounts than this needs a second person.",
        examples=[200],
    )


class ServeConfig(Section):
    """`standfast serve`: the warm process, its console and Prefect."""

    host: Line = Field(
        default="127.0.0.1",
        description="The address that the console listens on.",
        examples=["127.0.0.1"],
    )
    port: Port = Field(default=8350, description="Its port.", examples=[8350])
    prefect: WebAddress | None = Field(
        default=None,
        description="The API of a Prefect server that runs already; one is started without it.",
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
    ledger: LedgerConfig = Field(default=LedgerConfig(), description="The record.")
    backup: BackupConfig = Field(default=BackupConfig(), description="The encrypted repository.")
    drills: DrillsConfig = Field(default=DrillsConfig(), description="Restore drills.")
    services: Mapping[Name, ServiceConfig] = Field(
        default={}, description="What the business needs back."
    )
    accounts: Mapping[Name, AccountsConfig] = Field(
        default={}, description="Directories of accounts that can be locked."
    )
    protected: ProtectedConfig = Field(
        default=ProtectedConfig(), description="What is never locked."
    )
    limits: LimitsConfig = Field(default=LimitsConfig(), description="What needs a second person.")
    evidence: Mapping[Name, EvidenceConfig] = Field(
        default={}, description="What is frozen as evidence."
    )
    custody: CustodyConfig = Field(default=CustodyConfig(), description="Where evidence lies.")
    senders: Mapping[Name, SenderConfig] = Field(default={}, description="Through what notices go.")
    audiences: Mapping[Name, AudienceConfig] = Field(default={}, description="Whom they reach.")
    notices: NoticesConfig = Field(default=NoticesConfig(), description="How notices go out.")
    playbooks: PlaybooksConfig = Field(default=PlaybooksConfig(), description="Your playbooks.")
    serve: ServeConfig = Field(default=ServeConfig(), description="The warm process.")

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder that relative paths and `file:` references start from."""
        return self._folder

    def model_post_init(self, context: Mapping[str, Path] | None, /) -> None:
        if context is not None:
            self._folder = context[FOLDER]
