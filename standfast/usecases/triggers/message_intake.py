"""Intake of trigger messages: kinds of triggers; open or join an incident.

A trigger is a configured way to open an incident from outside, such as a webhook. It names a
playbook (the file that describes the response), and maps values of a message to inputs of the
playbook. `standfast/console` authenticates senders, `standfast/triggers` parses messages, and
`trigger_pages` notifies people.

Rules
- A message opens an incident. If an incident about the same subject is open, the message joins that
  incident instead: its targets are added. A repeated message changes nothing.
- The message and the incident are committed together to the ledger (the database of incidents), and
  no slow service is called before the commit. Runners, the processes that execute incidents, find
  the incident in the ledger.
- A trigger without signatures opens only plans: incidents that change nothing. Only a
  `SignedTrigger` can open live incidents.
- A signed-in person who opens an incident is one of the two people that a step needs. A trigger is
  not a person, so each step that needs approvals needs one more.
- If the message has no value for a required input, it is rejected, and the error names the input.
  An optional input without a value is omitted: an alert without details is still an alert.
- A message may contain a list of alerts. If some of the alerts lack a value for an input, the other
  alerts are processed. The audit log and the response contain the number of incomplete alerts.
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
SHORTEST_TOKEN = 24  # minimum characters of a bearer token, so that it cannot be guessed


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """The settings that all triggers share; by default, they open only plans."""

    name: str
    scenario: str
    inputs: Mapping[str, Expression] = field(default_factory=dict)
    key: Expression | None = None  # extracts the subject from a message; None: the caller passes it
    page_roles: tuple[str, ...] = ()  # roles of the people to page; empty means everybody enrolled
    per_minute: int = 60  # messages accepted; further messages are answered with Retry-After

    @property
    def mode(self) -> Mode:
        return Mode.PLAN

    @property
    def actor(self) -> str:
        """The actor that the audit log records."""
        return ACTOR + self.name


@dataclass(frozen=True, kw_only=True)
class SignedTrigger(Trigger):
    """A trigger for Standard Webhooks; only this kind opens live incidents."""

    secrets: tuple[SecretReference, ...]
    acts: bool = False

    @property
    def mode(self) -> Mode:
        return Mode.LIVE if self.acts else Mode.PLAN


@dataclass(frozen=True, kw_only=True)
class AlertTrigger(Trigger):
    """A trigger for Alertmanager.

    The sender is authenticated by a token, or by a proxy that checks its client certificate.
    """

    tokens: tuple[SecretReference, ...] = ()
    client_header: str = ""  # header that the proxy sets, in lower case
    client: str = ""  # the required value of that header


@dataclass(frozen=True, kw_only=True)
class EveTrigger(Trigger):
    """A trigger for Suricata: the alerts in a file that match a rule."""

    file: Path
    rule: EveRule


@dataclass(frozen=True, kw_only=True)
class FormTrigger(Trigger):
    """The report form for staff, available from the given networks."""

    networks: tuple[Network, ...]


class PlaybookNotFound(Unavailable):
    """The playbook of a trigger is missing or invalid; no message can open it."""


def triggers_of(config: Config) -> dict[str, Trigger]:
    """Return the triggers by name; raise ConfigurationError if one is invalid."""
    return {name: _trigger(name, settings) for name, settings in config.triggers.items()}


def trusted_proxies(config: Config) -> tuple[Network, ...]:
    """Return the networks of trusted proxies."""
    return tuple(ip_network(network) for network in config.serve.trusted_proxies)


def obstacles(config: Config, trigger: Trigger) -> list[str]:
    """Return the reasons why the messages of a trigger would open no incident.

    This function opens nothing.
    """
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
        f"playbook {playbook.name} needs the input {name}, which the trigger does not set"
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
    """Open or join the incident of a message; a repetition opens no incident.

    A message repeats an earlier message if its id and the values of its inputs are equal. The
    subject of a message is the value that the trigger's `key` extracts, else the parameter `key`,
    else the inputs. Raise UsageError if the message does not fit the playbook, PlaybookNotFound if
    no message can open the playbook now, and Unavailable if no incident can be opened.
    """
    try:
        playbook = library.find(installation.config, trigger.scenario)
    except StandfastError as error:
        raise PlaybookNotFound(
            f"playbook of the trigger: cannot be opened ({type(error).__name__}). `standfast "
            "check` gives the reason."
        ) from None
    inputs, lacking = _inputs(playbook, trigger, payload)
    given = digest(dict(inputs))
    about = _about(trigger, payload) or key or given
    # Include the inputs, because a sender may use one id for all its messages.
    message = _message(installation, trigger, f"{given} {message_id}")
    return open_incident(
        replace(installation, actor=trigger.actor),
        trigger.scenario,
        inputs,
        mode=trigger.mode,
        trigger=_key(installation, trigger, about),
        message=replace(message, lacking=lacking),
    )


def record_resolved_alert(
    installation: Installation, trigger: Trigger, *, message_id: str, key: str
) -> str:
    """Record that an alert has ended; return its incident's id, or "".

    The incident stays open: the end of an alert does not prove that the intruder is gone.
    """
    return installation.ledger.triggers.record_resolved(
        _key(installation, trigger, key),
        _message(installation, trigger, message_id),
        trigger.actor,
        installation.clock(),
    )


def inputs_as_message(incident: IncidentRow) -> dict[str, str | list[str]]:
    """Return an incident's inputs in the form in which a message states them."""
    found: dict[str, str | list[str]] = {}
    for name, value in incident.inputs.items():
        if isinstance(value, bool):
            found[name] = "yes" if value else "no"
        elif isinstance(value, list):
            found[name] = [str(item) for item in value]
        elif value is not None:
            found[name] = [str(value)]  # a list, so that it is not split at commas
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
                least_severe=settings.severity,
                categories=frozenset(category.casefold() for category in settings.categories),
                networks=tuple(ip_network(network) for network in settings.networks),
            )
            return EveTrigger(**every, file=settings.file, rule=rule)
        case ReportTriggerConfig():
            return FormTrigger(
                **every, networks=tuple(ip_network(network) for network in settings.networks)
            )


def _expression(key: str, text: str) -> Expression:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{key}: {error}") from None


def _inputs(
    playbook: Playbook, trigger: Trigger, payload: Mapping[str, object]
) -> tuple[dict[str, str | list[str]], int]:
    """Return the inputs, and the number of alerts that lack a value."""
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
        return ""  # the caller determines the subject
    except ValueError as error:
        raise UsageError(f"key: {error}") from None
    return found if isinstance(found, str) else "\n".join(found)


def _message(installation: Installation, trigger: Trigger, message_id: str) -> TriggerMessage:
    handle = installation.ledger.cipher.handle(INSTALLATION, f"message {trigger.name} {message_id}")
    return TriggerMessage(source=trigger.name, handle=handle)


def _key(installation: Installation, trigger: Trigger, text: str) -> str:
    """Return the key under which messages of one subject join one incident.

    The key contains a handle (a keyed hash) of the subject, because the subject may be an account.
    The hash covers the mode: a message that opens only plans must not join a live incident.
    """
    about = f"key {trigger.name} {trigger.mode.value} {text}"
    return f"{trigger.name}:{installation.ledger.cipher.handle(INSTALLATION, about)}"
