"""Simulators for an exercise: invented accounts, audiences, settings.

An exercise runs a playbook against simulators, and cannot reach a live system.

Rules
- No secret is resolved and no adapter of a provider is built, so that no secret can leak.
- The simulated directory has every account that the incident names. An account is locked if the
  exercise has locked it so far. So an exercise that waited for people continues from the same state
  in another process. An account without a directory belongs to the first configured directory.
- Audiences are invented people: an exercise reads no customer data.
- For an empty section of the configuration, a stand-in (an invented adapter) is used, so that a
  playbook can be rehearsed before everything is configured. Simulators of configured adapters have
  the configured names. The use-cases report which stand-ins were used.
- The addresses in the settings of a stand-in cannot exist (RFC 6761, `.invalid`), and no simulator
  reads them.
"""

from collections.abc import Sequence
from pathlib import Path

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.adapters.evidence_sources.simulator import SimulatedEvidenceSource
from standfast.adapters.factory import Adapters, NoticeOf
from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.simulator import SimulatedProcedure
from standfast.adapters.senders import Sender
from standfast.adapters.senders.simulator import SimulatedSender
from standfast.config import Config
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.config.sections.senders import SmtpSenderConfig
from standfast.config.value_types import SecretReference
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Recipient
from standfast.records import Limits, Mode

NAME = "stand-in"


def with_exercise_defaults(config: Config) -> Config:
    """Return the configuration with a stand-in directory, log and sender.

    A stand-in is added only if the section is empty.
    """
    stand_ins = {
        "accounts": ScimDirectoryConfig(
            kind="scim",
            url="https://directory.invalid/scim/v2",
            token=SecretReference("env:STAND_IN"),
        ),
        "evidence": FilesEvidenceConfig(kind="files", paths=(Path("/nowhere"),)),
        "senders": SmtpSenderConfig(
            kind="smtp", host="mail.invalid", sender_address="stand-in@example.invalid"
        ),
    }
    missing = {
        section: {NAME: settings}
        for section, settings in stand_ins.items()
        if not getattr(config, section)
    }
    return config.model_copy(update=missing) if missing else config


_POSTAL = {"postal_1": "1 Example Street", "postal_2": "Exampleton"}
_PEOPLE = ("Ada Example", "Grace Example", "Katherine Example")
# Simulators run in this process: after the process ends, nothing more can happen.
_LIMITS = Limits(batch=100, workers=4, is_local=True)


class Exercise(Adapters):
    """Simulators for all adapters, whether they are configured or not.

    `accounts` are the accounts that the incident's inputs name, and `locked` the accounts that the
    exercise has locked so far. Both are names as people write them, with or without their
    directory.
    """

    mode = Mode.EXERCISE

    def __init__(
        self,
        config: Config,
        custody: Custody,
        notice_of: NoticeOf,
        *,
        accounts: Sequence[str],
        locked: Sequence[str],
    ) -> None:
        super().__init__(with_exercise_defaults(config), custody, notice_of)
        self._accounts = accounts
        self._locked = frozenset(locked)

    def audience(self, name: str) -> Audience:
        """Return invented people, even if the audience is not configured."""
        return self._read_audience(name)

    def procedure(self, name: str) -> Procedure:
        """Return a simulator, even of a procedure that is not configured."""
        return self._build_once(("", name), lambda: self._build_procedure(name))

    def _build_connector(self, name: str) -> Connector:
        first = next(iter(self.config.accounts))
        states = {}
        for account in self._accounts:
            directory, _, inner = account.rpartition(":")
            if (directory or first) == name:
                states[inner] = f"{name}:{inner}" not in self._locked
        return SimulatedConnector(name, states, limits=_LIMITS)

    def _build_source(self, name: str) -> EvidenceSource:
        return SimulatedEvidenceSource(name=name)

    def _build_sender(self, name: str) -> Sender:
        return SimulatedSender(name=name, limits=_LIMITS, is_postal=self.prints(name))

    def _build_procedure(self, name: str) -> Procedure:
        return SimulatedProcedure(name)

    def _read_audience(self, name: str) -> Audience:
        people = tuple(
            Recipient(
                key=str(place),
                address=f"{name}-{place}@example.invalid",
                name=person,
                slots=_POSTAL,
            )
            for place, person in enumerate(_PEOPLE, 1)
        )
        return Audience(recipients=people)
