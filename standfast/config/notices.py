"""The settings of notices: through what they go (`[senders.NAME]`), whom they reach, and when.

Owns the fields; what they do stands in `standfast/notices/`.

Rules
- A sender's `kind` is the name of its module in `standfast/notices/senders/`.
- An audience is read when a notice is prepared, and never kept in clear.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.fields import (
    Count,
    Language,
    Line,
    Name,
    Place,
    Port,
    Seconds,
    SecretReference,
    Section,
    Workers,
)


class SmtpSenderConfig(Section):
    """Mail through one SMTP relay."""

    kind: Literal["smtp"] = Field(description="Mail through an SMTP relay.", examples=["smtp"])
    host: Line = Field(description="The relay's host name.", examples=["mail.example.com"])
    port: Port = Field(
        default=587,
        description="587 with `starttls`, 465 with `tls`, 25 or a local port with `none`.",
        examples=[587],
    )
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="How the connection is protected; `starttls` never falls back to plain text. "
        "With `none` no username may be given.",
        examples=["starttls"],
    )
    sender_address: Line = Field(
        description="The address in From, and the domain of every Message-ID.",
        examples=["security@example.com"],
    )
    from_name: Line | None = Field(
        default=None,
        description="The name beside that address; the organisation's without it.",
        examples=["Example Ltd, security"],
    )
    reply_to: Line | None = Field(
        default=None,
        description="Where answers go, when not to `sender_address`.",
        examples=["service@example.com"],
    )
    username: Line | None = Field(
        default=None,
        description="Sign-in at the relay, when it asks for one.",
        examples=["standfast"],
    )
    password: SecretReference | None = Field(
        default=None, description="The password of `username`.", examples=["env:SMTP_PASSWORD"]
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificates to trust instead of the system's, for a relay with a private "
        "authority.",
        examples=["keys/relay-ca.pem"],
    )
    timeout_seconds: Annotated[Seconds, Field(le=600)] = Field(
        default=30.0,
        description="How long one call, with all messages it carries, may take before it is cut.",
        examples=[30],
    )
    batch: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        default=10, description="Messages that one connection carries.", examples=[10]
    )
    workers: Workers = Field(default=4, description="Connections at once.", examples=[4])
    per_second: Seconds | None = Field(
        default=None, description="Most messages a second; left out, no limit.", examples=[20]
    )

    @model_validator(mode="after")
    def _signs_in_wholly_or_not(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together; give both or neither")
        if self.username is not None and self.security == "none":
            raise ValueError("a password would travel unencrypted; use starttls or tls")
        return self


SenderConfig: TypeAlias = SmtpSenderConfig


class _Audience(Section):
    """What every audience may say about people whose row does not."""

    language: Language | None = Field(
        default=None,
        description="The language of rows that state none; the organisation's first without it.",
        examples=["es"],
    )
    why: Line | None = Field(
        default=None,
        description="Why these people are told, for rows that state no reason.",
        examples=["customer whose record was open in the account"],
    )


class CsvAudienceConfig(_Audience):
    """People listed in a file."""

    kind: Literal["csv"] = Field(
        description="A CSV file with a heading line, in UTF-8.", examples=["csv"]
    )
    path: Place = Field(description="The file, comma or semicolon.", examples=["staff.csv"])
    columns: Mapping[str, str] = Field(
        default={"address": "email", "name": "name", "language": "language"},
        description="Which column of the file is which. `address` must be there; `key` (the "
        "address without it), `name`, `language` and `why` are known; any other name becomes a "
        "slot that a template may use as `{{ recipient.NAME }}`. Columns that are not listed are "
        "not read.",
        examples=[{"address": "email", "name": "full_name", "key": "customer_id"}],
    )

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if "address" not in self.columns:
            raise ValueError("`columns` does not say which column is the address")
        return self


class SqliteAudienceConfig(_Audience):
    """People found by a query in a SQLite database, read only."""

    kind: Literal["sqlite"] = Field(
        description="A query on a SQLite database, read only.", examples=["sqlite"]
    )
    path: Place = Field(description="The database file.", examples=["/srv/crm/crm.db"])
    query: Annotated[str, Field(min_length=1)] = Field(
        description="One SELECT whose columns are named `address` (must be there), `key`, `name`, "
        "`language`, `why`; any other becomes a slot `{{ recipient.NAME }}`.",
        examples=["SELECT email AS address, name, id AS key FROM customers"],
    )


AudienceConfig: TypeAlias = Annotated[
    CsvAudienceConfig | SqliteAudienceConfig, Field(discriminator="kind")
]


class NoticesConfig(Section):
    """How notices go out when a playbook does not say."""

    sender: Name | None = Field(
        default=None,
        description="The sender used where a playbook names none; needed when there are several.",
        examples=["mail"],
    )
    staff_audience: Name | None = Field(
        default=None,
        description="The audience that is meant by `staff`; the one of that name without it.",
        examples=["staff"],
    )
    templates: Place | None = Field(
        default=None,
        description="A folder with your own templates; one named like a shipped one replaces it.",
        examples=["notices"],
    )
    abort_window_seconds: Count = Field(
        default=120,
        description="How long an approved notice waits before the first message leaves, so that "
        "`standfast incident stop` still can; 0 sends at once.",
        examples=[120],
    )
