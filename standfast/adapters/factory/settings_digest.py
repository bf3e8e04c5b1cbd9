"""The settings that decide what an adapter does, as one digest: what an approval covers.

Rules
- Each setting counts, and what else the adapter is built with: of a sender the organisation's name,
  of new passwords who may open them, of evidence where it is kept.
- A sender that another hands on to is named as well: it carries what was approved for the first.
- Secrets are named in the configuration, never written; their values do not count. Nor do the
  contents of a program or of a file that a setting names.
"""

from collections.abc import Mapping, Sequence

from standfast.config import Config
from standfast.config.base_section import Section
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier
from standfast.records import Json, digest

_SECTIONS = ("commands", "requests")


def adapter_settings_digests(config: Config, verb: str, connector: str) -> Mapping[str, str]:
    """Return the digest of the settings of an adapter, and of those that it hands on to.

    By the adapter's name. Empty for an act of the program itself, which has no settings.
    """
    action = ACTIONS[verb]
    others = [getattr(config, section) for section in action.settings]
    match action.carrier:
        case Carrier.ACCOUNTS:
            return _digests(config, config.accounts, connector, others)
        case Carrier.EVIDENCE:
            return _digests(config, config.evidence, connector, others)
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


def _digests(
    config: Config, there: Mapping[str, Section], name: str, others: Sequence[Section | None]
) -> Mapping[str, str]:
    settings = there.get(name)
    parts: list[Json] = [
        None if one is None else one.settings_digest(config.folder) for one in (settings, *others)
    ]
    return {name: digest(parts)}
