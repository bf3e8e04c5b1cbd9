"""From the settings of a sender to the channel itself.

Each kind's module is imported when one is built: a command that tells nobody loads none of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from standfast.adapters.factory.build_context import Reveal
from standfast.adapters.senders import Sender
from standfast.config import Config
from standfast.config.schema import OrganisationConfig
from standfast.config.sections.senders import (
    AppriseSenderConfig,
    LettersSenderConfig,
    SendgridSenderConfig,
    SesSenderConfig,
    SmtpSenderConfig,
)
from standfast.records import Limits, Now


def build_sender(config: Config, name: str, reveal: Reveal, clock: Now) -> Sender:
    """Build one; the secrets it needs are resolved now, and SecretMissing names one that is not."""
    settings = config.senders[name]
    return _BUILDERS[settings.kind](name, settings, config.organisation, reveal, clock)


def _smtp(
    name: str,
    settings: SmtpSenderConfig,
    organisation: OrganisationConfig,
    reveal: Reveal,
    clock: Now,
) -> Sender:
    from standfast.adapters.senders.smtp.sender import SmtpSender

    return SmtpSender(
        name=name,
        host=settings.host,
        port=settings.port,
        sender_address=settings.sender_address,
        from_name=settings.from_name or organisation.name,
        reply_to=settings.reply_to,
        security=settings.security,
        username=settings.username,
        password=None if settings.password is None else reveal(settings.password),
        ca_file=settings.ca_file,
        timeout_seconds=settings.timeout_seconds,
        batch=settings.batch,
        workers=settings.workers,
        per_second=settings.per_second,
        clock=clock,
    )


def _sendgrid(
    name: str,
    settings: SendgridSenderConfig,
    organisation: OrganisationConfig,
    reveal: Reveal,
    clock: Now,
) -> Sender:
    from standfast.adapters.senders.sendgrid.sender import SendGridOptions, SendGridSender

    options = SendGridOptions(
        sender_address=settings.sender_address,
        from_name=settings.from_name or organisation.name,
        reply_to=settings.reply_to,
        region=settings.region,
        url=settings.url,
        ca_file=settings.ca_file,
        limits=Limits(
            batch=settings.batch,
            workers=settings.workers,
            per_second=settings.per_second,
            burst=settings.batch,
            timeout_seconds=settings.timeout_seconds,
        ),
    )
    return SendGridSender(name, reveal(settings.key), options, clock=clock)


def _ses(
    name: str,
    settings: SesSenderConfig,
    organisation: OrganisationConfig,
    reveal: Reveal,
    clock: Now,
) -> Sender:
    from standfast.adapters.senders.ses import SesOptions, SesSender

    key, secret = settings.access_key_id, settings.secret_access_key
    options = SesOptions(
        region=settings.region,
        sender_address=settings.sender_address,
        from_name=settings.from_name or organisation.name,
        reply_to=settings.reply_to,
        access_key_id=None if key is None else reveal(key),
        secret_access_key=None if secret is None else reveal(secret),
        endpoint_url=settings.endpoint_url,
        limits=Limits(
            batch=settings.batch,
            workers=settings.workers,
            per_second=settings.per_second,
            timeout_seconds=settings.timeout_seconds,
        ),
    )
    return SesSender(name, options)


def _apprise(
    name: str,
    settings: AppriseSenderConfig,
    organisation: OrganisationConfig,
    reveal: Reveal,
    clock: Now,
) -> Sender:
    from standfast.adapters.senders.apprise import AppriseOptions, AppriseSender

    limits = Limits(batch=10, workers=1, timeout_seconds=settings.timeout_seconds)
    return AppriseSender(name, AppriseOptions(url=reveal(settings.url), limits=limits))


def _letters(
    name: str,
    settings: LettersSenderConfig,
    organisation: OrganisationConfig,
    reveal: Reveal,
    clock: Now,
) -> Sender:
    from standfast.adapters.senders.letters import LettersOptions, LettersSender
    from standfast.evidence.durable_files import make_private, write_atomically

    def write(path: Path, content: bytes) -> None:
        make_private(path.parent)
        path.parent.chmod(0o700)  # also a folder that somebody else made
        write_atomically(path, content)

    options = LettersOptions(
        folder=settings.folder,
        organisation=organisation.name,
        return_address=settings.return_address,
        paper=settings.paper,
        window=settings.window,
        time_zone=organisation.time_zone,
    )
    return LettersSender(name, options, write=write, clock=clock)


# By kind, each given the settings of that kind.
_BUILDERS: Mapping[str, Callable[[str, Any, OrganisationConfig, Reveal, Now], Sender]] = {
    "smtp": _smtp,
    "sendgrid": _sendgrid,
    "ses": _ses,
    "apprise": _apprise,
    "letters": _letters,
}
