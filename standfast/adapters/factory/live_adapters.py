"""Real adapters: built by the `kind` of their section, with their secrets.

A procedure is a command or HTTP request that the configuration allows playbooks to call.

Rules
- The kind of a connector, sender or evidence source is the name of a module or package in the
  folder of its family (`accounts`, `senders`, `evidence_sources`). That module has one class of the
  family. So no list of kinds has to be maintained.
- Audiences and procedures have no module of their kind: `audiences` reads every audience, and
  `build_procedure` builds every procedure.
- The module is imported when its adapter is built: a command that locks nothing loads no connector.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.new_passwords import new_secrets
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.adapters.factory import Adapters, NoticeOf
from standfast.adapters.factory.audiences import Restored, read_audience
from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.command import Command
from standfast.adapters.procedures.http_request import Request
from standfast.adapters.senders import Sender
from standfast.adapters.senders.sender_context import SenderContext
from standfast.config import Config, SecretReference
from standfast.errors import ConfigurationError
from standfast.evidence.bucket_copy import CopyDestination
from standfast.local_time import day
from standfast.notices.audience import Audience
from standfast.records import Mode, Now
from standfast.secrets import Resolver, Reveal


class SectionOfKind(Protocol):
    """Settings of an adapter; each kind has its own class."""

    @property
    def kind(self) -> str: ...


def build_adapter(family: type, name: str, settings: SectionOfKind, context: object) -> Any:
    """Build an adapter with its secrets; SecretMissing if one is missing.

    The result is an instance of `family`, which is an abstract class.
    """
    module = import_module(f"{family.__module__}.{settings.kind}")
    classes: list[Any] = [
        value
        for value in vars(module).values()
        # Base classes of the family are imported there too.
        if isinstance(value, type)
        and issubclass(value, family)
        and value.__module__.startswith(module.__name__)
    ]
    (adapter_class,) = classes
    return adapter_class(name, settings, context)


def build_procedure(config: Config, name: str, reveal: Reveal, clock: Now) -> Procedure:
    """Build `commands.NAME` or `requests.NAME`; SecretMissing names a secret."""
    section, _, inner = name.partition(".")
    if section == "commands":
        return Command(name, config.commands[inner], reveal=reveal)
    return Request(name, config.requests[inner], reveal=reveal, clock=clock)


class Live(Adapters):
    """All configured adapters; with mode PLAN they only read."""

    def __init__(
        self,
        config: Config,
        custody: Custody,
        notice_of: NoticeOf,
        *,
        mode: Mode,
        resolver: Resolver,
        clock: Now,
        restored: Restored | None = None,
        own: Mapping[str, Callable[[], Procedure]] | None = None,
        configured: Config | None = None,
        copy_destination: CopyDestination | None = None,
        affected: Callable[[], Audience] | None = None,
    ) -> None:
        """Set the configuration and the services of the installation.

        `own` has the built-in procedures. `restored` returns a file of a backup set as it was
        before the incident. `copy_destination` is the store for copies of evidence folders.
        """
        super().__init__(config, custody, notice_of, configured=configured, affected=affected)
        self.mode = mode
        self._own = own or {}
        self._copy_destination = copy_destination
        self._restored = restored or _not_restored
        self._resolver = resolver
        self._clock = clock

    def _build_connector(self, name: str) -> Connector:
        settings = self.config.accounts[name]
        connector: Connector = build_adapter(Connector, name, settings, self._build_context)
        return connector

    def _build_source(self, name: str) -> EvidenceSource:
        context = SourceContext(
            signing_key=read_signing_key(self.config.custody.key),
            clock=self._clock,
            reveal=self._reveal,
            copy_destination=self._copy_destination,
            custodians=self.config.custody.custodians,
            key_copies=self.config.custody.key_copies,
            accounts=self.config.accounts,
        )
        settings = self.config.evidence[name]
        source: EvidenceSource = build_adapter(EvidenceSource, name, settings, context)
        return source

    def _build_sender(self, name: str) -> Sender:
        context = SenderContext(
            organisation=self.config.organisation, reveal=self._reveal, clock=self._clock
        )
        sender: Sender = build_adapter(Sender, name, self.config.senders[name], context)
        return sender

    def _build_procedure(self, name: str) -> Procedure:
        if name in self._own:
            return self._own[name]()
        return build_procedure(self.config, name, self._reveal, self._clock)

    def _read_audience(self, name: str) -> Audience:
        today = day(self._clock(), self.config.organisation.time_zone)
        return read_audience(self.config, name, self._reveal, self._restored, today)

    @cached_property
    def _build_context(self) -> BuildContext:
        secrets = new_secrets(self.config.rotation, self._clock)
        return BuildContext(reveal=self._reveal, clock=self._clock, new_secrets=secrets)

    def _reveal(self, reference: SecretReference) -> str:
        return self._resolver.resolve(reference).reveal()


def _not_restored(set_name: str, path: str) -> AbstractContextManager[Path]:
    raise ConfigurationError(
        f"{path} of the backup set {set_name!r}: restored only when a notice is planned"
    )


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that seals evidence; ConfigurationError if invalid."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(
            f"evidence key {path}: cannot be read, {error.strerror}. Restore it, or create a new "
            f"one: openssl genpkey -algorithm ed25519 -out '{path}'"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"evidence key {path}: not a private key in PEM. Restore it."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"evidence key {path}: not an Ed25519 key. Restore it.")
    return key
