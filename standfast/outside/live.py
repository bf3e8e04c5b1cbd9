"""The real adapters, built from the configuration and its secrets."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from standfast.accounts import Connector
from standfast.accounts.oauth_tokens import TokenProbe, TokenRevocation
from standfast.accounts.scim import ScimDirectory, ScimOptions
from standfast.config import Config, SecretReference
from standfast.errors import ConfigurationError
from standfast.evidence import Custody, EvidenceSource
from standfast.evidence.files import FilesEvidence
from standfast.notices.audience import Audience, csv_audience, sqlite_audience
from standfast.notices.senders import Sender
from standfast.notices.senders.smtp import SmtpSender
from standfast.outside import NoticeOf, Outside
from standfast.records import Limits, Mode
from standfast.secrets import Resolver


class Live(Outside):
    """Everything that the configuration names; with mode PLAN it only reads."""

    def __init__(
        self,
        config: Config,
        custody: Custody,
        notice_of: NoticeOf,
        *,
        mode: Mode,
        resolver: Resolver,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(config, custody, notice_of)
        self.mode = mode
        self._resolver = resolver
        self._clock = clock

    def _build_connector(self, name: str) -> Connector:
        settings = self.config.accounts[name]
        limits = Limits(
            batch=1,
            workers=settings.workers,
            per_second=settings.per_second,
            burst=settings.burst,
            timeout_seconds=settings.timeout_seconds,
        )
        revocation, probe = settings.revocation, settings.probe
        options = ScimOptions(
            limits=limits,
            verify_tls=settings.verify_tls,
            ca_file=settings.ca_file,
            revocation=None
            if revocation is None
            else TokenRevocation(
                url=revocation.url,
                client_id=revocation.client_id,
                client_secret=self._reveal(revocation.client_secret),
            ),
            probe=None
            if probe is None
            else TokenProbe(url=probe.url, control_token=self._reveal(probe.control_token)),
        )
        return ScimDirectory(
            name, settings.url, self._reveal(settings.token), options, clock=self._clock
        )

    def _build_source(self, name: str) -> EvidenceSource:
        settings = self.config.evidence[name]
        return FilesEvidence(
            name=name,
            paths=settings.paths,
            exclude=settings.exclude,
            signing_key=read_signing_key(self.config.custody.key),
            clock=self._clock,
        )

    def _build_sender(self, name: str) -> Sender:
        settings = self.config.senders[name]
        return SmtpSender(
            name=name,
            host=settings.host,
            port=settings.port,
            sender_address=settings.sender_address,
            from_name=settings.from_name or self.config.organisation.name,
            reply_to=settings.reply_to,
            security=settings.security,
            username=settings.username,
            password=None if settings.password is None else self._reveal(settings.password),
            ca_file=settings.ca_file,
            timeout_seconds=settings.timeout_seconds,
            batch=settings.batch,
            workers=settings.workers,
            per_second=settings.per_second,
            clock=self._clock,
        )

    def _read_audience(self, name: str) -> Audience:
        settings = self.config.audiences[name]
        language, why = settings.language or "", settings.why or ""
        if settings.kind == "csv":
            return csv_audience(
                settings.path,
                settings.columns,
                is_strict="columns" in settings.model_fields_set,
                language=language,
                why=why,
            )
        return sqlite_audience(settings.path, settings.query, language=language, why=why)

    def _reveal(self, reference: SecretReference) -> str:
        return self._resolver.resolve(reference).reveal()


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that seals evidence; ConfigurationError when it is not there or not one."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(
            f"the evidence key {path} cannot be read: {error.strerror}; `standfast init` makes it"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{path} is no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is not an Ed25519 key")
    return key
