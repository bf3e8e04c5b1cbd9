"""Digest of the settings that decide what an adapter does.

An approval of a step covers this digest. If the settings change afterwards, the approval is void.

Rules
- The digest covers every setting of the adapter, and its other inputs. For a sender, this is the
  organisation's name; for new passwords, the people that can decrypt them; for evidence, its folder
  and the account directory whose log is collected.
- If another sender takes over from a sender, its settings are covered too, because it sends
  messages that were approved for the first sender.
- The configuration contains names of secrets, never their values, so the digest does not cover the
  values. It does not cover the content of a program or file that a setting names either.
"""

from collections.abc import Mapping, Sequence

from standfast.config import Config
from standfast.config.base_section import Section
from standfast.config.sections.evidence_sources import DirectoryLogConfig
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier
from standfast.records import Json, digest

_SECTIONS = ("commands", "requests")


def adapter_settings_digests(config: Config, verb: str, connector: str) -> Mapping[str, str]:
    """Return the digests of an adapter's settings by adapter name.

    For a sender, the senders that take over from it are included. The result is empty for a
    built-in procedure, because it has no settings.
    """
    action = ACTIONS[verb]
    others = [getattr(config, section) for section in action.settings]
    match action.carrier:
        case Carrier.ACCOUNTS:
            return _digests(config, config.accounts, connector, others)
        case Carrier.EVIDENCE:
            return _digests(
                config, config.evidence, connector, [*others, *_read_directory(config, connector)]
            )
        case Carrier.SENDERS:
            found: dict[str, str] = {}
            next_name: str | None = connector
            while next_name is not None and next_name not in found:
                found |= _digests(config, config.senders, next_name, others)
                next_name = getattr(config.senders.get(next_name), "failover", None)
            return found
        case Carrier.PROCEDURES:
            section, _, name = connector.partition(".")
            if section not in _SECTIONS:
                return {}
            return {connector: _digests(config, getattr(config, section), name, others)[name]}


def _read_directory(config: Config, source: str) -> Sequence[Section | None]:
    """Return the settings of the directory that an evidence source reads."""
    settings = config.evidence.get(source)
    if not isinstance(settings, DirectoryLogConfig):
        return ()
    return (config.accounts.get(settings.directory),)


def _digests(
    config: Config, declared: Mapping[str, Section], name: str, others: Sequence[Section | None]
) -> Mapping[str, str]:
    settings = declared.get(name)
    parts: list[Json] = [
        None if section is None else section.settings_digest(config.folder)
        for section in (settings, *others)
    ]
    return {name: digest(parts)}
