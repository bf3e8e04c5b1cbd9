"""From a message to an incident: what each configured trigger opens, and that it does so once.

Owns the triggers of a place, and the one way from what a source said to the ledger. Leaves who may
speak to `standfast/console/`, reading to `standfast/triggers/`, and telling people to
`trigger_pages`.

Rules
- One commit: the message, and the incident that it opens or joins. That row is the queue; nothing
  slow is asked before it stands.
- What cannot sign opens a plan: the type of its trigger has no other mode.
- Whoever triggers is nobody who signed in: each approval asks for one person more.
- What a message lacks is an error with the place's name. An input that the playbook does not need
  is left out instead: an alert without its decoration is still an alert.
- Where some alerts of a list lack what an input reads, the others are dealt with; how many those
  were stands in the timeline and in the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from standfast.config import Config
from standfast.config.sections.triggers import (
    AlertmanagerTriggerConfig,
    AnyTriggerConfig,
    ReportTriggerConfig,
    SuricataTriggerConfig,
    WebhookTriggerConfig,
)
from standfast.config.value_types import SecretReference
from standfast.errors import ConfigurationError, StandfastError, Unavailable, UsageError
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.playbook.model import Playbook
from standfast.records import Mode, digest
from standfast.triggers.input_mapping import Expression, Missing, parse
from standfast.triggers.suricata import EveRule, Network
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import Opened, open_incident
from standfast.usecases.playbooks import library

ACTOR = "trigger:"
SHORTEST_TOKEN = 24  # characters of a bearer token: nobody guesses it


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """What every trigger has. As it stands, it opens plans."""

    name: str
    scenario: str
    inputs: Mapping[str, Expression] = field(default_factory=dict)
    key: Expression | None = None  # what a message is about; None: what its kind says
    page_roles: tuple[str, ...] = ()  # who is told; none named: everybody who is enrolled
    per_minute: int = 60  # messages taken; more are told to wait

    @property
    def mode(self) -> Mode:
        return Mode.PLAN

    @property
    def actor(self) -> str:
        """Who opened it, for the timeline."""
        return ACTOR + self.name


@dataclass(frozen=True, kw_only=True)
class SignedTrigger(Trigger):
    """Standard Webhooks: the one kind that may act."""

    secrets: tuple[SecretReference, ...]
    acts: bool = False

    @property
    def mode(self) -> Mode:
        return Mode.LIVE if self.acts else Mode.PLAN


@dataclass(frozen=True, kw_only=True)
class AlertTrigger(Trigger):
    """Alertmanager: known by a bearer token, or by the certificate that a proxy has verified."""

    tokens: tuple[SecretReference, ...] = ()
    client_header: str = ""  # set by the proxy, in small letters
    client: str = ""  # what it must say there


@dataclass(frozen=True, kw_only=True)
class EveTrigger(Trigger):
    """Suricata: alerts of a file that a rule means."""

    file: Path
    rule: EveRule


@dataclass(frozen=True, kw_only=True)
class FormTrigger(Trigger):
    """The form for staff, inside these networks."""

    networks: tuple[Network, ...]


class PlaybookNotFound(Unavailable):
    """The trigger's playbook cannot be opened now, whatever the message says; others' may be."""


def triggers_of(config: Config) -> dict[str, Trigger]:
    """Give the triggers of a place by name; ConfigurationError names what does not fit in one."""
    return {name: _trigger(name, settings) for name, settings in config.triggers.items()}


def trusted_proxies(config: Config) -> tuple[Network, ...]:
    """Give the networks of the proxies whose word about a client counts."""
    return tuple(ip_network(one) for one in config.serve.trusted_proxies)


def obstacles(config: Config, trigger: Trigger) -> list[str]:
    """Say what keeps a trigger from opening its scenario, without opening it."""
    try:
        playbook = library.find(config, trigger.scenario)
    except StandfastError as error:
        return [str(error)]
    known = {given.name for given in playbook.inputs}
    found = [
        f"playbook {playbook.name} has no input {name}; it has: {', '.join(sorted(known))}"
        for name in trigger.inputs
        if name not in known
    ]
    needed = {given.name for given in playbook.inputs if given.required}
    return found + [
        f"playbook {playbook.name} needs the input {name}, and the trigger has none"
        for name in sorted(needed - set(trigger.inputs))
    ]


def receive(
    installation: Installation,
    trigger: Trigger,
    payload: Mapping[str, object],
    *,
    message_id: str,
    key: str = "",
) -> Opened:
    """Open the trigger's incident, or join it; a message that came before gives the same one.

    It came before when one of its id gave the playbook the same.
    `key` says what the message is about where the trigger does not; empty: its inputs. Raises
    UsageError when the message does not fit the scenario, PlaybookNotFound when the scenario cannot
    be opened now whatever the message says, Unavailable when nothing can.
    """
    try:
        playbook = library.find(installation.config, trigger.scenario)
    except StandfastError as error:
        raise PlaybookNotFound(
            f"its playbook cannot be opened ({type(error).__name__}); `standfast check` says why"
        ) from None
    inputs, lacking = _inputs(playbook, trigger, payload)
    given = digest(dict(inputs))
    about = _about(trigger, payload) or key or given
    # A sender that gives one id to all that it sends would have an account taken for a repeat.
    message = _message(installation, trigger, f"{given} {message_id}")
    return open_incident(
        replace(installation, actor=trigger.actor),
        trigger.scenario,
        inputs,
        mode=trigger.mode,
        trigger=_key(installation, trigger, about),
        message=replace(message, lacking=lacking),
    )


def resolved(installation: Installation, trigger: Trigger, *, message_id: str, key: str) -> str:
    """Note in the open incident that what it is about is over by itself; give its id, or nothing.

    It stays open: that an alert is silent does not show that nobody is inside.
    """
    return installation.ledger.triggers.resolved(
        _key(installation, trigger, key),
        _message(installation, trigger, message_id),
        trigger.actor,
        installation.clock(),
    )


def reread_inputs(incident: IncidentRow) -> dict[str, str | list[str]]:
    """Give an incident's inputs as they are handed over; what was left out stays left out."""
    found: dict[str, str | list[str]] = {}
    for name, value in incident.inputs.items():
        if isinstance(value, bool):
            found[name] = "yes" if value else "no"
        elif isinstance(value, list):
            found[name] = [str(one) for one in value]
        elif value is not None:
            found[name] = [str(value)]  # a list of one: nobody splits it at commas
    return found


