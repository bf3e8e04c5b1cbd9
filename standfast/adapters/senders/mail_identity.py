"""Sender address, name and reply address of mails, checked once."""

from dataclasses import dataclass

from standfast.config.schema import OrganisationConfig
from standfast.config.sections.senders import MailSenderConfig
from standfast.errors import ConfigurationError
from standfast.notices.mail_addresses import Address, parse_address
from standfast.notices.plain_text import begins_encoded_word, is_one_line


@dataclass(frozen=True, kw_only=True)
class MailIdentity:
    """Address in From, its display name (may be empty), and reply address."""

    address: Address
    name: str
    reply_to: Address | None  # None: to `address`


def mail_identity(
    sender: str, settings: MailSenderConfig, organisation: OrganisationConfig
) -> MailIdentity:
    """Return the identity of a sender; `ConfigurationError` names a wrong key."""
    name, reply_to = settings.from_name or organisation.name, settings.reply_to
    if not is_one_line(name) or begins_encoded_word(name):
        raise invalid_setting(sender, "from_name", "must be one visible line without =?")
    return MailIdentity(
        address=_own(sender, "sender_address", settings.sender_address),
        name=name,
        reply_to=None if reply_to is None else _own(sender, "reply_to", reply_to),
    )


def invalid_setting(sender: str, key: str, why: str) -> ConfigurationError:
    """Return the error for an invalid setting of a sender."""
    return ConfigurationError(f"sender {sender!r}: {key} {why}")


def _own(sender: str, key: str, text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise invalid_setting(sender, key, f"is not valid: {error}") from error
    if address.needs_smtputf8:
        raise invalid_setting(
            sender, key, "must be ASCII before the @, because some relays refuse others"
        )
    return address
