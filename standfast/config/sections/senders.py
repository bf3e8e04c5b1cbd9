"""Settings of each kind of sender, `[senders.NAME]`.

A sender is the adapter of one message channel, such as a mail relay. The behaviour is in
`standfast/adapters/senders/<kind>`, a module or package.
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
    description="The name next to the From address. Default: the name of the organisation.",
    examples=["Example Ltd, security"],
)
_REPLY_TO: Any = Field(
    default=None,
    description="The address for replies. Default: `sender_address`.",
    examples=["service@example.com"],
)


class _Sender(Section):
    """Settings of every sender."""

    failover: Name | None = Field(
        default=None,
        description="Another sender, for messages that this sender certainly did not send: "
        "after a permanent failure, or a refusal for another reason than a missing "
        "mailbox. A message that may have been accepted is never sent by another "
        "sender.",
        examples=["relay"],
    )


class SmtpSenderConfig(_Sender):
    """Mail through one SMTP relay."""

    kind: Literal["smtp"] = Field(description="Mail through an SMTP relay.")
    host: Line = Field(description="The host name of the relay.", examples=["mail.example.com"])
    port: Port = Field(
        default=587,
        description="The port: 587 with `starttls`, 465 with `tls`, 25 or a local port with "
        "`none`.",
    )
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="How the connection is protected. `starttls` never falls back to plain text. "
        "With `none`, `username` cannot be set.",
    )
    sender_address: Line = Field(
        description="The From address, whose domain is also in every Message-ID.",
        examples=["security@example.com"],
    )
    from_name: Line | None = _FROM_NAME
    reply_to: Line | None = _REPLY_TO
    username: Line | None = Field(
        default=None,
        description="The user name, if the relay requires a sign-in.",
        examples=["standfast"],
    )
    password: SecretReference | None = Field(
        default=None, description="The password of `username`.", examples=["env:SMTP_PASSWORD"]
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificate authorities to trust instead of those of the system, for a "
        "relay with a private authority.",
        examples=["keys/relay-ca.pem"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0, description="Time limit of one call with all its messages."
    )
    batch: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="Messages in one call. The connection is kept for the next call."
    )
    workers: Workers = Field(default=4, description="Concurrent connections.")
    per_second: Seconds | None = Field(
        default=None,
        description="Maximum number of messages a second. Default: no limit.",
        examples=[20],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("set both `username` and `password`, or neither")
        if self.username is not None and self.security == "none":
            raise ValueError("a password would travel unencrypted; use starttls or tls")
        return self


class SendgridSenderConfig(_Sender):
    """Mail through Twilio SendGrid, v3 Mail Send."""

    kind: Literal["sendgrid"] = Field(description="Mail through SendGrid.")
    key: SecretReference = Field(
        description="An API key with the right to send mail (`mail.send`) and no other right.",
        examples=["env:SENDGRID_API_KEY"],
    )
    sender_address: Line = Field(
        description="The From address, which SendGrid must have verified.",
        examples=["security@example.com"],
    )
    from_name: Line | None = _FROM_NAME
    reply_to: Line | None = _REPLY_TO
    region: Literal["eu", "global"] = Field(
        default="eu",
        description="The region in which SendGrid stores the mails. `eu` needs a subuser of "
        "the EU region.",
    )
    event_key: SecretReference | None = Field(
        default=None,
        description="The public key that verifies SendGrid's events, as its page shows it. "
        "With it, `standfast serve` accepts events at `POST /events/sendgrid` and records "
        "deliveries. Without it, deliveries are not known.",
        examples=["file:keys/sendgrid-events.txt"],
    )
    url: WebAddress | None = Field(
        default=None,
        description="Another address than SendGrid's own, such as that of a proxy.",
        examples=["https://sendgrid-proxy.example.com"],
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificate authorities to trust instead of the public ones, for `url`.",
        examples=["keys/proxy-ca.pem"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="Time limit of one call with all its requests. A message that SendGrid may "
        "have accepted by then is unknown until its event arrives.",
    )
    batch: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1000, description="Recipients in one request."
    )
    workers: Workers = Field(default=4, description="Concurrent requests.")
    per_second: Seconds | None = Field(
        default=None,
        description="Maximum number of messages a second. Default: no limit.",
        examples=[500],
    )


class SesSenderConfig(_Sender):
    """Mail through Amazon SES, API v2."""

    kind: Literal["ses"] = Field(description="Mail through Amazon SES.")
    region: Line = Field(description="The AWS region.", examples=["eu-west-1"])
    sender_address: Line = Field(
        description="The From address, which SES must have verified.",
        examples=["security@example.com"],
    )
    from_name: Line | None = _FROM_NAME
    reply_to: Line | None = _REPLY_TO
    access_key_id: SecretReference | None = Field(
        default=None,
        description="The id of an access key. Default: this machine's own identity.",
        examples=["env:SES_KEY_ID"],
    )
    secret_access_key: SecretReference | None = Field(
        default=None, description="The secret of `access_key_id`.", examples=["env:SES_KEY"]
    )
    endpoint_url: WebAddress | None = Field(
        default=None,
        description="Another address than AWS's own, such as an endpoint in your network.",
        examples=["https://email.internal.example.com"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="Time limit of one batch. A message whose call is cut off is unknown.",
    )
    batch: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="Messages of a batch, sent one after the other."
    )
    workers: Workers = Field(default=4, description="Concurrent batches.")
    per_second: Seconds | None = Field(
        default=14.0,
        description="Maximum number of messages a second. SES shows yours as the maximum send "
        "rate.",
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("set both `access_key_id` and `secret_access_key`, or neither")
        return self


class AppriseSenderConfig(_Sender):
    """Chat, SMS or push for staff, by apprise; it needs the extra `apprise`."""

    kind: Literal["apprise"] = Field(description="A channel that staff read, such as a chat room.")
    url: SecretReference = Field(
        description="The address in apprise's form (`slack://…`, `msteams://…`, `ntfys://…`). "
        "Every message is posted there, so do not use it for customers.",
        examples=["env:STAFF_CHAT_URL"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0,
        description="Time limit of one batch. A message without a confirmation by then is unknown.",
    )


class LettersSenderConfig(Section):
    """Letters to print and post, for people without an e-mail address."""

    kind: Literal["letters"] = Field(description="Letters to print, written into a folder.")
    failover: ClassVar[None] = None  # no other sender replaces a letter, which waits for a person
    folder: Place = Field(
        default=Path("letters"),
        description="The folder of the letters, readable only by its owner. They contain "
        "personal data: destroy them after they are posted.",
        examples=["letters"],
    )
    return_address: Items[Line] = Field(
        description="The address for letters that cannot be delivered: the lines below the "
        "organisation's name.",
        examples=[["1 Example Street", "London N1 9GU"]],
    )
    paper: Literal["a4", "letter"] = Field(default="a4", description="The paper size.")
    window: Literal["left", "right"] = Field(
        default="left",
        description="The position of the window in the envelopes: usually left, in France right.",
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
