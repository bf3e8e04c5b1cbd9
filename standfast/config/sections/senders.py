"""Settings of each kind of sender, `[senders.NAME]`.

The behaviour is in `standfast/adapters/senders/<kind>`, a module or package.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.value_types import (
    Items,
    Line,
    Name,
    Place,
    Port,
    Seconds,
    SecretReference,
    WebAddress,
    Workers,
)

_FROM_NAME: Any = Field(
    default=None,
    description="The name beside that address; the organisation's without it.",
    examples=["Example Ltd, security"],
)
_REPLY_TO: Any = Field(
    default=None,
    description="Where answers go, when not to `sender_address`.",
    examples=["service@example.com"],
)


class _Sender(Section):
    """Settings of every sender."""

    failover: Name | None = Field(
        default=None,
        description="The sender that takes over, row by row, what this one surely could not hand "
        "over: what failed for good, and what it refuses of its own, not for want of a mailbox. "
        "What may have been taken on is never handed to another.",
        examples=["relay"],
    )


class SmtpSenderConfig(_Sender):
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
    from_name: Line | None = _FROM_NAME
    reply_to: Line | None = _REPLY_TO
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
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="How long one call, with all messages it carries, may take before it is cut.",
        examples=[30],
    )
    batch: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10,
        description="Messages that one call hands over; a connection is kept for the next.",
        examples=[10],
    )
    workers: Workers = Field(default=4, description="Connections at once.", examples=[4])
    per_second: Seconds | None = Field(
        default=None, description="Most messages a second; left out, no limit.", examples=[20]
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together; give both or neither")
        if self.username is not None and self.security == "none":
            raise ValueError("a password would travel unencrypted; use starttls or tls")
        return self


class SendgridSenderConfig(_Sender):
    """Mail through Twilio SendGrid, v3 Mail Send."""

    kind: Literal["sendgrid"] = Field(description="Mail through SendGrid.", examples=["sendgrid"])
    key: SecretReference = Field(
        description="An API key that may send mail (`mail.send`) and nothing else.",
        examples=["env:SENDGRID_API_KEY"],
    )
    sender_address: Line = Field(
        description="The address in From, which SendGrid must have verified.",
        examples=["security@example.com"],
    )
    from_name: Line | None = _FROM_NAME
    reply_to: Line | None = _REPLY_TO
    region: Literal["eu", "global"] = Field(
        default="eu",
        description="Where SendGrid keeps the mails: `eu` needs a subuser of the EU region.",
        examples=["eu"],
    )
    event_key: SecretReference | None = Field(
        default=None,
        description="The public key with which SendGrid signs its events, as its page shows it. "
        "With it, `standfast serve` takes them at `POST /events/sendgrid` and knows what was "
        "delivered; without it, nobody is told.",
        examples=["file:keys/sendgrid-events.txt"],
    )
    url: WebAddress | None = Field(
        default=None,
        description="Another address than SendGrid's own, such as a proxy's.",
        examples=["https://sendgrid-proxy.example.com"],
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificates to trust instead of the public authorities, for `url`.",
        examples=["keys/proxy-ca.pem"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="How long one call, with all its requests, may take before it is cut. What "
        "SendGrid may have taken by then is unknown until its event comes.",
        examples=[30],
    )
    batch: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1000, description="People that one request carries.", examples=[1000]
    )
    workers: Workers = Field(default=4, description="Requests at once.", examples=[4])
    per_second: Seconds | None = Field(
        default=None, description="Most messages a second; left out, no limit.", examples=[500]
    )


class SesSenderConfig(_Sender):
    """Mail through Amazon SES, API v2."""

    kind: Literal["ses"] = Field(description="Mail through Amazon SES.", examples=["ses"])
    region: Line = Field(description="AWS's region.", examples=["eu-west-1"])
    sender_address: Line = Field(
        description="The address in From, which SES must have verified.",
        examples=["security@example.com"],
    )
    from_name: Line | None = _FROM_NAME
    reply_to: Line | None = _REPLY_TO
    access_key_id: SecretReference | None = Field(
        default=None,
        description="Left out, the machine's own identity is used.",
        examples=["env:SES_KEY_ID"],
    )
    secret_access_key: SecretReference | None = Field(
        default=None, description="The key of `access_key_id`.", examples=["env:SES_KEY"]
    )
    endpoint_url: WebAddress | None = Field(
        default=None,
        description="Another address than AWS's own, such as an endpoint of your network.",
        examples=["https://email.internal.example.com"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="How long one batch may take. A message whose call is cut is unknown.",
        examples=[30],
    )
    batch: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="Messages sent one after the other in a batch.", examples=[10]
    )
    workers: Workers = Field(default=4, description="Batches at once.", examples=[4])
    per_second: Seconds | None = Field(
        default=14.0,
        description="Most messages a second; SES says yours as the maximum send rate.",
        examples=[14],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("`access_key_id` and `secret_access_key` stand together or not at all")
        return self


class AppriseSenderConfig(_Sender):
    """Chat, SMS or push for staff, by apprise; it needs the extra `apprise`."""

    kind: Literal["apprise"] = Field(
        description="A place that staff look at, such as a room of their chat.",
        examples=["apprise"],
    )
    url: SecretReference = Field(
        description="Where it is, as apprise writes addresses (`slack://…`, `msteams://…`, "
        "`ntfys://…`). Every message is posted there: nothing for customers.",
        examples=["env:STAFF_CHAT_URL"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="How long one batch may take. What was not confirmed by then is unknown.",
        examples=[30],
    )


class LettersSenderConfig(Section):
    """Letters to print and post, for people without an e-mail address."""

    kind: Literal["letters"] = Field(
        description="Letters to print, written into a folder.", examples=["letters"]
    )
    failover: ClassVar[None] = None  # a letter waits for a person; no other sender replaces it
    folder: Place = Field(
        default=Path("letters"),
        description="Where the letters are written, for nobody else to read. They hold personal "
        "data: destroy them once they are posted.",
        examples=["letters"],
    )
    return_address: Items[Line] = Field(
        description="Where a letter that cannot be delivered goes back to: the lines below the "
        "organisation's name.",
        examples=[["1 Example Street", "London N1 9GU"]],
    )
    paper: Literal["a4", "letter"] = Field(
        default="a4", description="The paper they are printed on.", examples=["a4"]
    )
    window: Literal["left", "right"] = Field(
        default="left",
        description="Where the envelopes have their window: mostly left, in France right.",
        examples=["left"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if not 1 <= len(self.return_address) <= 5:
            raise ValueError("`return_address` has one to five lines")
        return self


SenderConfig: TypeAlias = Annotated[
    SmtpSenderConfig
    | SendgridSenderConfig
    | SesSenderConfig
    | AppriseSenderConfig
    | LettersSenderConfig,
    Field(discriminator="kind"),
]
MailSenderConfig: TypeAlias = SmtpSenderConfig | SendgridSenderConfig | SesSenderConfig
