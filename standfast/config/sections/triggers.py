"""Settings of each kind of trigger, `[triggers.NAME]`.

A trigger opens an incident when a message from outside arrives. The inputs of a trigger can contain
values from messages (`{/data/user}`). The behaviour is in `standfast/triggers/` and
`standfast/usecases/triggers/`.

Rules
- Only a kind with signed messages has a `mode`, which may permit changes of live systems. Every
  other kind only plans an incident and pages people.
"""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from standfast.config.base_section import Section
from standfast.config.value_types import Items, Line, Name, Place, SecretReference, Text, matching

TriggerName = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9_-]{0,39}",
        "a trigger's name has lower-case letters, digits, - and _, begins with a letter and has "
        "at most 40 characters",
    ),
]


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("a network is written as 10.0.0.0/8 or fd00::/8") from None


Network = Annotated[str, AfterValidator(_network)]
HeaderName = Annotated[
    str, matching(r"[A-Za-z][A-Za-z0-9-]{0,63}", "a header has letters and dashes")
]


class TriggerConfig(Section):
    """Settings of every trigger."""

    scenario: Name = Field(
        description="The playbook that the trigger opens.", examples=["account-takeover"]
    )
    inputs: Mapping[Name, Text] = Field(
        default={},
        description="The inputs of the playbook. `{/data/user}` in a text is replaced by the "
        "value at that place of the message (a JSON Pointer); `*` in the pointer stands for each "
        "item of a list. The text outside of the braces is fixed: with `agents:{/data/user}`, no "
        "message can choose another directory.",
        examples=[{"accounts": "agents:{/data/user}", "reason": "{/data/rule}"}],
    )
    key: Text | None = Field(
        default=None,
        description="The key of a message, as a text like those of `inputs`. Messages with an "
        "equal key join the open incident. Default: the resulting inputs, Alertmanager's group, or "
        "Suricata's signature and source address.",
        examples=["{/data/case}"],
    )
    page_roles: Items[Line] = Field(
        default=(),
        description="The roles whose people are paged about an opened incident. Default: all "
        "enrolled people.",
        examples=[["duty-manager"]],
    )
    per_minute: Annotated[int, Field(ge=1, le=6000)] = Field(
        default=60,
        description="The number of messages that are accepted in a minute. Further messages are "
        "refused, with a time to try again.",
    )


class WebhookTriggerConfig(TriggerConfig):
    """Messages signed as Standard Webhooks, by `POST /triggers/NAME`."""

    kind: Literal["webhook"] = Field(description="Standard Webhooks over HTTP.")
    secrets: Annotated[Items[SecretReference], Field(min_length=1, max_length=2)] = Field(
        description="The secret that signs the messages (`whsec_…`), or two secrets while one "
        "replaces the other.",
        examples=[["env:SIEM_WEBHOOK_SECRET"]],
    )
    mode: Literal["plan", "live"] = Field(
        default="plan",
        description="`plan` makes a plan and pages people, who decide; `live` starts containment.",
        examples=["live"],
    )


class AlertmanagerTriggerConfig(TriggerConfig):
    """Alerts of Prometheus Alertmanager; the trigger plans and pages.

    The alerts arrive by `POST /triggers/NAME`.
    """

    kind: Literal["alertmanager"] = Field(description="Alertmanager's webhook, version 4.")
    tokens: Annotated[Items[SecretReference], Field(max_length=2)] = Field(
        description="The accepted bearer token, of at least 24 characters, or two tokens while one "
        "replaces the other. With `client_header`, write `[]`.",
        examples=[["env:ALERTMANAGER_TOKEN"]],
    )
    client_header: HeaderName | None = Field(
        default=None,
        description="Instead of a token: the header in which a proxy of "
        "`serve.trusted_proxies` names the client whose certificate it verified. The proxy must "
        "remove this header from incoming requests.",
        examples=["X-Client-DN"],
    )
    client: Line | None = Field(
        default=None,
        description="The required value of that header.",
        examples=["CN=alertmanager,O=Example"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.client_header is None) != (self.client is None):
            raise ValueError("`client_header` and `client` belong together")
        if not self.tokens and self.client_header is None:
            raise ValueError("it needs `tokens`, or `client_header` with `client`")
        return self


class SuricataTriggerConfig(TriggerConfig):
    """Alerts in Suricata's event file; the trigger plans and pages."""

    kind: Literal["suricata"] = Field(description="Suricata's EVE JSON.")
    file: Place = Field(
        description="The event file, which is read as it grows, and across rotation.",
        examples=["/var/log/suricata/eve.json"],
    )
    signature_ids: Items[int] = Field(
        description="The ids of signatures, one of which the alert must have. Use `[]` if other "
        "settings select the alerts. An alert must match all settings that are given.",
        examples=[[1000001]],
    )
    severity: Annotated[int, Field(ge=1, le=255)] | None = Field(
        default=None,
        description="Alerts of this severity or a higher one; 1 is the highest.",
        examples=[1],
    )
    categories: Items[Line] = Field(
        default=(),
        description="Categories, one of which the alert must have, as in the classification of "
        "the rules.",
        examples=[["Credential Theft"]],
    )
    networks: Items[Network] = Field(
        default=(),
        description="Networks that contain the source or the destination of the flow.",
        examples=[["10.20.0.0/16"]],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if not (self.signature_ids or self.severity or self.categories or self.networks):
            raise ValueError(
                "it selects no alert: name `signature_ids`, `severity`, `categories` or "
                "`networks`; all named conditions must be met"
            )
        return self


class ReportTriggerConfig(TriggerConfig):
    """The form for staff, "report something suspicious", at `/report`.

    A report opens a plan and pages people.
    """

    kind: Literal["report"] = Field(
        description="A form: `{/what}`, `{/account}` and `{/contact}` are its fields."
    )
    networks: Annotated[Items[Network], Field(min_length=1)] = Field(
        default=(
            *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
            *("::1/128", "fc00::/7"),
        ),
        description="The networks from which people may use the form. From all other networks, "
        "the page does not exist. Behind a proxy, also set `serve.trusted_proxies`.",
        examples=[["10.20.0.0/16"]],
    )


AnyTriggerConfig: TypeAlias = Annotated[
    WebhookTriggerConfig | AlertmanagerTriggerConfig | SuricataTriggerConfig | ReportTriggerConfig,
    Field(discriminator="kind"),
]