def _trigger(name: str, settings: AnyTriggerConfig) -> Trigger:
    every: dict[str, Any] = {
        "name": name,
        "scenario": settings.scenario,
        "inputs": {
            given: _expression(f"triggers.{name}.inputs.{given}", text)
            for given, text in settings.inputs.items()
        },
        "key": _expression(f"triggers.{name}.key", settings.key) if settings.key else None,
        "page_roles": settings.page_roles,
        "per_minute": settings.per_minute,
    }
    match settings:
        case WebhookTriggerConfig():
            return SignedTrigger(**every, secrets=settings.secrets, acts=settings.mode == "live")
        case AlertmanagerTriggerConfig():
            return AlertTrigger(
                **every,
                tokens=settings.tokens,
                client_header=(settings.client_header or "").lower(),
                client=settings.client or "",
            )
        case SuricataTriggerConfig():
            rule = EveRule(
                signature_ids=frozenset(settings.signature_ids),
                gravest=settings.severity,
                categories=frozenset(one.casefold() for one in settings.categories),
                networks=tuple(ip_network(one) for one in settings.networks),
            )
            return EveTrigger(**every, file=settings.file, rule=rule)
        case ReportTriggerConfig():
            return FormTrigger(
                **every, networks=tuple(ip_network(one) for one in settings.networks)
            )


def _expression(key: str, text: str) -> Expression:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{key}: {error}") from None


def _inputs(
    playbook: Playbook, trigger: Trigger, payload: Mapping[str, object]
) -> tuple[dict[str, str | list[str]], int]:
    """Give the inputs, and how many items of a list had nothing for one of them."""
    needed = {given.name for given in playbook.inputs if given.required}
    found: dict[str, str | list[str]] = {}
    lacking = 0
    for name, expression in trigger.inputs.items():
        try:
            found[name] = expression.read(payload)
            lacking = max(lacking, expression.lacking(payload))
        except Missing as error:
            if name in needed:
                raise UsageError(f"input `{name}`: {error}") from None
        except ValueError as error:
            raise UsageError(f"input `{name}`: {error}") from None
    return found, lacking


def _about(trigger: Trigger, payload: Mapping[str, object]) -> str:
    if trigger.key is None:
        return ""
    try:
        found = trigger.key.read(payload)
    except Missing:
        return ""  # then what its kind says
    except ValueError as error:
        raise UsageError(f"the key: {error}") from None
    return found if isinstance(found, str) else "\n".join(found)


def _message(installation: Installation, trigger: Trigger, message_id: str) -> TriggerMessage:
    handle = installation.ledger.cipher.handle(INSTALLATION, f"message {trigger.name} {message_id}")
    return TriggerMessage(source=trigger.name, handle=handle)


def _key(installation: Installation, trigger: Trigger, text: str) -> str:
    """Say what a message is about by a handle, since it may be somebody's account.

    By the mode, too: what only plans must not join what acts.
    """
    about = f"key {trigger.name} {trigger.mode.value} {text}"
    return f"{trigger.name}:{installation.ledger.cipher.handle(INSTALLATION, about)}"
