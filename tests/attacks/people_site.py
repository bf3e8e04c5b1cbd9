"""The attacked installation: three people and a mail server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.audit.auditor import AuditEvent
from standfast.ledger.people.enrolment import Person
from standfast.ledger.people.people_changes import Signer
from standfast.people.passphrase_keys import Credential, enrol
from standfast.usecases.approvals import step_decisions
from standfast.usecases.people.enrolment import enrol_person
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import (
    ACCOUNTS,
    SimulatedInstallation,
    Twins,
    simulated_installation,
    twin_directory,
)

_LATER = {"finn": "the same hand twice", "nia": "a door held open"}


@dataclass(frozen=True, kw_only=True)
class Site:
    """An installation of last week: dana (operator), lee, kim (managers)."""

    installation: SimulatedInstallation
    smtp: SmtpServer

    def after(self, **time: float) -> "Site":
        """Return the same site at a later moment."""
        clock = self.installation.clock
        return replace(
            self, installation=replace(self.installation, clock=lambda: clock() + timedelta(**time))
        )

    def enrol(self, name: str, signer: Signer | None, *roles: str, **other: str) -> Person:
        """Enrol a person with a passphrase; `other` replaces default values."""
        return enrol_person(
            self.installation,
            name=name,
            roles=roles,
            accounts=[],
            signer=signer,
            full_name=other.get("full_name", name.title()),
            mail=other.get("mail", f"{name}@example.com"),
            passphrase=other.get("passphrase", f"{name} and a long walk"),
        ).person

    def add_duty_manager(self, name: str, signer: Signer) -> None:
        """Enrol finn or nia as a duty manager, without slow key derivation."""
        credential = _credential(name)
        self.installation.ledger.people.enrol(
            name=name,
            full_name=name.title(),
            mail=f"{name}@example.com",
            accounts=[],
            roles=["duty-manager"],
            public_key=credential.public_key,
            salt=credential.salt,
            enrolled_by="",
            now=self.installation.clock(),
            signer=signer,
        )

    def decide(self, case: str, step: str, person: str, *, approves: bool = True) -> Question:
        """Approve or refuse a step with the person's passphrase."""
        passphrase = {**PASSPHRASES, **_LATER}[person]
        return step_decisions.decide(
            self.installation, case, step, person, passphrase, approves=approves
        )

    def notified(self, subject: str) -> set[str]:
        """Return the people that have a message with these words in its subject."""
        return {
            address.partition("@")[0]
            for mail in self.smtp.delivered
            if subject in str(mail.message["subject"])
            for address in mail.recipients
        }

    def witnessed(self) -> int:
        """Return the newest audit event that a head at the witness covers."""
        lines = self.installation.config.ledger.witness.read_text().splitlines()
        return max(int(json.loads(line)["sequence"]) for line in lines)

    def event(self, action: str) -> AuditEvent:
        """Return the newest audit event of this kind."""
        return [one for one in self.installation.ledger.timeline() if one.action == action][-1]


@cache
def _credential(name: str) -> Credential:
    return enrol(_LATER[name])


@pytest.fixture
def site(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Site]:
    """An installation that is past its first day."""
    twins = Twins(directory=twin_directory(*ACCOUNTS, "lee", "kim"))
    with simulated_installation(tmp_path, twins=twins, smtp_port=smtp_server.port) as installation:
        yield Site(installation=installation, smtp=smtp_server).after(days=7)
